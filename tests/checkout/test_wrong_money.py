"""Money that is not as it was asked for: too little, too much, another currency, the same twice, taken back."""

import asyncio
from datetime import timedelta

import pytest

from core import clock, db
from core.audit.person import Person
from core.catalog import service as catalog
from core.checkout import acts, held
from core.checkout.settle import Outcome, settle
from core.fulfilment import by_hand
from core.ids import new_token
from core.ledger import chart
from core.ledger import service as ledger
from core.money import Money
from core.orders import service as orders
from core.payments import chargebacks, money, refunds
from core.payments import service as payments
from core.payments.method import Attempt, Claim, ClaimState, PaymentMethod, Started
from core.payments.refunds import Wish
from core.refused import Refused
from tests import stocked


class Epay(PaymentMethod):
    key = "epay"
    title = {"en": "EPay"}

    async def start(self, attempt: Attempt) -> Started:
        raise NotImplementedError


async def books():
    codes = (ledger.GATEWAY.format("epay"), ledger.DEPOSITS, ledger.REVENUE, chart.CHARGEBACKS)
    return {code: await ledger.balance(1, code, "CNY") for code in codes}


async def moved(before):
    after = await books()
    return {code: after[code] - before[code] for code in before if after[code] != before[code]}


async def questions(placed):
    rows = await db.fetch("SELECT kind FROM review_item WHERE order_id = $1 AND state = 'open'", placed.order_id)
    return [row["kind"] for row in rows]


async def events(placed):
    rows = await db.fetch(
        "SELECT source, state, outcome, amount, gateway_ref FROM payments_event WHERE order_id = $1 ORDER BY id",
        placed.order_id,
    )
    return [tuple(row.values()) for row in rows]


async def alarms():
    rows = await db.fetch("SELECT kind FROM audit_alarm ORDER BY id")
    return [row["kind"] for row in rows]


async def steps(placed):
    rows = await db.fetch("SELECT kind FROM orders_event WHERE order_id = $1 ORDER BY id", placed.order_id)
    return [row["kind"] for row in rows]


def said(placed, amount, event, attempt=None, state=ClaimState.PAID):
    return Claim(attempt or placed.attempt_ref, state, Money(amount, "CNY"), f"T-{event}", event)


async def charge_back(placed, payment_id, amount, staff_id):
    await db.transaction(chargebacks.told_by_staff, 1, placed.ref, payment_id, amount, staff_id, "", None)


async def win(placed, payment_id, amount, staff_id):
    await db.transaction(chargebacks.won, 1, placed.ref, payment_id, amount, staff_id, "", None)


async def give_back(placed, amount):
    who = Person(1, await stocked.staff_member())

    async def some(tx):
        order = await refunds.locked(tx, 1, placed.ref)
        payment = (await money.payments_of(order["id"], tx))[0]
        await refunds.ask(tx, order, [(payment, amount)], Wish("hand"), who)

    await db.transaction(some)


async def another_attempt(placed):
    return await db.transaction(payments.begin, placed.order_id, Epay(), "")


# -- too little -------------------------------------------------------------------------


async def test_the_buyer_pays_the_rest_and_gets_the_code():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    before = await books()
    assert (await settle("epay", said(placed, 500, "r1"), "callback")).outcome is Outcome.UNDERPAID
    assert await moved(before) == {"gateway:epay": 500, "deposits": -500}

    rest = await another_attempt(placed)
    asked = await payments.load_attempt(rest, "http://127.0.0.1:9")
    assert asked.view.amount == Money(1490, "CNY")
    assert asked.view.expires_at > clock.now()

    assert (await settle("epay", said(placed, 1490, "r2", rest), "callback")).outcome is Outcome.DELIVERED
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await moved(before) == {"gateway:epay": 1990, "revenue": -1990}
    assert await questions(placed) == []
    assert await stocked.codes_by_state(sku) == {"delivered": 1}


