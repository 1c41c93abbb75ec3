"""Orders with discounts: what is stored, limits, orders that cost nothing, refunds and the books."""

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from core import db
from core.audit.person import Person
from core.checkout import acts, held
from core.checkout.discounts import UsedUp
from core.checkout.place import Chosen, place
from core.checkout.settle import Outcome, settle
from core.ids import new_token
from core.ledger import bookkeeping
from core.ledger import service as ledger
from core.money import Money
from core.orders import service as orders
from core.payments import money, refunds
from core.payments.method import ClaimState
from core.payments.refunds import Wish
from core.pricing.promote import CodeWrong, promote
from core.pricing.quote import Item, quote
from core.pricing.results import promotion_code_uses, promotion_results
from core.refused import Refused
from core.shops import service as shops
from plugins.promotions.coupon import coupons
from plugins.promotions.coupon.tests.test_coupons import draft, off
from tests import stocked

pytestmark = pytest.mark.usefixtures("coupon_plugin")


@pytest.fixture
async def coupon(coupon_plugin):
    """``await coupon("CODE", uses=3)`` makes one; ¥5 off unless it says otherwise."""
    plugin_db = coupon_plugin.plugin("promotions.coupon").context.db

    async def make(code, **rules):
        async def work(tx):
            coupon_id = await coupons.make(tx, "main", draft(**{**off(500), **rules}), "")
            await coupons.add_code(tx, "main", coupon_id, code)
            return coupon_id

        return f"coupon:{await plugin_db.transaction(work)}"

    return make


async def quoted(sku, code, who=None, quantity=1):
    shop = await shops.main_shop()
    at_list = await quote(shop.id, [Item(sku.code, quantity)])
    return await promote(shop, at_list, contact=who.contact if who else "", codes=(code,))


async def order(sku, code, who=None, priced=None, chosen=None, quantity=1, key=None):
    who = who or stocked.buyer()
    priced = priced or await quoted(sku, code, who, quantity)
    chosen = chosen or (stocked.chosen() if priced.total.amount else Chosen("", {}, "", False))
    return await place(await shops.main_shop(), priced, {}, who, chosen, key or new_token())


async def used(key):
    return await db.fetchval("SELECT coalesce(max(used), 0) FROM orders_cap WHERE key = $1", key)


async def entries(placed):
    rows = await db.fetch(
        "SELECT entry.kind, debit.code AS debit, credit.code AS credit, entry.amount FROM ledger_entry entry"
        " JOIN ledger_account debit ON debit.id = entry.debit_id"
        " JOIN ledger_account credit ON credit.id = entry.credit_id"
        " WHERE entry.order_id = $1 ORDER BY entry.id",
        placed.order_id,
    )
    return [tuple(row) for row in rows]


async def keep_books():
    await bookkeeping.keep(await db.fetchval("SELECT clock_timestamp()"))


async def give_back(placed, amount, payment=0):
    async def work(tx):
        row = await refunds.locked(tx, 1, placed.ref)
        came = await money.payments_of(row["id"], tx)
        return await refunds.ask(tx, row, [(came[payment], amount)], Wish("hand"), who)

    who = Person(1, await stocked.staff_member())
    await db.transaction(work)


async def expire(*placed):
    await db.execute(
        "UPDATE orders_order SET expires_at = now() - interval '1 second' WHERE id = ANY($1)",
        [one.order_id for one in placed],
    )
    await orders.expire_due()


