"""Facts: written with the act, told by a job to every plugin that listens, told again to the one that failed."""

import logging
from datetime import timedelta

import pytest

from core import clock, db
from core.account import erase
from core.admin import trials
from core.checkout import acts, ordinary
from core.checkout.settle import settle
from core.fulfilment.jobs import tell_of
from core.hooks import runtime as runtimes
from core.hooks import store, telling
from core.hooks.views import LineView, RemovedView
from core.jobs import registry
from core.jobs.runner import Runner
from core.money import Money
from core.orders import service as orders
from core.payments import refunds
from core.people import contact_proof
from core.review import service as review
from core.shops import service as shops
from tests import stocked


@pytest.fixture
async def told(start, operator, caplog):
    """Three plugins listen: one hears, one breaks each time, one may see contacts once it is set up."""
    caplog.set_level(logging.CRITICAL, "vouchsafe")
    await settle("epay", stocked.paid(await stocked.order(await stocked.sku(1))), "callback")
    await db.execute("DELETE FROM jobs_job")
    registry.import_core()
    await operator.saves("apps.hears_if_set", {"name": "Ann"}, {})
    runtime = await start("apps.hears", "apps.raises_in_fact")
    runtime.plugin("apps.hears").plugin.heard.clear()
    runtime.plugin("apps.hears_if_set").plugin.contacts.clear()
    runtimes.use(runtime)
    return runtime


def heard(runtime):
    return runtime.plugin("apps.hears").plugin.heard


async def rows():
    found = await db.fetch(
        "SELECT name, args, state, error FROM jobs_job WHERE name LIKE 'hooks.%' ORDER BY name, args ->> 'plugin'"
    )
    return [tuple(row.values()) for row in found]


async def run(*names):
    """What the worker does with the facts that wait, whether it is time or not."""
    await db.execute("UPDATE jobs_job SET run_at = now() WHERE state = 'queued'")
    runner = Runner(4)
    for row in await db.fetch("SELECT id FROM jobs_job WHERE state = 'queued' AND name = ANY($1) ORDER BY id", names):
        await (await runner.start(row["id"]))


async def sold(price=1990):
    placed = await stocked.order(await stocked.sku(3, price), 2)
    return placed, await settle("epay", stocked.paid(placed, 2 * price), "callback")


# -- one row, many listeners ------------------------------------------------------------


async def test_a_sale_writes_one_small_row_for_all_who_listen_and_rings_for_it(told):
    placed, settled = await sold()
    listeners = ["apps.hears", "apps.hears_if_set", "apps.raises_in_fact"]
    facts = [["order_paid", listeners], ["order_delivered", ["apps.hears"]]]
    assert await rows() == [("hooks.tell", {"facts": facts, "subject": placed.ref}, "queued", "")]
    assert await db.fetchval("SELECT id FROM jobs_job WHERE name = $1", telling.TELL) in settled.jobs


async def test_each_plugin_hears_once_and_one_that_breaks_is_told_again_by_a_row_of_its_own(told):
    placed, _ = await sold()
    await run(telling.TELL)
    kinds = [(what[0], what[-1].ref) for what in heard(told)]
    assert kinds == [("order_paid", placed.ref), ("order_delivered", placed.ref)]
    again = {"hook": "order_paid", "plugin": "apps.raises_in_fact", "subject": placed.ref}
    found = await rows()
    assert [(name, state) for name, _, state, _ in found] == [("hooks.fact", "queued"), ("hooks.tell", "done")]
    assert found[0][1] == again
    assert told.plugin("apps.raises_in_fact").failures["order_paid"].count == 1

    await run(runtimes.FACT)
    assert (await rows())[0] == ("hooks.fact", again, "queued", "ConnectionError: nobody there")
    assert len(heard(told)) == 2


async def test_telling_everyone_anew_after_a_crash_adds_no_second_row_for_the_one_that_failed(told):
    await sold()
    await run(telling.TELL)
    await db.execute("UPDATE jobs_job SET state = 'queued' WHERE name = $1", telling.TELL)
    await run(telling.TELL)
    assert len(heard(told)) == 4
    assert [name for name, *_ in await rows()] == ["hooks.fact", "hooks.tell"]


