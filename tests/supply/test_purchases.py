"""Buying from a supplier: one sale per reference in its own log, whatever goes wrong; no code lost, none sold twice."""

import asyncio
from datetime import timedelta

import pytest

from core import clock, db
from core.api.testing import Fault
from core.audit.person import Person
from core.checkout import acts
from core.checkout.place import Placed
from core.checkout.settle import Outcome
from core.fulfilment import buying
from core.hooks import runtime
from core.orders import service as orders
from core.payments import money, refunds
from core.payments.refunds import Wish
from core.supply import answers, purchases
from core.vault import burn
from tests import stocked
from tests.supply.conftest import World

DELIVERED = ("paid", "delivered")


async def test_a_paid_order_is_bought_sealed_booked_and_delivered(world: World):
    world.warehouse.offer("steam", cost=1000)
    sku = await world.sku("steam")
    placed = await world.order(sku, 2)
    assert await db.fetchval("SELECT count(*) FROM vault_code WHERE sku_id = $1", sku.id) == 0
    settled = await world.pay(placed, 3980)
    assert settled.outcome is Outcome.PREPARING
    assert await stocked.states(placed) == ("paid", "preparing")
    assert world.warehouse.sales == []
    await world.work()
    assert await stocked.states(placed) == DELIVERED
    assert await world.purchases(placed) == [("-1-1", "done")]
    assert world.warehouse.sales == [f"{placed.ref}-1-1"]
    assert len(await world.masks(placed)) == 2
    assert await world.steps(placed) == [
        "placed", "paid", "preparing", "purchase_begun", "purchase_sent", "purchase_done", "delivered",
    ]  # fmt: skip
    booked = await db.fetch(
        "SELECT entry.kind, debit.code AS debit, credit.code AS credit, entry.amount FROM ledger_entry entry"
        " JOIN ledger_account debit ON debit.id = debit_id JOIN ledger_account credit ON credit.id = credit_id"
        " WHERE order_id = $1 ORDER BY entry.id",
        placed.order_id,
    )
    assert [tuple(row) for row in booked] == [
        ("payment", "gateway:epay", "deposits", 3980),
        ("purchase", "cost", "supplier:warehouse", 2000),
        ("sale", "deposits", "revenue", 3980),
    ]
    kept = await answers.of_purchase(await world.newest(placed))
    assert [one["came_by"] for one in kept] == ["purchase"]
    assert "BOUGHT" in answers.opened(kept[0])
    assert "BOUGHT" not in answers.masked(kept[0])
    assert b"BOUGHT" not in kept[0]["blob"]
    mails = await db.fetch("SELECT event FROM messages_message WHERE order_id = $1", placed.order_id)
    assert [row["event"] for row in mails] == ["order_delivered"]


@pytest.mark.parametrize("asked", [False, True])
async def test_goods_whose_cost_an_answer_lacks_are_delivered_and_their_cost_is_asked_for(world: World, asked: bool):
    world.warehouse.offer("steam", cost=1000)
    placed = await world.paid(await world.sku("steam"))
    world.warehouse.keeps_cost_back, world.warehouse.works_on_it = True, asked
    await world.work()
    world.warehouse.works_on_it = False
    for _again in range(5):
        await world.ask_all()
    assert await stocked.states(placed) == DELIVERED
    assert await world.questions(placed) == ["purchase_odd"]
    world.warehouse.keeps_cost_back = False
    await world.ask_all()
    booked = "SELECT amount FROM ledger_entry WHERE order_id = $1 AND kind = 'purchase'"
    assert await db.fetchval(booked, placed.order_id) == 1000
    assert await world.questions(placed) == []
    assert (len(await world.masks(placed)), world.warehouse.sold_once) == (1, True)


