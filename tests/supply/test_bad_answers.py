"""Suppliers that say what cannot be: nothing is lost, nothing is bought twice, and nobody else waits for it."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from core import clock, db
from core.api.testing import Fault
from core.audit.person import Person
from core.checkout.place import Placed, SoldOut
from core.fulfilment import buying, by_hand, deciding, jobs
from core.hooks import runtime
from core.jobs import Lease
from core.money import Money
from core.refused import Refused
from core.supply import answers, skus, sync
from core.supply.skus import Draft
from core.vault import quarantine
from tests import stocked
from tests.supply.conftest import World

DELIVERED = ("paid", "delivered")
LEASE = Lease(0, "fulfilment.ask_suppliers", 1, 1, 30, False)


async def unsure(world: World, sku: stocked.Sku) -> Placed:
    """A purchase whose answer was lost; it was sold."""
    placed = await world.paid(sku)
    world.warehouse.fails("/buy", Fault.CUT)
    await world.work()
    assert await world.purchases(placed) == [("-1-1", "unknown")]
    return placed


async def ask_all_at_once(world: World) -> None:
    """As the timer does it."""
    await db.execute("UPDATE supply_purchase SET next_query_at = now() - interval '1 second' WHERE state = 'unknown'")
    await jobs.ask_suppliers(LEASE)


async def test_an_answer_that_cannot_be_keeps_nobody_else_waiting_and_reaches_a_person(world: World):
    world.warehouse.offer("steam", cost=1000)
    sku = await world.sku("steam")
    bad, good = await unsure(world, sku), await unsure(world, sku)
    world.warehouse.told[f"{bad.ref}-1-1"]["cost"] = -500
    for _again in range(4):
        await ask_all_at_once(world)
    assert await stocked.states(good) == DELIVERED
    assert await stocked.states(bad) == ("paid", "review")
    assert await world.questions(bad) == ["purchase_unknown"]
    assert await world.purchases(bad) == [("-1-1", "unknown")]
    assert await world.masks(bad) == []


@pytest.mark.parametrize("sign", ["\x00", "\ud800"])
async def test_signs_that_no_database_keeps(world: World, sign: str):
    world.warehouse.offer("steam", cost=1000)
    sku = await world.sku("steam")
    sold, failed = await unsure(world, sku), await unsure(world, sku)
    world.warehouse.told[f"{sold.ref}-1-1"]["number"] = f"W{sign}1"
    world.warehouse.told[f"{failed.ref}-1-1"] = {"state": "failed", "text": f"so{sign}rry"}
    await world.ask_all()
    assert await stocked.states(sold) == DELIVERED
    assert await world.purchases(failed) == [("-1-1", "failed")]
    assert await stocked.states(failed) == ("paid", "review")


async def test_what_a_supplier_has_taken_on_is_not_bought_again_because_it_forgot(world: World):
    world.warehouse.offer("steam", cost=900)
    world.second.offer("other", cost=1000)
    sku = await world.sku("steam", "second/other")
    runtime.current().suppliers["warehouse"].absent_means_unsold = True
    world.warehouse.works_on_it = True
    placed = await world.paid(sku)
    await world.work()
    assert await world.purchases(placed) == [("-1-1", "waiting")]
    told = world.warehouse.told.pop(f"{placed.ref}-1-1")
    for _again in range(5):
        await world.ask_all()
    assert await world.purchases(placed) == [("-1-1", "waiting")]
    assert [sale for sale in world.warehouse.sales if placed.ref in sale] == [f"{placed.ref}-1-1"]
    assert world.second.sales == []
    assert await world.questions(placed) == ["purchase_unknown"]
    world.warehouse.works_on_it = False
    world.warehouse.told[f"{placed.ref}-1-1"] = told
    await world.ask_all()
    assert await stocked.states(placed) == DELIVERED


async def test_what_a_plugin_breaks_over_is_in_no_log(world: World, caplog: pytest.LogCaptureFixture):
    world.warehouse.offer("steam")
    sku = await world.sku("steam")
    placed = await unsure(world, sku)
    world.warehouse.told[f"{placed.ref}-1-1"]["state"] = "SECRET-CODE-1234"
    with caplog.at_level(logging.DEBUG):
        await world.ask_all()
    assert await world.purchases(placed) == [("-1-1", "unknown")]
    assert "warehouse" in caplog.text
    assert "SECRET-CODE" not in caplog.text


async def test_short_values_of_an_answer_are_masked_too(world: World):
    """A PIN has four signs."""
    world.warehouse.offer("steam")
    sku = await world.sku("steam")
    world.warehouse.next_codes = [[{"code": "CARD-0001-0002", "pin": "7391"}]]
    placed = await world.paid(sku)
    await world.work()
    kept = await answers.of_purchase(await world.newest(placed))
    assert "7391" in answers.opened(kept[0])
    assert "7391" not in answers.masked(kept[0])
    assert '"state"' in answers.masked(kept[0])


async def test_codes_set_aside_while_the_rest_is_bought_are_bought_anew(world: World):
    world.warehouse.offer("steam", most=1)
    sku = await world.sku("steam")
    placed = await world.paid(sku, 2)
    number = await world.newest(placed)
    await buying.go_on(number)
    batch = await db.fetchval("SELECT batch_id FROM vault_code WHERE sku_id = $1", sku.id)
    await db.transaction(quarantine.hold_batch, 1, batch, "these do not work", await stocked.staff_member())
    await world.work()
    assert await stocked.states(placed) == DELIVERED
    assert len(await world.masks(placed)) == 2
    assert len(world.warehouse.sales) == 3


async def test_a_person_cannot_write_down_less_than_nothing_as_the_cost(world: World):
    world.warehouse.offer("steam")
    sku = await world.sku("steam")
    placed = await unsure(world, sku)
    who = Person(1, await stocked.staff_member())
    with pytest.raises(Refused):
        await deciding.was_sold(await world.newest(placed), "TYPED-CODE-1", Money(-1, "CNY"), who)
    assert await world.purchases(placed) == [("-1-1", "unknown")]
    assert await world.masks(placed) == []


async def test_a_slow_supplier_is_not_looked_at_twice_at_once(world: World):
    await db.execute("DELETE FROM jobs_job WHERE name = $1", sync.SYNC)
    later = [datetime.now(UTC) + timedelta(hours=hours) for hours in (1, 2, 3)]
    with clock.use(lambda: later[0]):
        first = await sync.begin_due()
    with clock.use(lambda: later[1]):
        assert (len(first), await sync.begin_due()) == (2, [])
    await db.execute("UPDATE jobs_job SET state = 'done' WHERE id = ANY($1)", first)
    with clock.use(lambda: later[2]):
        assert len(await sync.begin_due()) == 2


async def test_goods_that_a_person_makes_are_used_up(world: World):
    staff_id = await stocked.staff_member()
    made = await stocked.sku(0)
    await skus.save(Person(1, staff_id), made.id, Draft("hand", available=1))
    placed = await world.paid(made)
    line = await db.fetchval("SELECT id FROM orders_line WHERE order_id = $1", placed.order_id)
    with pytest.raises(SoldOut):
        await world.order(made)
    await by_hand.hand_over(1, placed.ref, line, "MADE-BY-HAND-1", "", staff_id)
    with pytest.raises(SoldOut):
        await world.order(made)
