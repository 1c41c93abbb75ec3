"""Many tills at one code at the same moment, each with its control: the guard taken off, and the damage seen."""

import asyncio

import pytest

from core import clock, db
from core.checkout.settle import settle
from core.fulfilment import replacement
from core.redemption import redeem
from core.redemption.redeem import Outcome
from core.refused import Refused
from tests import stocked
from tests.redemption.own import a_code, new_id, own_batch, texts, till, tries, voucher

pytestmark = pytest.mark.usefixtures("vault")
AT_ONCE = 50
TILLS = 12
"""As many as have a database connection each, so that all look before one takes."""


async def test_of_fifty_redemptions_at_once_one_is_done():
    code = await a_code()
    answers = await asyncio.gather(*(redeem.redeem(till(f"key:{n}"), new_id(), code) for n in range(AT_ONCE)))
    assert sorted(answer.outcome for answer in answers) == [Outcome.USED] * (AT_ONCE - 1) + [Outcome.OK]
    assert (await voucher(code))["balance"] == 0
    winner = next(answer for answer in answers if answer.ok)
    assert {answer.card.first_used_at for answer in answers} == {winner.at}
    assert await tries("ok") == 1


async def test_a_value_card_is_not_spent_twice():
    code = await a_code(face_value=1000)
    answers = await asyncio.gather(
        *(redeem.redeem(till(f"key:{n}"), new_id(), code, 300, "CNY") for n in range(AT_ONCE))
    )
    outcomes = sorted(answer.outcome for answer in answers)
    assert outcomes == [Outcome.NOT_ENOUGH] * (AT_ONCE - 3) + [Outcome.OK] * 3
    assert sorted(answer.card.balance for answer in answers if answer.ok) == [100, 400, 700]
    assert (await voucher(code))["balance"] == 100


async def test_one_request_sent_fifty_times_at_once_is_done_once():
    code, request = await a_code(face_value=1000), new_id()
    answers = await asyncio.gather(*(redeem.redeem(till(), request, code, 1, "CNY") for _ in range(AT_ONCE)))
    assert answers == [answers[0]] * AT_ONCE
    assert (await voucher(code))["balance"] == 999


async def test_control_the_same_wish_under_fifty_ids_is_done_fifty_times():
    code = await a_code(face_value=1000)
    await asyncio.gather(*(redeem.redeem(till(), new_id(), code, 1, "CNY") for _ in range(AT_ONCE)))
    assert (await voucher(code))["balance"] == 950


async def test_voiding_and_redeeming_at_once_gives_one_of_both():
    code = await a_code()
    voided, redeemed = await asyncio.gather(
        redeem.void(till(), new_id(), code, "lost"), redeem.redeem(till(), new_id(), code)
    )
    assert voided.ok
    assert redeemed.outcome in (Outcome.OK, Outcome.VOID)
    assert (await voucher(code))["balance"] == (0 if redeemed.ok else 1)


async def delivered_voucher() -> tuple[stocked.Placed, int, str]:
    """One of two codes is sold, the other is in stock."""
    what = await stocked.sku(0)
    await own_batch(2, what=what, on_paper=False)
    placed = await stocked.order(what)
    await settle("epay", stocked.paid(placed), "callback")
    row = await db.fetchrow("SELECT id, batch_id FROM vault_code WHERE sku_id = $1 AND state = 'delivered'", what.id)
    ids = await db.fetchval("SELECT array_agg(id ORDER BY id) FROM vault_code WHERE batch_id = $1", row["batch_id"])
    return placed, row["id"], (await texts(row["batch_id"]))[ids.index(row["id"])]


async def replace_it(placed: stocked.Placed, code_id: int) -> replacement.Replaced:
    return await replacement.give_another(1, placed.ref, code_id, "bad", await stocked.staff_member())


async def test_a_redeemed_code_is_not_replaced_and_a_replaced_one_is_worthless():
    placed, code_id, code = await delivered_voucher()
    assert (await redeem.redeem(till(), new_id(), code)).ok
    with pytest.raises(Refused, match="redeemed"):
        await replace_it(placed, code_id)
    assert await db.fetchval("SELECT count(*) FROM vault_code WHERE replaced_by IS NOT NULL AND id = $1", code_id) == 0

    placed, code_id, code = await delivered_voucher()
    assert (await replace_it(placed, code_id)).mask
    assert (await redeem.redeem(till(), new_id(), code)).outcome is Outcome.VOID
    assert await voucher(code) == {"balance": 1, "first_used_place": None, "void_reason": "replaced",
                                   "state": "delivered"}  # fmt: skip


async def test_replacing_and_redeeming_at_once_gives_one_of_both():
    for _round in range(5):
        placed, code_id, code = await delivered_voucher()
        replaced, redeemed = await asyncio.gather(
            replace_it(placed, code_id), redeem.redeem(till(), new_id(), code), return_exceptions=True
        )
        assert isinstance(replaced, Refused) is redeemed.ok


# -- controls: our own statement without what guards it ---------------------------------

GUARDS = (" AND voucher.balance >= $2", "voucher.voided_at IS NULL")


async def unguarded(code: str, amount: int, together: asyncio.Barrier) -> bool:
    """Look first and take afterwards, as a till would that trusts what it read."""
    statement = redeem.TAKE
    for guard in GUARDS:
        assert guard in statement
        statement = statement.replace(guard, "" if guard.startswith(" AND") else "true")

    async def work(tx: db.Tx) -> bool:
        here = till()
        facts = await redeem._found(tx, here.shop_id, redeem.own_code.read(code) or "")
        await together.wait()
        if facts["balance"] < amount:
            return False
        now = clock.now()
        return bool(await tx.fetchval(statement, facts["code_id"], amount, now, here.place, here.today()))

    return await db.transaction(work)


@pytest.mark.parametrize(("facts", "amount", "worth"), [({}, 1, 1), ({"face_value": 1000}, 300, 1000)])
async def test_control_without_the_guard_the_code_is_worth_far_more(facts, amount, worth):
    code = await a_code(**facts)
    together = asyncio.Barrier(TILLS)
    await db.execute("ALTER TABLE redemption_voucher DROP CONSTRAINT redemption_voucher_balance_check")
    try:
        done = await asyncio.gather(*(unguarded(code, amount, together) for _ in range(TILLS)))
        assert done == [True] * TILLS
        assert (await voucher(code))["balance"] == worth - TILLS * amount < 0
    finally:
        await db.execute("UPDATE redemption_voucher SET balance = 0 WHERE balance < 0")
        await db.execute("ALTER TABLE redemption_voucher ADD CHECK (balance >= 0)")


async def test_control_the_balance_in_the_database_holds_alone_too():
    """Without the guard of the statement the constraint still stops a second use: each wall stands by itself."""
    code = await a_code()
    together = asyncio.Barrier(TILLS)
    done = await asyncio.gather(*(unguarded(code, 1, together) for _ in range(TILLS)), return_exceptions=True)
    assert done.count(True) == 1
    assert {type(one).__name__ for one in done if one is not True} == {"CheckViolationError"}
    assert (await voucher(code))["balance"] == 0