@pytest.mark.parametrize("by", ["buyer", "timer"])
async def test_a_code_that_is_erased_stands_in_no_answer_of_its_supplier(world: World, by: str):
    world.warehouse.offer("steam", cost=1000)
    sku = await world.sku("steam")
    placed, other = await world.paid(sku, 2, 1990), await world.paid(sku)
    await world.work()
    await db.execute("UPDATE catalog_sku SET burn_hours = 24 WHERE id = $1", sku.id)
    ref, session_hash = placed.ref, await access_of(placed)
    await orders.reveal(ref, session_hash, None, "")
    if by == "buyer":
        await burn.burn_shown(ref, session_hash)
    else:
        assert await db.transaction(burn.burn_due, clock.now() + timedelta(hours=25)) == 2
    assert await answers.of_purchase(await world.newest(placed)) == []
    assert len(await answers.of_purchase(await world.newest(other))) == 1


async def access_of(placed: Placed) -> bytes:
    return await db.fetchval("SELECT session_hash FROM orders_access WHERE order_id = $1", placed.order_id)


@pytest.mark.parametrize("fault", list(Fault))
async def test_what_was_sold_although_the_answer_was_lost_is_found_by_its_reference(world: World, fault: Fault):
    world.warehouse.offer("steam")
    sku = await world.sku("steam")
    placed = await world.paid(sku)
    world.warehouse.fails("/buy", fault)
    await world.work()
    assert await world.purchases(placed) == [("-1-1", "unknown")]
    assert await stocked.states(placed) == ("paid", "preparing")
    await world.ask_all()
    assert await stocked.states(placed) == DELIVERED
    assert world.warehouse.sales == [f"{placed.ref}-1-1"]
    assert await world.questions(placed) == []


@pytest.mark.parametrize("sold", [True, False])
async def test_what_nobody_is_sure_of_waits_for_a_person_and_is_not_bought_again(world: World, sold: bool):
    world.warehouse.offer("steam")
    world.second.offer("other", cost=1200)
    sku = await world.sku("steam", "second/other")
    placed = await world.paid(sku)
    world.warehouse.fails("/buy", Fault.CUT, acts=sold)
    world.warehouse.fails("/bought", Fault.GARBAGE, times=None)
    await world.work()
    for _again in range(5):
        await world.ask_all()
    assert await stocked.states(placed) == ("paid", "review")
    assert await world.questions(placed) == ["purchase_unknown"]
    assert await world.purchases(placed) == [("-1-1", "unknown")]
    assert world.warehouse.sales == ([f"{placed.ref}-1-1"] if sold else [])
    assert world.second.sales == []
    assert await world.masks(placed) == []


@pytest.mark.parametrize("no", ["out_of_stock", "above_cap", "blocked"])
async def test_a_definite_no_goes_to_the_next_offer_and_then_to_a_person(world: World, no: str):
    world.warehouse.offer("steam", cost=900)
    world.second.offer("other", cost=1100)
    sku = await world.sku("steam", "second/other")
    world.warehouse.says_no = no
    placed = await world.paid(sku)
    await world.work()
    assert await world.purchases(placed) == [("-1-1", "failed"), ("-1-2", "done")]
    assert (world.warehouse.sales, world.second.sales) == ([], [f"{placed.ref}-1-2"])
    assert await stocked.states(placed) == DELIVERED
    world.second.says_no = no
    refused = await world.paid(sku)
    await world.work()
    assert await world.purchases(refused) == [("-1-1", "failed"), ("-1-2", "failed")]
    assert await stocked.states(refused) == ("paid", "review")
    assert await world.questions(refused) == ["purchase_failed"]


async def test_a_supplier_that_cannot_be_reached_is_no_doubt(world: World):
    world.warehouse.offer("steam", cost=900)
    world.second.offer("other", cost=1100)
    sku = await world.sku("steam", "second/other")
    placed = await world.paid(sku)
    await world.warehouse.down()
    await world.work()
    assert await world.purchases(placed) == [("-1-1", "failed"), ("-1-2", "done")]
    assert await stocked.states(placed) == DELIVERED


GOOD = [{"code": "FRESH-1111"}, {"code": "FRESH-2222"}]