async def test_the_order_carries_what_was_taken_off_and_is_paid_at_its_total(coupon):
    sku = await stocked.sku(2, price=2000)
    key = await coupon("STORED")
    placed = await order(sku, "stored", quantity=2)
    row = await db.fetchrow(
        "SELECT o.total, attempt.amount FROM orders_order o JOIN payments_attempt attempt ON attempt.order_id = o.id"
        " WHERE o.id = $1",
        placed.order_id,
    )
    assert tuple(row) == (3500, 3500)
    found = await db.fetch(
        "SELECT promotion, key, title, amount, sku_id, code, data FROM orders_adjustment WHERE order_id = $1",
        placed.order_id,
    )
    title = {"en": "CN¥5.00 off", "zh-CN": "立减 ¥5.00"}
    data = {"coupon": int(key.removeprefix("coupon:"))}
    assert [tuple(one) for one in found] == [("coupon", key, title, -500, None, "stored", data)]

    settled = await settle("epay", stocked.paid(placed, 3500), "callback")

    assert settled.outcome is Outcome.DELIVERED
    await keep_books()
    assert await entries(placed) == [
        ("payment", "gateway:epay", "deposits", 3500),
        ("sale", "deposits", "revenue", 3500),
        ("discount", "discounts", "revenue", 500),
    ]
    await db.execute("UPDATE shops_shop SET test_mode = false")
    [result] = (await promotion_results("main", "coupon", [key])).values()
    assert (result.orders, result.waiting, result.discount.amount, result.profit.amount) == (1, 0, 500, 3500)
    assert await promotion_code_uses("main", "coupon", key) == {"stored": 1}
    await give_back(placed, 1000)
    [result] = (await promotion_results("main", "coupon")).values()
    assert result.revenue.amount == 2500
    assert (await entries(placed))[-1] == ("refund", "refunds", "gateway:epay", 1000)
    await settle("epay", stocked.paid(placed, 3500, event="again"), "callback")
    await give_back(placed, 3500, payment=1)
    [result] = (await promotion_results("main", "coupon")).values()
    assert result.revenue.amount == 2500


async def test_what_a_coupon_has_brought_counts_chargebacks_and_what_suppliers_took(coupon):
    sku = await stocked.sku(2, price=2000)
    key = await coupon("BROUGHT")
    kept, lost = await order(sku, "BROUGHT"), await order(sku, "BROUGHT")
    for placed in (kept, lost):
        await settle("epay", stocked.paid(placed, 1500), "callback")
    await db.transaction(
        ledger.move, 1, "purchase", f"purchase:{kept.ref}-1-1", Money(900, "CNY"), "cost", "supplier:any", kept.order_id
    )
    claim = replace(stocked.paid(lost, 1500, event="lost"), state=ClaimState.CHARGED_BACK)
    assert (await settle("epay", claim, "callback")).outcome is Outcome.CHARGED_BACK
    await db.execute("UPDATE shops_shop SET test_mode = false")
    [result] = (await promotion_results("main", "coupon", [key])).values()
    assert (result.orders, result.revenue.amount, result.cost.amount, result.profit.amount) == (2, 1500, 900, 600)


async def test_an_order_without_discounts_writes_nothing_of_them():
    before = await db.fetchval("SELECT count(*) FROM orders_adjustment")
    await stocked.order(await stocked.sku(1))
    assert await db.fetchval("SELECT count(*) FROM orders_adjustment") == before


# -- limits -----------------------------------------------------------------------------


async def thirty_at_once(sku, priced):
    """Thirty buyers whose price was worked out before the first of them ordered."""

    async def one():
        try:
            return await order(sku, "", priced=priced)
        except UsedUp:
            return None

    return [placed for placed in await asyncio.gather(*(one() for _buyer in range(30))) if placed]


async def test_thirty_orders_at_once_get_three_uses(coupon):
    sku = await stocked.sku(60)
    key = await coupon("THREE", uses=3)
    placed = await thirty_at_once(sku, await quoted(sku, "THREE"))
    assert len(placed) == 3
    assert await used(key) == 3
    held = await db.fetchval(
        "SELECT count(*) FROM orders_use JOIN orders_cap ON id = cap_id WHERE held AND key = $1", key
    )
    assert held == 3
    assert await stocked.codes_by_state(sku) == {"free": 57, "reserved": 3}
    with pytest.raises(CodeWrong, match="as often as it may be"):
        await quoted(sku, "THREE")


async def test_without_the_caps_all_thirty_get_the_discount(coupon):
    """The control: looking before ordering is no guard."""
    sku = await stocked.sku(60)
    await coupon("UNGUARDED", uses=3)
    priced = await quoted(sku, "UNGUARDED")
    without = tuple(replace(discount, caps=()) for discount in priced.discounts)
    assert len(await thirty_at_once(sku, replace(priced, discounts=without))) == 30


async def test_one_buyer_with_many_windows_gets_one_use(coupon):
    sku = await stocked.sku(10)
    await coupon("ONCE", uses_per_buyer=1)
    await coupon("FIRST", first_order=True, alone=False)
    for code in ("ONCE", "FIRST"):
        who = [stocked.buyer(contact=f"{code.lower()}@example.com") for _window in range(3)]
        quotes = [await quoted(sku, code, one) for one in who]
        done = await asyncio.gather(
            *(order(sku, code, one, priced) for one, priced in zip(who, quotes, strict=True)), return_exceptions=True
        )
        assert sorted(type(one).__name__ for one in done) == ["Placed", "UsedUp", "UsedUp"]


