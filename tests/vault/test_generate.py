"""The text of own codes, and making many of them sealed."""

import re
from collections import Counter
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import db
from core.ids import ALPHABET
from core.redemption import issue
from core.redemption.issue import Draft
from core.vault import cipher, import_service, own_code
from core.vault.cipher import open_batch
from core.vault.code_text import mask
from tests import stocked
from tests.redemption.own import own_batch, texts

bodies = st.builds(own_code.new_body)
prefixes = st.from_regex(own_code.PREFIX, fullmatch=True)
groups = st.sampled_from(own_code.GROUPS)


# -- the text ---------------------------------------------------------------------------


def test_the_check_symbol_is_crockfords():
    """1234 is 16J, and its check symbol is D."""
    number = 1234
    assert own_code._symbols(number).lstrip("0") == "16J"
    assert ALPHABET[number % own_code.MODULUS] == "D"
    assert own_code.read("16JD".rjust(own_code.LENGTH, "0")) == "16JD".rjust(own_code.LENGTH, "0")
    assert own_code.read("16JE".rjust(own_code.LENGTH, "0")) is None


def test_there_are_far_more_than_eighty_random_bits():
    drawn = [own_code.new_body() for _ in range(20_000)]
    assert len(set(drawn)) == 20_000
    assert all(len(body) == 20 and set(body) <= set(ALPHABET) for body in drawn)
    for place in range(own_code.RANDOM_SYMBOLS):
        counts = Counter(body[place] for body in drawn)
        assert len(counts) == 32
        # 625 of each are due; six standard deviations are 148
        assert all(abs(count - 625) < 148 for count in counts.values()), place
    # what a mask shows of a code leaves eighty bits
    shown = len(mask(own_code.printed(drawn[0])).lstrip("•")) - 1
    assert 5 * (own_code.RANDOM_SYMBOLS - shown) >= 80


@given(bodies, prefixes, groups)
@settings(max_examples=50)
def test_what_is_printed_can_be_read(body, prefix, group):
    text = own_code.printed(body, prefix, group)
    assert own_code.read(text) == body
    assert own_code.read(text.lower().replace("-", " ")) == body
    assert own_code.read(text.replace("0", "o").replace("1", "L")) == body
    assert own_code.read(text.replace("-", "")) == body
    assert own_code.read("".join(chr(ord(sign) + 0xFEE0) for sign in text)) == body, "full width"


@given(bodies, st.data())
def test_every_wrong_sign_and_every_swap_of_neighbours_is_found(body, data):
    at = data.draw(st.integers(0, own_code.LENGTH - 1))
    sign = data.draw(st.sampled_from([sign for sign in ALPHABET if sign != body[at]]))
    assert own_code.read(body[:at] + sign + body[at + 1 :]) is None
    if at + 1 < own_code.LENGTH and body[at] != body[at + 1]:
        swapped = body[:at] + body[at + 1] + body[at] + body[at + 2 :]
        assert own_code.read(swapped) is None


@given(st.text(max_size=120))
@settings(max_examples=300)
def test_any_text_is_read_or_refused(text):
    body = own_code.read(text)
    assert body is None or own_code.read(body) == body


def test_a_text_without_end_costs_nothing():
    assert own_code.read("-" * 10_000_000) is None


# -- making them ------------------------------------------------------------------------


@pytest.mark.usefixtures("pool")
async def test_codes_are_sealed_like_imported_ones():
    batch_id = await own_batch(50, prefix="GIFT", expires_on=date(2031, 1, 31), on_paper=False)
    made = await texts(batch_id)
    assert all(re.fullmatch(r"GIFT(-[0-9A-HJKMNP-TV-Z]{5}){4}", text) for text in made)
    rows = await db.fetch("SELECT * FROM vault_code WHERE batch_id = $1 ORDER BY id", batch_id)
    assert [row["fingerprint"] for row in rows] == cipher.fingerprints(1, made)
    assert {row["state"] for row in rows} == {"free"}
    assert {row["expires_on"] for row in rows} == {date(2031, 1, 31)}
    assert [row["mask"] for row in rows] == [mask(text) for text in made]
    batch = await db.fetchrow("SELECT * FROM vault_batch WHERE id = $1", batch_id)
    assert (batch["source"], batch["state"], batch["counts"]) == ("own", "ready", {"imported": 50})
    # a blob moved to another row does not open
    key = open_batch(batch["wrapped_key"], batch["key_version"], 1, batch["sku_id"], batch_id)
    with pytest.raises(cipher.DecryptError):
        key.open(rows[0]["id"], rows[1]["blob"])
    dump = await db.fetchval("SELECT string_agg(t::text, ' ') FROM redemption_voucher t WHERE batch_id = $1", batch_id)
    for text in made:
        assert text not in dump and text.replace("-", "")[4:] not in dump


@pytest.mark.usefixtures("pool")
async def test_making_goes_on_where_it_stopped():
    """Each piece is a transaction of its own; what was made stays, what is missing is made, none twice."""
    batch_id = await ordered(12_000)
    first = await db.transaction(issue.make_piece, batch_id)
    assert (first.made, first.wanted, first.over) == (issue.PIECE, 12_000, False)
    with pytest.raises(ZeroDivisionError):
        await db.transaction(_dies, batch_id)
    assert await count(batch_id) == issue.PIECE
    while not (done := await db.transaction(issue.make_piece, batch_id)).over:
        pass
    assert (done.made, done.wanted) == (12_000, 12_000)
    assert await count(batch_id) == 12_000
    assert (await db.transaction(issue.make_piece, batch_id)).over
    assert await count(batch_id) == 12_000
    marks = await db.fetchval("SELECT count(DISTINCT lookup) FROM redemption_voucher WHERE batch_id = $1", batch_id)
    assert marks == 12_000


async def ordered(wanted):
    what = await stocked.sku(0)
    draft = Draft(sku_id=what.id, name="Many", count=wanted, on_paper=True)
    return await issue.order(1, "CNY", date(2026, 11, 22), draft, await stocked.staff_member())


@pytest.mark.usefixtures("pool")
async def test_a_batch_that_was_undone_is_not_filled_any_more():
    batch_id = await ordered(issue.PIECE + 1)
    await db.transaction(issue.make_piece, batch_id)
    await db.transaction(import_service.undo, 1, batch_id)
    assert (await db.transaction(issue.make_piece, batch_id)).over
    assert await count(batch_id) == 0


async def _dies(tx, batch_id):
    await issue.make_piece(tx, batch_id)
    raise ZeroDivisionError


async def count(batch_id):
    return await db.fetchval("SELECT count(*) FROM vault_code WHERE batch_id = $1", batch_id)