@pytest.mark.parametrize(
    ("codes", "delivered", "aside", "questions"),
    [
        ([{"code": "SHORT-0001"}], 0, 0, ["purchase_odd", "purchase_failed"]),
        ([], 0, 0, ["purchase_odd", "purchase_failed"]),
        ([{"code": "A-OVER-1"}, {"code": "A-OVER-2"}, {"code": "A-OVER-3"}], 2, 1, ["purchase_odd"]),
        ([{"code": "TWICE-01"}, {"code": "TWICE-01"}], 0, 0, ["purchase_odd", "purchase_failed"]),
        ([{"code": "HALF\x00CODE"}, {"code": "WHOLE-01"}], 0, 0, ["purchase_odd", "purchase_failed"]),
        ([{"code": "您好："}, {"code": "库存不足，请联系QQ 12345678"}], 0, 1, ["purchase_odd", "purchase_failed"]),
        ([{"code": "CARD-1", "pin": "PIN-1"}, {"code": "CARD-2", "pin": "PIN-2"}], 2, 0, []),
    ],
    ids=["short", "empty", "over", "twice", "unfit", "excuse", "pins"],
)
async def test_odd_deliveries(world: World, codes, delivered, aside, questions):
    world.warehouse.offer("steam")
    sku = await world.sku("steam")
    world.warehouse.next_codes = [codes]
    placed = await world.paid(sku, 2)
    await world.work()
    assert len(await world.masks(placed)) == delivered
    states = await stocked.codes_by_state(sku)
    assert states.get("quarantined", 0) == aside
    assert await world.questions(placed) == questions
    assert await stocked.states(placed) == ("paid", "delivered" if delivered else "review")
    assert world.warehouse.sales == [f"{placed.ref}-1-1"]


async def test_a_code_that_was_seen_before_goes_to_nobody_and_raises_an_alarm(world: World):
    world.warehouse.offer("steam")
    sku = await world.sku("steam")
    world.warehouse.next_codes = [[{"code": "SAME-CODE-1"}], [{"code": " same-code-1".upper()}]]
    first, second = await world.paid(sku), await world.paid(sku)
    await world.work()
    assert [len(await world.masks(one)) for one in (first, second)] == [1, 0]
    assert await stocked.states(second) == ("paid", "review")
    alarms = await db.fetchval(
        "SELECT count(*) FROM audit_alarm WHERE kind = 'supply.odd_purchase' AND detail ->> 'order' = $1", second.ref
    )
    assert alarms == 1


async def test_a_purchase_for_an_order_given_up_meanwhile_is_not_sent_and_goods_that_came_are_set_aside(world: World):
    world.warehouse.offer("steam")
    sku = await world.sku("steam")
    unsent, unsure = await world.paid(sku), None
    await db.execute("UPDATE orders_order SET fulfilment_state = 'void' WHERE id = $1", unsent.order_id)
    await world.work()
    assert await world.purchases(unsent) == [("-1-1", "failed")]
    assert world.warehouse.sales == []
    unsure = await world.paid(sku)
    world.warehouse.fails("/buy", Fault.CUT)
    await world.work()
    await db.execute("UPDATE orders_order SET fulfilment_state = 'void' WHERE id = $1", unsure.order_id)
    await world.ask_all()
    assert await world.purchases(unsure) == [("-1-1", "done")]
    assert await stocked.codes_by_state(sku) == {"quarantined": 1}
    assert await world.questions(unsure) == ["purchase_odd"]