async def test_an_order_is_sold_on_the_day_the_rest_comes():
    what = await stocked.sku(1)
    placed = await stocked.order(what)
    await settle("epay", stocked.paid(placed, 1000), "callback")
    back_then = "UPDATE orders_order SET paid_at = '2026-01-01' WHERE id = $1"
    await db.execute(back_then, placed.order_id)
    rest = await another_attempt(placed)
    first_day = "SELECT paid_at = '2026-01-01' FROM orders_order WHERE id = $1"
    assert await db.fetchval(first_day, placed.order_id)
    await settle("epay", said(placed, 990, "rest", rest), "callback")
    assert await stocked.states(placed) == ("paid", "delivered")
    assert not await db.fetchval(first_day, placed.order_id)
    await db.execute(back_then, placed.order_id)
    await settle("epay", said(placed, 1990, "again", rest), "callback")
    assert await db.fetchval(first_day, placed.order_id)


async def test_the_rest_in_pieces_counts_together_and_too_much_of_it_waits_apart():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await settle("epay", said(placed, 500, "p1"), "callback")
    first, second = await another_attempt(placed), await another_attempt(placed)
    assert (await settle("epay", said(placed, 490, "p2", first), "callback")).outcome is Outcome.UNDERPAID
    before = await books()
    assert (await settle("epay", said(placed, 1490, "p3", second), "callback")).outcome is Outcome.DELIVERED
    assert await questions(placed) == ["overpaid"]
    assert await moved(before) == {"gateway:epay": 1490, "deposits": 500, "revenue": -1990}
    assert (
        await db.fetchval(
            "SELECT data ->> 'amount' FROM review_item WHERE order_id = $1 AND kind = 'overpaid'", placed.order_id
        )
        == "490"
    )


async def test_the_rest_comes_when_the_codes_are_gone():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await settle("epay", said(placed, 500, "g1"), "callback")
    rest = await another_attempt(placed)
    await stocked.order(sku)
    assert (await settle("epay", said(placed, 1490, "g2", rest), "callback")).outcome is Outcome.NEEDS_REVIEW
    assert await stocked.states(placed) == ("paid", "review")
    assert await questions(placed) == ["out_of_stock"]
    await stocked.stock_up(sku.id, [new_token()])
    await acts.deliver_anyway(1, placed.ref, await stocked.staff_member(), None)
    assert await stocked.states(placed) == ("paid", "delivered")


async def test_a_part_given_back_before_the_delivery_is_no_debt_afterwards():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await db.execute("UPDATE vault_code SET state = 'void', line_id = NULL WHERE sku_id = $1", sku.id)
    before = await books()
    assert (await settle("epay", said(placed, 1990, "part"), "callback")).outcome is Outcome.NEEDS_REVIEW
    await give_back(placed, 500)
    assert await stocked.states(placed) == ("paid", "review")
    await stocked.stock_up(sku.id, [new_token()])
    await acts.deliver_anyway(1, placed.ref, await stocked.staff_member(), None)
    assert await moved(before) == {"gateway:epay": 1490, "revenue": -1490}
    assert await stocked.states(placed) == ("paid", "delivered")


async def by_hand_sku():
    sku = await stocked.sku(0)
    await db.execute("UPDATE catalog_sku SET source = 'hand' WHERE id = $1", sku.id)
    catalog.forget()
    return sku


async def hand_over(placed):
    line = await db.fetchval("SELECT id FROM orders_line WHERE order_id = $1", placed.order_id)
    await by_hand.hand_over(1, placed.ref, line, "", "", await stocked.staff_member())


async def test_a_part_given_back_while_goods_are_made_is_no_debt_afterwards():
    placed = await stocked.order(await by_hand_sku())
    before = await books()
    await settle("epay", said(placed, 1990, "made"), "callback")
    assert await stocked.states(placed) == ("paid", "preparing")
    await give_back(placed, 500)
    await hand_over(placed)
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await moved(before) == {"gateway:epay": 1490, "revenue": -1490}


async def test_too_little_that_is_accepted_for_goods_still_to_be_made_is_earned_once():
    placed = await stocked.order(await by_hand_sku())
    before = await books()
    await settle("epay", said(placed, 500, "little"), "callback")
    await acts.deliver_anyway(1, placed.ref, await stocked.staff_member(), None)
    assert await stocked.states(placed) == ("paid", "preparing")
    assert await moved(before) == {"gateway:epay": 500, "deposits": -500}
    await hand_over(placed)
    assert await moved(before) == {"gateway:epay": 500, "revenue": -500}


