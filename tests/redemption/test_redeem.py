"""Looking at, redeeming and voiding codes through the service, on a real PostgreSQL."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from core import clock, db
from core.checkout.settle import settle
from core.payments import goods
from core.redemption import redeem
from core.redemption.redeem import Outcome, RequestReused
from core.vault import import_service, own_code, quarantine
from tests import stocked
from tests.redemption.own import a_code, new_id, own_batch, texts, till, tries, voucher

pytestmark = pytest.mark.usefixtures("vault")
AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def other_sign(code: str, at: int = -3) -> str:
    sign = "2" if code[at] != "2" else "3"
    return code[:at] + sign + code[at + 1 :]


async def test_a_code_works_once_and_the_second_is_told_when_and_where():
    code = await a_code()
    with clock.use(lambda: AT):
        looked = await redeem.verify(till(), code)
        assert (looked.outcome, looked.card.kind, looked.card.balance) == (Outcome.OK, "single", 1)
        assert (await voucher(code))["balance"] == 1
        done = await redeem.redeem(till(place="Shop in Chengdu"), new_id(), code)
        assert (done.outcome, done.amount, done.card.balance) == (Outcome.OK, 1, 0)
    with clock.use(lambda: AT + timedelta(hours=1)):
        again = await redeem.redeem(till(place="Elsewhere"), new_id(), code)
    assert (again.outcome, again.amount) == (Outcome.USED, None)
    assert (again.card.first_used_at, again.card.first_used_place) == (AT, "Shop in Chengdu")
    assert (await voucher(code))["balance"] == 0


async def test_look_alikes_blanks_case_and_a_missing_prefix_do_not_matter():
    code = await a_code(prefix="GIFT", group=4)
    assert code.startswith("GIFT-")
    for typed in (
        code.lower(),
        code.replace("-", ""),
        code.removeprefix("GIFT-"),
        f"  {code.replace('-', ' – ')}\n",
        code.replace("0", "O").replace("1", "l"),
        code.replace("1", "I").replace("0", "o"),
    ):
        assert (await redeem.verify(till(), typed)).outcome is Outcome.OK, typed
    assert (await redeem.redeem(till(), new_id(), code.lower().replace("-", ""))).ok


async def test_a_mistyped_code_is_refused_without_looking_for_it():
    code = await a_code()
    wrong = other_sign(code)
    async with asyncio.timeout(3), held("redemption_voucher"):
        answer = await redeem.redeem(till(), new_id(), wrong)
    assert (answer.outcome, answer.card) == (Outcome.MISTYPED, None)
    assert (await voucher(code))["balance"] == 1


class held:
    """Nobody else can even read the table meanwhile."""

    def __init__(self, table: str) -> None:
        self.table = table

    async def __aenter__(self) -> None:
        self.connection = await asyncpg.connect(db.engine.config["dsn"])
        await self.connection.execute(f"BEGIN; LOCK TABLE {self.table} IN ACCESS EXCLUSIVE MODE")

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()


async def test_a_good_code_would_be_looked_for():
    """The control of the test above: with the table held, a code whose check symbol fits has to wait."""
    code = await a_code()
    async with held("redemption_voucher"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await redeem.verify(till(), code)


async def test_unknown_expired_void_and_unsold_are_told_apart():
    assert (await redeem.verify(till(), own_code.new_body())).outcome is Outcome.UNKNOWN
    expiring = await a_code(expires_on=date(2030, 1, 31))
    # in Shanghai the last day is over at 16:00 UTC
    for hour, expected in ((15, Outcome.OK), (16, Outcome.EXPIRED)):
        with clock.use(lambda hour=hour: datetime(2030, 1, 31, hour, 30, tzinfo=UTC)):
            assert (await redeem.verify(till(), expiring)).outcome is expected
    with clock.use(lambda: datetime(2030, 2, 1, 1, tzinfo=UTC)):
        assert (await redeem.redeem(till(), new_id(), expiring)).outcome is Outcome.EXPIRED
    assert (await voucher(expiring))["balance"] == 1
    stolen = await a_code()
    assert (await redeem.void(till(), new_id(), stolen, "stolen in the post")).outcome is Outcome.OK
    answer = await redeem.redeem(till(), new_id(), stolen)
    assert (answer.outcome, answer.card.void_reason) == (Outcome.VOID, "stolen in the post")
    unsold = await a_code(on_paper=False)
    assert (await redeem.redeem(till(), new_id(), unsold)).outcome is Outcome.NOT_SOLD
    assert await voucher(unsold) == {
        "balance": 1,
        "first_used_place": None,
        "void_reason": None,
        "state": "free",
    }


async def test_a_sold_code_can_be_redeemed_once_it_is_delivered():
    what = await stocked.sku(0)
    code = await a_code(what=what, on_paper=False)
    placed = await stocked.order(what)
    assert (await redeem.redeem(till(), new_id(), code)).outcome is Outcome.NOT_SOLD
    assert (await redeem.void(till(), new_id(), code, "no")).outcome is Outcome.IN_CHECKOUT
    await settle("epay", stocked.paid(placed), "callback")
    assert await stocked.codes_by_state(what) == {"delivered": 1}
    assert (await redeem.redeem(till(), new_id(), code)).outcome is Outcome.OK


async def test_a_voided_code_that_was_set_aside_does_not_come_back_on_sale():
    what = await stocked.sku(0)
    batch_id = await own_batch(what=what, on_paper=False)
    code = (await texts(batch_id))[0]
    staff = await stocked.staff_member()
    await db.transaction(quarantine.hold_batch, 1, batch_id, "suspect", staff)
    assert (await redeem.void(till(), new_id(), code, "stolen")).ok
    hold_id = await db.fetchval("SELECT max(id) FROM vault_hold WHERE batch_id = $1", batch_id)
    await db.transaction(quarantine.put_all_back, 1, hold_id, staff)
    assert await stocked.codes_by_state(what) == {"void": 1}


async def test_a_voided_code_in_stock_is_not_sold_any_more():
    what = await stocked.sku(0)
    code = await a_code(what=what, on_paper=False)
    assert (await redeem.void(till(), new_id(), code, "misprint")).ok
    assert await stocked.codes_by_state(what) == {"void": 1}
    assert (await redeem.void(till(), new_id(), code, "again")).outcome is Outcome.VOID
    assert (await voucher(code))["void_reason"] == "misprint"
    acts = await db.fetch(
        "SELECT actor, act, detail FROM audit_entry WHERE act = 'code.voided' ORDER BY id DESC LIMIT 1"
    )
    assert [tuple(row) for row in acts] == [("staff:1", "code.voided", {"reason": "misprint", "balance": 1})]


# -- value cards ------------------------------------------------------------------------


async def test_a_value_card_is_used_in_parts():
    code = await a_code(face_value=10_000)
    first = await redeem.redeem(till(place="A"), new_id(), code, 3_000, "CNY")
    assert (first.outcome, first.amount, first.card.balance, first.card.face_value) == (Outcome.OK, 3000, 7000, 10000)
    assert (await redeem.redeem(till(place="B"), new_id(), code, 7_001, "CNY")).outcome is Outcome.NOT_ENOUGH
    assert (await redeem.redeem(till(), new_id(), code)).outcome is Outcome.AMOUNT_NEEDED
    assert (await redeem.redeem(till(), new_id(), code, 1, "USD")).outcome is Outcome.WRONG_CURRENCY
    assert (await voucher(code))["balance"] == 7000
    last = await redeem.redeem(till(place="B"), new_id(), code, 7_000, "CNY")
    assert (last.outcome, last.card.balance, last.card.first_used_place) == (Outcome.OK, 0, "A")
    assert (await redeem.redeem(till(), new_id(), code, 1, "CNY")).outcome is Outcome.USED
    single = await a_code()
    assert (await redeem.redeem(till(), new_id(), single, 1, "CNY")).outcome is Outcome.AMOUNT_NOT_ALLOWED
    assert (await voucher(single))["balance"] == 1


async def test_the_database_itself_keeps_a_balance_from_falling_below_nothing():
    code = await a_code(face_value=100)
    await redeem.redeem(till(), new_id(), code, 60, "CNY")
    with pytest.raises(asyncpg.CheckViolationError):
        await db.execute("UPDATE redemption_voucher SET balance = balance - 60 WHERE balance = 40")


# -- request ids ------------------------------------------------------------------------


async def test_the_same_request_gets_the_same_answer_and_is_done_once():
    code = await a_code(face_value=100)
    request = new_id()
    first = await redeem.redeem(till(), request, code, 60, "CNY")
    before = await tries()
    for _ in range(3):
        assert await redeem.redeem(till(), request, code, 60, "CNY") == first
    assert (await voucher(code))["balance"] == 40
    assert await tries() == before
    assert await redeem.answer_to(1, "staff:1", request) == first


async def test_a_refusal_is_repeated_too_even_when_it_would_work_now():
    what = await stocked.sku(0)
    code = await a_code(what=what, on_paper=False)
    request = new_id()
    refused = await redeem.redeem(till(), request, code)
    placed = await stocked.order(what)
    await settle("epay", stocked.paid(placed), "callback")
    assert refused.outcome is Outcome.NOT_SOLD
    assert await redeem.redeem(till(), request, code) == refused
    assert (await redeem.redeem(till(), new_id(), code)).ok


async def test_another_body_under_the_same_id_is_refused():
    one, other = await texts(await own_batch(2, face_value=100))
    request = new_id()
    await redeem.redeem(till(), request, one, 10, "CNY")
    for act in (
        lambda: redeem.redeem(till(), request, one, 11, "CNY"),
        lambda: redeem.redeem(till(), request, other, 10, "CNY"),
        lambda: redeem.redeem(till(place="Elsewhere"), request, one, 10, "CNY"),
        lambda: redeem.void(till(), request, one, "no"),
    ):
        with pytest.raises(RequestReused):
            await act()
    assert (await voucher(one))["balance"] == 90
    assert (await voucher(other))["balance"] == 100
    # another caller may use the same id for something else
    assert (await redeem.redeem(till("key:7"), request, other, 10, "CNY")).ok


# -- the log, other shops, undoing ------------------------------------------------------


async def test_every_try_leaves_a_row_and_none_holds_a_code():
    code = await a_code()
    before = await db.fetchval("SELECT coalesce(max(id), 0) FROM redemption_try")
    await redeem.verify(till(), code)
    await redeem.redeem(till(), new_id(), other_sign(code))
    await redeem.redeem(till("key:3", "Web shop"), new_id(), code)
    await redeem.redeem(till(), new_id(), code)
    rows = await db.fetch(
        "SELECT act, caller, outcome, amount, place, host(ip) AS ip FROM redemption_try WHERE id > $1 ORDER BY id",
        before,
    )
    assert [tuple(row) for row in rows] == [
        ("verify", "staff:1", "ok", None, "Front desk", "127.0.0.1"),
        ("redeem", "staff:1", "code_mistyped", None, "Front desk", "127.0.0.1"),
        ("redeem", "key:3", "ok", 1, "Web shop", "127.0.0.1"),
        ("redeem", "staff:1", "code_used", None, "Front desk", "127.0.0.1"),
    ]
    body = own_code.read(code)
    everything = await db.fetchval(
        "SELECT string_agg(t::text, ' ') || (SELECT string_agg(v::text, ' ') FROM redemption_voucher v)"
        " FROM redemption_try t"
    )
    for secret in (code, body, code.replace("-", ""), body[:16]):
        assert secret not in everything


async def test_a_code_of_another_shop_is_unknown_here():
    other = await db.fetchval("INSERT INTO shops_shop (code, name, host) VALUES ('b', 'B', 'b.test') RETURNING id")
    code = await a_code()
    assert (await redeem.redeem(till(shop_id=other), new_id(), code)).outcome is Outcome.UNKNOWN
    assert (await voucher(code))["balance"] == 1


async def test_a_batch_with_a_redeemed_code_is_not_undone():
    batch_id = await own_batch(3)
    codes = await texts(batch_id)
    await redeem.redeem(till(), new_id(), codes[1])
    with pytest.raises(import_service.UploadError) as refused:
        await db.transaction(import_service.undo, 1, batch_id)
    assert refused.value.reason == "in_use"
    assert await db.fetchval("SELECT count(*) FROM vault_code WHERE batch_id = $1", batch_id) == 3
    untouched = await own_batch(2)
    assert await db.transaction(import_service.undo, 1, untouched) == 2
    assert await db.fetchval("SELECT count(*) FROM redemption_voucher WHERE batch_id = $1", untouched) == 0


async def test_codes_of_a_refund_are_voided_unless_they_were_used():
    batch_id = await own_batch(3)
    used, *others = await texts(batch_id)
    await redeem.redeem(till(), new_id(), used)
    ids = [row["id"] for row in await db.fetch("SELECT id FROM vault_code WHERE batch_id = $1 ORDER BY id", batch_id)]
    assert await db.transaction(redeem.void_codes, ids, "refunded") == set(ids[1:])
    assert await db.transaction(redeem.void_codes, ids, "again") == set()
    for code in others:
        assert (await redeem.redeem(till(), new_id(), code)).outcome is Outcome.VOID
    assert (await redeem.verify(till(), used)).outcome is Outcome.USED


async def test_a_refund_that_takes_the_codes_back_voids_ours():
    what = await stocked.sku(0)
    kept, used = await texts(await own_batch(2, what=what, on_paper=False))
    placed = await stocked.order(what, 2)
    await settle("epay", stocked.paid(placed, 3980), "callback")
    await redeem.redeem(till(), new_id(), used)
    await db.transaction(
        goods.take_back, await db.fetchrow("SELECT * FROM orders_order WHERE id = $1", placed.order_id)
    )
    assert (await redeem.redeem(till(), new_id(), kept)).outcome is Outcome.VOID
    # what was used already is for a person to decide
    asked = await db.fetchval("SELECT data FROM review_item WHERE order_id = $1", placed.order_id)
    assert [code["mask"] for code in asked["codes"]] == [(await redeem.verify(till(), used)).card.mask]


async def test_a_code_that_was_replaced_is_worth_nothing_any_more():
    what = await stocked.sku(0)
    code = await a_code(what=what, on_paper=False)
    await settle("epay", stocked.paid(await stocked.order(what)), "callback")
    assert (await redeem.verify(till(), code)).ok
    await db.execute("UPDATE vault_code SET replaced_by = id + 1000000 WHERE sku_id = $1", what.id)
    assert (await redeem.redeem(till(), new_id(), code)).outcome is Outcome.VOID
    assert (await voucher(code))["balance"] == 1