async def test_what_is_shown_of_an_order_and_who_sees_its_contact(told):
    before = clock.now()
    sku = await stocked.sku(2)
    placed = await stocked.order(sku, 2, stocked.buyer("ann@example.com"))
    await settle("epay", stocked.paid(placed, 3980), "callback")
    await run(telling.TELL)
    _hook, plugin, order = heard(told)[0]
    assert plugin == "apps.hears"
    title = await db.fetchval("SELECT title->>'en' FROM catalog_product ORDER BY id DESC LIMIT 1")
    assert (order.ref, order.shop, order.test, order.locale) == (placed.ref, "main", False, "zh-CN")
    assert (order.contact_kind, order.contact) == ("email", "")
    assert (order.total, order.payment_state, order.fulfilment_state) == (Money(3980, "CNY"), "paid", "delivered")
    assert order.lines == (LineView(sku.code, title, 2, Money(3980, "CNY")),)
    assert before - timedelta(minutes=1) < order.placed_at <= order.paid_at <= order.delivered_at < order.expires_at
    assert told.plugin("apps.hears_if_set").plugin.contacts == ["ann@example.com"]
    assert not any(code in repr(heard(told)) for code in sku.codes)


async def test_a_fact_of_a_transaction_that_fails_is_never_told(told):
    async def work(tx):
        assert len(await telling.tell(tx, "V2", "order_paid")) == 1
        raise LookupError

    with pytest.raises(LookupError):
        await db.transaction(work)
    assert await rows() == []


async def test_a_fact_waits_for_a_plugin_that_cannot_hear_and_forgets_one_that_is_off(told, operator):
    to_the_one_off = heard(told)
    await sold()
    await operator.saves("apps.hears_if_set", {}, {})
    await operator.disables("apps.hears")
    await told.refresh()
    await run(telling.TELL)
    await run(runtimes.FACT)
    waiting = [(args["plugin"], error) for name, args, _, error in await rows() if name == runtimes.FACT]
    assert waiting == [
        ("apps.hears_if_set", "apps.hears_if_set is needs_settings"),
        ("apps.raises_in_fact", "ConnectionError: nobody there"),
    ]
    assert to_the_one_off == []


async def test_a_plugin_that_is_off_in_the_shop_of_the_order_is_not_told(told):
    main = (await shops.main_shop()).id
    await db.transaction(store.switch_off_in, "apps.hears", [main])
    await told.refresh()
    await sold()
    await run(telling.TELL)
    assert heard(told) == []
    await db.transaction(store.switch_off_in, "apps.hears", [])
    await told.refresh()
    await sold()
    await run(telling.TELL)
    assert [what[0] for what in heard(told)] == ["order_paid", "order_delivered"]


async def test_nobody_listening_means_no_row_and_no_further_statement(told, operator):
    for plugin in ("apps.hears", "apps.hears_if_set", "apps.raises_in_fact"):
        await operator.disables(plugin)
    await told.refresh()
    assert telling.news("order_paid", "order_delivered") is None
    _, settled = await sold()
    assert await rows() == []
    mails = [row["id"] for row in await db.fetch("SELECT id FROM jobs_job")]
    assert list(settled.jobs) == mails


# -- each fact, told by the act it is about ---------------------------------------------


async def facts_after(told):
    heard(told).clear()
    await run(telling.TELL)
    return heard(told)


async def test_hook_order_paid(told):
    """Paid by the long road, and without the goods: paid, but not delivered."""
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await db.execute("UPDATE vault_code SET state = 'void', line_id = NULL WHERE sku_id = $1", sku.id)
    await settle("epay", stocked.paid(placed), "callback")
    told_now = await facts_after(told)
    assert [what[0] for what in told_now] == ["order_paid", "review_opened"]
    assert told_now[0][-1].fulfilment_state == "review"