async def test_the_database_itself_knows_the_limit(coupon):
    sku = await stocked.sku(1)
    key = await coupon("CHECKED", uses=1)
    await order(sku, "CHECKED")
    with pytest.raises(asyncpg.CheckViolationError, match="orders_cap_kept"):
        await db.execute("UPDATE orders_cap SET used = used + 1 WHERE key = $1", key)


async def test_a_second_click_takes_no_second_use(coupon):
    sku = await stocked.sku(5)
    key = await coupon("CLICKS", uses=2)
    who, form = stocked.buyer(), new_token()
    priced = await quoted(sku, "CLICKS", who)
    first = await order(sku, "CLICKS", who, priced, key=form)
    clicks = await asyncio.gather(*(order(sku, "CLICKS", who, priced, key=form) for _click in range(5)))
    assert {one.ref for one in clicks} == {first.ref}
    assert await used(key) == 1


async def test_a_use_comes_back_when_the_order_ends_unpaid_and_not_when_it_is_refunded(coupon):
    sku = await stocked.sku(9)
    key = await coupon("BACK", uses=2)
    ended, cancelled = await order(sku, "BACK"), await order(sku, "BACK")
    assert await used(key) == 2
    await expire(ended)
    assert await used(key) == 1
    await orders.cancel(cancelled.order_id, "buyer")
    assert await used(key) == 0
    bought = await order(sku, "BACK")
    await settle("epay", stocked.paid(bought, 1490), "callback")
    await give_back(bought, 1490)
    assert await db.fetchval("SELECT payment_state FROM orders_order WHERE id = $1", bought.order_id) == "refunded"
    assert await used(key) == 1
    await expire(bought)
    assert await used(key) == 1


async def test_paid_after_its_end_it_takes_its_use_again_or_waits_for_a_person(coupon):
    sku = await stocked.sku(9)
    key = await coupon("LATE", uses=1)
    late = await order(sku, "LATE")
    await expire(late)
    other = await order(sku, "LATE")
    assert (await settle("epay", stocked.paid(late, 1490), "callback")).outcome is Outcome.NEEDS_REVIEW
    assert await stocked.states(late) == ("paid", "review")
    question = await db.fetchrow("SELECT kind, reason FROM review_item WHERE order_id = $1", late.order_id)
    assert (question["kind"], question["reason"]) == ("paid_late", "paid late, and its discount has gone to others")
    assert (await used(key), (await stocked.codes_by_state(sku))["reserved"]) == (1, 1)
    await orders.cancel(other.order_id, "buyer")
    second = await order(sku, "LATE")
    await expire(second)
    assert (await settle("epay", stocked.paid(second, 1490), "callback")).outcome is Outcome.DELIVERED
    assert await used(key) == 1


# -- nothing to pay ---------------------------------------------------------------------


async def test_an_order_that_is_held_takes_its_use_again_too(coupon):
    sku = await stocked.sku(9)
    key = await coupon("HELD", uses=1)
    late = await order(sku, "HELD")
    await db.execute("UPDATE orders_order SET held = true WHERE id = $1", late.order_id)
    await expire(late)
    assert await used(key) == 0
    assert (await settle("epay", stocked.paid(late, 1490), "callback")).outcome is Outcome.NEEDS_REVIEW
    assert await used(key) == 1
    with pytest.raises(Refused):
        await order(sku, "HELD")


async def test_a_held_order_paid_late_is_not_approved_at_a_discount_that_went_to_others(coupon):
    sku = await stocked.sku(9)
    key = await coupon("HELDLATE", uses=1)
    late = await order(sku, "HELDLATE")
    await db.execute("UPDATE orders_order SET held = true WHERE id = $1", late.order_id)
    await expire(late)
    await order(sku, "HELDLATE")
    await settle("epay", stocked.paid(late, 1490), "callback")
    staff_id = await stocked.staff_member()
    await held.approve(1, late.ref, "", Person(1, staff_id))
    assert await stocked.states(late) == ("paid", "review")
    question = await db.fetchrow(
        "SELECT kind, reason FROM review_item WHERE order_id = $1 AND state = 'open'", late.order_id
    )
    assert (question["kind"], question["reason"]) == ("paid_late", "paid late, and its discount has gone to others")
    assert await used(key) == 1
    await acts.deliver_anyway(1, late.ref, staff_id, None)
    assert await stocked.states(late) == ("paid", "delivered")