async def test_a_part_given_back_while_an_order_is_held_is_no_debt_afterwards():
    placed = await stocked.order(await stocked.sku(1))
    await db.execute("UPDATE orders_order SET held = true WHERE id = $1", placed.order_id)
    before = await books()
    await settle("epay", said(placed, 1990, "held"), "callback")
    await give_back(placed, 500)
    await held.approve(1, placed.ref, "", Person(1, await stocked.staff_member()))
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await moved(before) == {"gateway:epay": 1490, "revenue": -1490}


async def test_staff_confirms_the_rest():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await settle("epay", said(placed, 500, "c1"), "callback")
    staff_id = await stocked.staff_member()
    with pytest.raises(Refused):
        await acts.confirm_paid(1, placed.ref, staff_id, "", None)
    assert await stocked.states(placed) == ("mismatch", "review")
    await another_attempt(placed)
    assert (await acts.confirm_paid(1, placed.ref, staff_id, "", None)).outcome is Outcome.DELIVERED
    assert [row[3] for row in await events(placed)] == [500, 1490]


# -- too much, the wrong currency -------------------------------------------------------


async def test_too_much_is_delivered_and_the_surplus_waits():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    before, seen = await books(), await alarms()
    assert (await settle("epay", said(placed, 2500, "o1"), "callback")).outcome is Outcome.DELIVERED
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await moved(before) == {"gateway:epay": 2500, "deposits": -510, "revenue": -1990}
    assert await questions(placed) == ["overpaid"]
    assert (await alarms())[len(seen) :] == ["payment.wrong_amount"]
    assert (await settle("epay", said(placed, 2500, "o1"), "callback")).outcome is Outcome.REPEAT
    assert len(await events(placed)) == 1


async def test_another_currency_waits_while_the_right_one_still_buys():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    dollars = stocked.paid(placed, 1990, "USD", "w1")
    assert (await settle("epay", dollars, "callback")).outcome is Outcome.WRONG_CURRENCY
    whole = await another_attempt(placed)
    assert (await settle("epay", said(placed, 1990, "w2", whole), "callback")).outcome is Outcome.DELIVERED
    assert await questions(placed) == ["wrong_currency"]
    assert await db.transaction(money.owed, placed.order_id, "USD") == 1990
    assert await db.transaction(money.owed, placed.order_id, "CNY") == 0


# -- confirmed by hand, then by the gateway ---------------------------------------------


async def test_the_gateways_word_after_a_confirmation_by_hand_is_the_same_money():
    sku = await stocked.sku(2)
    placed = await stocked.order(sku)
    before, seen = await books(), await alarms()
    await acts.confirm_paid(1, placed.ref, await stocked.staff_member(), "seen in the bank", None)
    assert await moved(before) == {"gateway:epay": 1990, "revenue": -1990}

    assert (await settle("epay", said(placed, 1990, "late"), "callback")).outcome is Outcome.SAME_MONEY
    assert (await settle("epay", said(placed, 1990, "late"), "callback")).outcome is Outcome.REPEAT

    assert await moved(before) == {"gateway:epay": 1990, "revenue": -1990}
    assert await questions(placed) == []
    assert await alarms() == seen
    assert await stocked.codes_by_state(sku) == {"free": 1, "delivered": 1}
    assert await events(placed) == [
        ("staff", "paid", "paid", 1990, "T-late"),
        ("callback", "confirmed", "same_money", 1990, "T-late"),
    ]
    assert await db.fetchval("SELECT paid FROM orders_order WHERE id = $1", placed.order_id) == 1990
    assert await db.fetchval("SELECT gateway_ref FROM payments_attempt WHERE ref = $1", placed.attempt_ref) == "T-late"


async def test_a_second_transaction_after_that_is_a_second_payment():
    placed = await stocked.order(await stocked.sku(1))
    await acts.confirm_paid(1, placed.ref, await stocked.staff_member(), "", None)
    await settle("epay", said(placed, 1990, "first"), "callback")
    assert (await settle("epay", said(placed, 1990, "second"), "callback")).outcome is Outcome.PAID_TWICE
    assert await questions(placed) == ["paid_twice"]
    assert await db.fetchval("SELECT paid FROM orders_order WHERE id = $1", placed.order_id) == 3980