async def test_an_order_whose_refund_is_declined_waits_for_a_person_and_can_be_bought_again(world: World):
    """What was being bought raised no question, so there is none to ask again."""
    world.warehouse.offer("steam")
    placed = await world.paid(await world.sku("steam"))
    anna = await stocked.staff_member()
    ben = await db.fetchval(
        "INSERT INTO people_staff (shop_id, email, role) VALUES (1, 'ben@b.cd', 'owner') RETURNING id"
    )
    await db.execute("UPDATE shops_shop SET settings = settings || '{\"refund_limit\": 100}'")

    async def ask(tx: db.Tx) -> None:
        order = await refunds.locked(tx, 1, placed.ref)
        [payment] = await money.payments_of(order["id"], tx)
        await refunds.ask(tx, order, [(payment, 1990)], Wish("hand"), Person(1, anna))

    await db.transaction(ask)
    await db.execute("UPDATE shops_shop SET settings = settings - 'refund_limit'")
    await world.work()
    assert await world.purchases(placed) == [("-1-1", "failed")]
    assert await stocked.states(placed) == ("paid", "void")
    refund = await db.fetchval("SELECT id FROM payments_refund WHERE order_id = $1", placed.order_id)
    await db.transaction(refunds.decline, 1, refund, Person(1, ben))
    assert await stocked.states(placed) == ("paid", "review")
    assert await world.questions(placed) == ["purchase_failed"]
    await acts.deliver_anyway(1, placed.ref, anna, None)
    await world.work()
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await world.questions(placed) == []


async def test_big_lines_are_bought_in_parts_and_own_codes_go_first(world: World):
    world.warehouse.offer("steam", most=2)
    sku = await world.sku("steam", own_first=True)
    await stocked.stock_up(sku.id, ["OWN-CODE-0001"])
    own = await world.paid(sku)
    assert await stocked.states(own) == DELIVERED
    assert world.warehouse.sales == []
    many = await world.paid(sku, 5)
    await world.work()
    assert await world.purchases(many) == [("-1-1", "done"), ("-1-2", "done"), ("-1-3", "done")]
    assert len(await world.masks(many)) == 5


async def test_a_test_order_buys_nothing_by_itself(world: World):
    world.warehouse.offer("steam")
    sku = await world.sku("steam")
    placed = await world.order(sku)
    await db.execute("UPDATE orders_order SET test = true WHERE id = $1", placed.order_id)
    assert (await world.pay(placed)).outcome is Outcome.NEEDS_REVIEW
    await world.work()
    assert await world.purchases(placed) == []
    assert world.warehouse.sales == []


async def test_a_supplier_that_promises_so_is_believed_when_it_knows_nothing(world: World):
    """But only once the call is over for certain: before, the request may still be on its way."""
    world.warehouse.offer("steam")
    sku = await world.sku("steam")
    placed = await world.paid(sku)
    warehouse = runtime.current().suppliers["warehouse"]
    warehouse.absent_means_unsold = True
    world.warehouse.fails("/buy", Fault.CUT, acts=False)
    await world.work()
    await buying.go_on(await world.newest(placed))
    assert await world.purchases(placed) == [("-1-1", "unknown")]
    await world.ask_all()
    assert await world.purchases(placed) == [("-1-1", "failed"), ("-1-2", "done")]
    assert world.warehouse.sales == [f"{placed.ref}-1-2"]
    assert await stocked.states(placed) == ("paid", "delivered")


async def test_two_workers_at_once_send_one_purchase(world: World):
    world.warehouse.offer("steam")
    sku = await world.sku("steam")
    placed = await world.paid(sku)
    number = await world.newest(placed)
    await asyncio.gather(*(buying.go_on(number) for _worker in range(6)))
    assert world.warehouse.sales == [f"{placed.ref}-1-1"]
    assert world.warehouse.count("/buy") == 1


async def test_without_the_mark_that_is_written_first_it_is_sold_as_often_as_it_is_sent(world: World):
    """The control: what the supplier's log shows when nobody marks a purchase before the call."""
    world.warehouse.offer("steam")
    sku = await world.sku("steam")
    placed = await world.paid(sku)
    row = await purchases.load(await world.newest(placed))
    supplier = runtime.current().suppliers["warehouse"]
    view = purchases.view(row, "http://shop.example", answers.keeper(row, "purchase"))
    await asyncio.gather(*(supplier.purchase(view) for _worker in range(2)))
    assert world.warehouse.sales == [f"{placed.ref}-1-1"] * 2
    assert not world.warehouse.sold_once
    world.warehouse.sales.clear()