async def test_a_held_order_paid_late_takes_its_discount_when_it_is_free_at_the_approval(coupon):
    sku = await stocked.sku(9)
    key = await coupon("FREEAGAIN", uses=1)
    late = await order(sku, "FREEAGAIN")
    await db.execute("UPDATE orders_order SET held = true WHERE id = $1", late.order_id)
    await expire(late)
    other = await order(sku, "FREEAGAIN")
    await settle("epay", stocked.paid(late, 1490), "callback")
    await orders.cancel(other.order_id, "buyer")
    await held.approve(1, late.ref, "", Person(1, await stocked.staff_member()))
    assert await stocked.states(late) == ("paid", "delivered")
    assert await used(key) == 1


async def paid_late_in_two_parts(sku, code):
    late = await order(sku, code)
    await expire(late)
    await settle("epay", stocked.paid(late, 1000, event=f"{late.ref}:1"), "callback")
    return late, settle("epay", stocked.paid(late, 490, event=f"{late.ref}:2"), "callback")


async def test_paid_after_its_end_in_two_parts_it_takes_its_use_again_or_waits_for_a_person(coupon):
    sku = await stocked.sku(9)
    key = await coupon("PARTS", uses=1)
    _late, rest = await paid_late_in_two_parts(sku, "PARTS")
    assert await used(key) == 0
    assert (await rest).outcome is Outcome.DELIVERED
    assert await used(key) == 1

    key = await coupon("GONE", uses=1)
    late, rest = await paid_late_in_two_parts(sku, "GONE")
    await order(sku, "GONE")
    assert (await rest).outcome is Outcome.NEEDS_REVIEW
    assert await stocked.states(late) == ("paid", "review")
    assert await used(key) == 1
    await acts.deliver_anyway(1, late.ref, await stocked.staff_member(), None)
    assert await stocked.states(late) == ("paid", "delivered")


async def test_too_little_that_is_accepted_takes_the_use_again_if_it_is_there(coupon):
    sku = await stocked.sku(9)
    for number, others in enumerate((0, 1)):
        key = await coupon(f"LITTLE{number}", uses=1)
        late, rest = await paid_late_in_two_parts(sku, f"LITTLE{number}")
        rest.close()
        if others:
            await order(sku, f"LITTLE{number}")
        await acts.deliver_anyway(1, late.ref, await stocked.staff_member(), None)
        assert await stocked.states(late) == ("paid", "delivered")
        assert await used(key) == 1


async def test_what_costs_nothing_is_paid_and_delivered_at_once(coupon):
    sku = await stocked.sku(3)
    key = await coupon("FREE", uses=1, **{"kind": "percent", "percent": 10_000, "amount": None})
    placed = await order(sku, "FREE", quantity=2)
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await stocked.codes_by_state(sku) == {"free": 1, "delivered": 2}
    assert await db.fetchval("SELECT count(*) FROM payments_attempt WHERE order_id = $1", placed.order_id) == 0
    await keep_books()
    await keep_books()
    assert await entries(placed) == [("sale", "discounts", "revenue", 3980)]
    mails = await db.fetch("SELECT event FROM messages_message WHERE order_id = $1", placed.order_id)
    assert [row["event"] for row in mails] == ["order_delivered"]
    steps = await db.fetch("SELECT kind, actor FROM orders_event WHERE order_id = $1 ORDER BY id", placed.order_id)
    assert [tuple(row) for row in steps] == [("placed", "buyer"), ("paid", "system"), ("delivered", "system")]
    with pytest.raises(CodeWrong):
        await quoted(sku, "FREE")
    assert await used(key) == 1


async def test_without_enough_codes_nothing_free_is_placed(coupon):
    sku = await stocked.sku(1)
    key = await coupon("FREE2", uses=5, **{"kind": "percent", "percent": 10_000, "amount": None})
    with pytest.raises(Exception, match="Sold out"):
        await order(sku, "FREE2", quantity=2)
    assert await used(key) == 0
    assert await stocked.codes_by_state(sku) == {"free": 1}