async def test_hook_order_delivered(told):
    placed = await stocked.order(await stocked.sku(1))
    assert await ordinary.settle("epay", stocked.paid(placed), "callback") is not None
    assert [what[0] for what in await facts_after(told)] == ["order_paid", "order_delivered"]
    sku = await stocked.sku(1)
    late = await stocked.order(sku)
    await db.execute("UPDATE vault_code SET state = 'void', line_id = NULL WHERE sku_id = $1", sku.id)
    await settle("epay", stocked.paid(late), "callback")
    await facts_after(told)
    await stocked.stock_up(sku.id, ["ANOTHER-CODE"])
    await acts.deliver_anyway(1, late.ref, await stocked.staff_member(), None)
    assert [(what[0], what[-1].ref) for what in await facts_after(told)] == [("order_delivered", late.ref)]


async def test_hook_order_refunded(told):
    placed, _ = await sold()
    await facts_after(told)
    payment = await db.fetchval("SELECT id FROM payments_event WHERE order_id = $1", placed.order_id)
    refund = await db.fetchval(
        "INSERT INTO payments_refund (shop_id, ref, order_id, payment_id, amount, currency, way, state, two_persons,"
        " asked_by) VALUES (1, $1, $2, $3, 500, 'CNY', 'hand', 'approved', false, $4) RETURNING id",
        f"{placed.ref}-R1",
        placed.order_id,
        payment,
        await stocked.staff_member(),
    )
    await db.transaction(refunds.done, refund)
    ((hook, order, back),) = await facts_after(told)
    assert (hook, order.ref, back.ref) == ("order_refunded", placed.ref, f"{placed.ref}-R1")
    assert (back.amount, back.way) == (Money(500, "CNY"), "hand")
    assert back.ended_at >= order.paid_at


async def test_hook_order_closed(told):
    cancelled, expired = await stocked.order(await stocked.sku(1)), await stocked.order(await stocked.sku(1))
    await orders.cancel(cancelled.order_id, "buyer")
    await db.execute("UPDATE orders_order SET expires_at = now() - interval '1 minute' WHERE id = $1", expired.order_id)
    assert await orders.expire_due() == [expired.ref]
    assert [(what[0], what[1].ref, what[1].payment_state) for what in await facts_after(told)] == [
        ("order_closed", cancelled.ref, "cancelled"),
        ("order_closed", expired.ref, "expired"),
    ]


async def test_hook_buyer_forgotten(told):
    who = stocked.buyer("leave@example.com")
    placed = [await stocked.order(await stocked.sku(1), who=who) for _ in range(2)]
    other = await stocked.order(await stocked.sku(1))
    for one in (*placed, other):
        await orders.cancel(one.order_id, "buyer")
    await facts_after(told)
    token = await contact_proof.new_link(1, "leave@example.com", "erase")
    assert (await erase.confirm(1, token)).orders == 2
    assert [(what[0], what[1].ref, what[1].contact_kind) for what in await facts_after(told)] == [
        ("buyer_forgotten", one.ref, "erased") for one in placed
    ]


async def test_hook_order_removed(told):
    tried, bought = await stocked.order(await stocked.sku(1)), await stocked.order(await stocked.sku(1))
    await db.execute("UPDATE orders_order SET test = (id = $1)", tried.order_id)
    assert await db.transaction(trials.take_out, 1) == 1
    assert await facts_after(told) == [("order_removed", RemovedView(tried.ref, "main"))]
    assert await db.fetchval(
        "SELECT array_agg(id) FROM orders_order WHERE id = ANY($1)", [tried.order_id, bought.order_id]
    ) == [bought.order_id]


async def test_hook_review_opened(told):
    for _twice in range(2):
        await db.transaction(review.open_item, 1, "job_failed", "job_failed:7", "the money could not be given back")
    ((hook, asked),) = await facts_after(told)
    assert (hook, asked.kind, asked.shop, asked.order_ref, asked.open) == (
        "review_opened",
        "job_failed",
        "main",
        "",
        True,
    )
    assert asked.number == await db.fetchval("SELECT id FROM review_item WHERE key = 'job_failed:7'")


async def test_hook_stock_low(told):
    await db.execute("UPDATE catalog_sku SET listed = false")
    sku = await stocked.sku(2)
    shop = await shops.main_shop()
    for _twice in range(2):
        await db.transaction(tell_of, shop)
    ((hook, stock),) = await facts_after(told)
    assert (hook, stock.shop, stock.sku_code, stock.left, stock.low) == ("stock_low", "main", sku.code, 2, 2)