@pytest.mark.parametrize(
    ("real", "booked", "asked"),
    [
        (1500, {"gateway:epay": 1500, "revenue": -1500}, []),
        (2500, {"gateway:epay": 2500, "revenue": -1990, "deposits": -510}, ["overpaid"]),
    ],
)
async def test_a_confirmed_sum_is_corrected_by_the_gateway(real, booked, asked):
    placed = await stocked.order(await stocked.sku(1))
    before, seen = await books(), await alarms()
    await acts.confirm_paid(1, placed.ref, await stocked.staff_member(), "", None)
    assert (await settle("epay", said(placed, real, f"real{real}"), "callback")).outcome is Outcome.SAME_MONEY
    assert await moved(before) == booked
    assert await questions(placed) == asked
    assert await db.fetchval("SELECT paid FROM orders_order WHERE id = $1", placed.order_id) == real
    assert (await alarms())[len(seen) :] == ["payment.wrong_amount"]


async def test_a_confirmed_sum_is_not_corrected_below_what_went_back_of_it():
    placed = await stocked.order(await stocked.sku(1))
    await acts.confirm_paid(1, placed.ref, await stocked.staff_member(), "", None)
    await give_back(placed, 1500)
    assert (await settle("epay", said(placed, 1000, "below"), "callback")).outcome is Outcome.SAME_MONEY
    payments = await db.transaction(lambda tx: money.payments_of(placed.order_id, tx))
    assert [(one.amount.amount, one.left.amount) for one in payments] == [(1500, 0)]


async def test_the_word_of_the_gateway_on_a_test_order_books_no_money():
    placed = await stocked.order(await stocked.sku(1), test=True)
    before = await books()
    await acts.confirm_paid(1, placed.ref, await stocked.staff_member(), "", None)
    assert (await settle("epay", said(placed, 1000, "tried"), "callback")).outcome is Outcome.SAME_MONEY
    assert await moved(before) == {}


async def test_the_gateways_word_in_another_currency_is_other_money():
    placed = await stocked.order(await stocked.sku(1))
    await acts.confirm_paid(1, placed.ref, await stocked.staff_member(), "", None)
    dollars = stocked.paid(placed, 1990, "USD", "dollars")
    assert (await settle("epay", dollars, "callback")).outcome is Outcome.PAID_TWICE
    assert await questions(placed) == ["paid_twice"]
    assert await db.transaction(money.owed, placed.order_id, "USD") == 1990


async def test_what_was_confirmed_and_never_came_is_not_owed_when_the_rest_goes_back():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await db.execute("UPDATE vault_code SET state = 'void', line_id = NULL WHERE sku_id = $1", sku.id)
    before = await books()
    await acts.confirm_paid(1, placed.ref, await stocked.staff_member(), "", None)
    await settle("epay", said(placed, 1000, "less"), "callback")
    assert await moved(before) == {"gateway:epay": 1000, "deposits": -1000}
    await give_back(placed, 1000)
    assert await stocked.states(placed) == ("refunded", "void")
    assert await moved(before) == {}


async def test_staff_and_gateway_at_once_are_one_payment():
    staff_id = await stocked.staff_member()
    for number in range(8):
        placed = await stocked.order(await stocked.sku(2))
        before = await books()
        await asyncio.gather(
            acts.confirm_paid(1, placed.ref, staff_id, "", None),
            settle("epay", said(placed, 1990, f"both{number}"), "callback"),
            acts.confirm_paid(1, placed.ref, staff_id, "", None),
            return_exceptions=True,
        )
        assert await moved(before) == {"gateway:epay": 1990, "revenue": -1990}
        assert await questions(placed) == []


async def test_without_the_lock_staff_and_gateway_book_the_same_money_twice():
    """The control: each looks whether the attempt is paid, and then writes."""
    placed = await stocked.order(await stocked.sku(1))
    ready = asyncio.Barrier(2)

    async def careless(tx, source):
        attempt = await tx.fetchrow("SELECT id, state FROM payments_attempt WHERE ref = $1", placed.attempt_ref)
        await ready.wait()
        if attempt["state"] != "paid":
            await tx.execute(
                "INSERT INTO payments_event (method, event_key, attempt_id, order_id, source, state, amount, currency,"
                " outcome) VALUES ('epay', $1, $2, $3, $4, 'paid', 1990, 'CNY', 'paid')",
                f"{source}:{placed.ref}",
                attempt["id"],
                placed.order_id,
                source,
            )

    await asyncio.gather(*(db.transaction(careless, source) for source in ("staff", "callback")))
    assert [row[3] for row in await events(placed)] == [1990, 1990]


# -- taken back by the bank -------------------------------------------------------------


async def test_a_second_payment_of_another_sum_leaves_an_alarm():
    placed = await stocked.order(await stocked.sku(1))
    await settle("epay", said(placed, 1990, "sum1"), "callback")
    seen = await alarms()
    assert (await settle("epay", said(placed, 1, "sum2"), "callback")).outcome is Outcome.PAID_TWICE
    assert (await alarms())[len(seen) :] == ["payment.wrong_amount"]


async def test_the_rest_comes_while_the_first_part_is_about_to_go_back():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await settle("epay", said(placed, 500, "going"), "callback")
    await db.execute("""UPDATE shops_shop SET settings = settings || '{"refund_limit": 0}'""")
    try:
        await give_back(placed, 500)
    finally:
        await db.execute("UPDATE shops_shop SET settings = settings - 'refund_limit'")
    assert await stocked.states(placed) == ("mismatch", "void")
    assert (await settle("epay", said(placed, 1990, "going2"), "callback")).outcome is Outcome.PAID_TWICE
    assert await stocked.states(placed) == ("mismatch", "void")
    assert await stocked.codes_by_state(sku) == {"free": 1}
    assert "paid_twice" in await questions(placed)


async def test_a_chargeback_is_booked_marked_and_its_codes_are_listed():
    sku = await stocked.sku(1)
    session = new_token()
    placed = await stocked.order(sku, who=stocked.buyer(session=session))
    await settle("epay", said(placed, 1990, "cb"), "callback")
    before, seen = await books(), await alarms()
    back = said(placed, 1990, "cb:back", state=ClaimState.CHARGED_BACK)
    assert (await settle("epay", back, "callback")).outcome is Outcome.CHARGED_BACK
    assert (await settle("epay", back, "callback")).outcome is Outcome.REPEAT

    assert await stocked.states(placed) == ("charged_back", "void")
    assert await moved(before) == {"gateway:epay": -1990, "chargebacks": 1990}
    assert sorted(await questions(placed)) == ["chargeback", "codes_out"]
    assert (await alarms())[len(seen) :] == ["payment.chargeback"]
    code = await db.fetchrow("SELECT id, mask FROM vault_code WHERE sku_id = $1", sku.id)
    listed = await db.fetchval(
        "SELECT data FROM review_item WHERE order_id = $1 AND kind = 'codes_out'", placed.order_id
    )
    assert listed == {"codes": [{"id": code["id"], "mask": code["mask"]}]}
    assert await stocked.codes_by_state(sku) == {"delivered": 1}


async def test_a_chargeback_before_the_delivery_gives_the_order_up():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    before = await books()
    await settle("epay", said(placed, 500, "cu"), "callback")
    await settle("epay", said(placed, 500, "cu:back", state=ClaimState.CHARGED_BACK), "callback")
    assert await stocked.states(placed) == ("charged_back", "void")
    assert await moved(before) == {}
    assert await questions(placed) == ["chargeback"]
    assert await stocked.codes_by_state(sku) == {"free": 1}


async def test_a_chargeback_of_what_came_twice_leaves_the_order_paid():
    placed = await stocked.order(await stocked.sku(1))
    await settle("epay", said(placed, 1990, "ct1"), "callback")
    before = await books()
    await settle("epay", said(placed, 1990, "ct2"), "callback")
    await settle("epay", said(placed, 1990, "ct2:back", state=ClaimState.CHARGED_BACK), "callback")
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await moved(before) == {}
    assert "chargeback" in await questions(placed)


async def test_an_order_of_which_one_payment_went_back_and_the_bank_took_the_other_is_refunded():
    placed = await stocked.order(await stocked.sku(1))
    await settle("epay", said(placed, 1990, "cb1"), "callback")
    await settle("epay", said(placed, 1990, "cb2"), "callback")
    await settle("epay", said(placed, 1990, "cb2:back", state=ClaimState.CHARGED_BACK), "callback")
    await give_back(placed, 1990)
    assert await stocked.states(placed) == ("refunded", "delivered")


async def test_staff_tells_of_a_chargeback_and_the_gateway_repeats_it():
    placed = await stocked.order(await stocked.sku(1))
    await settle("epay", said(placed, 1990, "cs"), "callback")
    before, staff_id = await books(), await stocked.staff_member()
    [payment] = await money.payments_of(placed.order_id)
    for wrong in (0, -1, 1991):
        with pytest.raises(Refused):
            await charge_back(placed, payment.id, wrong, staff_id)
    with pytest.raises(Refused):
        await charge_back(placed, payment.id + 10_000, 1, staff_id)
    assert await moved(before) == {}
    await charge_back(placed, payment.id, 1990, staff_id)
    back = said(placed, 1990, "cs:back", state=ClaimState.CHARGED_BACK)
    assert (await settle("epay", back, "callback")).outcome is Outcome.SAME_MONEY
    assert await moved(before) == {"gateway:epay": -1990, "chargebacks": 1990}
    with pytest.raises(Refused):
        await charge_back(placed, payment.id, 1, staff_id)
    assert await stocked.states(placed) == ("charged_back", "void")


async def test_a_dispute_that_is_won_takes_the_loss_out_of_the_books():
    placed = await stocked.order(await stocked.sku(1))
    before, staff_id = await books(), await stocked.staff_member()
    await settle("epay", said(placed, 1990, "won"), "callback")
    sold = await moved(before)
    [payment] = await money.payments_of(placed.order_id)
    with pytest.raises(Refused):
        await win(placed, payment.id, 1, staff_id)
    await charge_back(placed, payment.id, 1990, staff_id)
    for wrong in (0, -1, 1991):
        with pytest.raises(Refused):
            await win(placed, payment.id, wrong, staff_id)
    await win(placed, payment.id, 990, staff_id)
    await win(placed, payment.id, 1000, staff_id)
    with pytest.raises(Refused):
        await win(placed, payment.id, 1, staff_id)
    assert await moved(before) == sold
    assert await stocked.states(placed) == ("charged_back", "void")
    await charge_back(placed, payment.id, 1990, staff_id)
    assert (await moved(before))["chargebacks"] == 1990


async def test_what_is_won_for_an_order_that_got_nothing_is_owed_to_its_buyer():
    placed = await stocked.order(await stocked.sku(1))
    before, staff_id = await books(), await stocked.staff_member()
    await settle("epay", said(placed, 500, "wo"), "callback")
    [payment] = await money.payments_of(placed.order_id)
    await charge_back(placed, payment.id, 500, staff_id)
    assert await moved(before) == {}
    await win(placed, payment.id, 500, staff_id)
    assert await moved(before) == {"gateway:epay": 500, "deposits": -500}


async def test_money_for_an_order_that_was_given_up_is_money_too_much():
    placed = await stocked.order(await stocked.sku(1))
    await settle("epay", said(placed, 500, "gu"), "callback")
    await settle("epay", said(placed, 500, "gu:back", state=ClaimState.CHARGED_BACK), "callback")
    assert (await settle("epay", said(placed, 1990, "gu2"), "callback")).outcome is Outcome.PAID_TWICE
    assert await stocked.states(placed) == ("charged_back", "void")


# -- late -------------------------------------------------------------------------------


async def test_too_little_too_late_and_then_the_rest():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    with clock.use(lambda: placed.expires_at + timedelta(seconds=1)):
        assert placed.ref in await orders.expire_due()
    assert (await settle("epay", said(placed, 500, "l1"), "callback")).outcome is Outcome.UNDERPAID
    rest = await another_attempt(placed)
    assert (await settle("epay", said(placed, 1490, "l2", rest), "callback")).outcome is Outcome.DELIVERED
    assert await stocked.states(placed) == ("paid", "delivered")
    assert "paid_wrong_amount" in await steps(placed)
