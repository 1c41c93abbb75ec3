"""kill -9 at every named point of a purchase: it is sold once at the supplier's, and its order is delivered."""

import asyncio
import os
import signal
import sys

import pytest

from core import db
from core.api.testing import Fault
from tests import stocked
from tests.conftest import ROOT
from tests.supply.conftest import World


@pytest.fixture
def dies(database: str, world: World):
    async def dies(point: str, act: str, what: object) -> None:
        environ = {**os.environ, "DATABASE_URL": database, "VOUCHSAFE_CRASH_AT": point}
        command = [sys.executable, "-m", "tests.supply.dying", act, str(what), world.warehouse.address]
        child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environ)
        assert await child.wait() == -signal.SIGKILL

    return dies


async def test_killed_while_the_purchase_is_written_down(world: World, dies):
    """All of the payment or nothing of it: the gateway's next call does it."""
    world.warehouse.offer("steam")
    placed = await world.order(await world.sku("steam"))
    await dies("fulfilment.preparing", "pay", placed.attempt_ref)
    assert await stocked.states(placed) == ("unpaid", "reserved")
    assert await world.purchases(placed) == []
    await world.pay(placed)
    await world.work()
    assert await stocked.states(placed) == ("paid", "delivered")


@pytest.mark.parametrize("point", ["purchase.answered", "purchase.codes_sealed", "purchase.booked"])
async def test_killed_after_it_was_sold(world: World, dies, point: str):
    world.warehouse.offer("steam")
    placed = await world.paid(await world.sku("steam"))
    await dies(point, "buy", await world.newest(placed))
    assert world.warehouse.sales == [f"{placed.ref}-1-1"]
    ended = point == "purchase.booked"
    assert await world.purchases(placed) == [("-1-1", "done" if ended else "sent")]
    assert len(await world.masks(placed)) == ended
    await world.work()
    await world.ask_all()
    assert await stocked.states(placed) == ("paid", "delivered")
    assert len(await world.masks(placed)) == 1
    assert world.warehouse.sales == [f"{placed.ref}-1-1"]
    booked = await db.fetchval(
        "SELECT count(*) FROM ledger_entry WHERE order_id = $1 AND kind = 'purchase'", placed.order_id
    )
    assert booked == 1


async def test_killed_while_asking(world: World, dies):
    world.warehouse.offer("steam")
    placed = await world.paid(await world.sku("steam"))
    world.warehouse.fails("/buy", Fault.CUT)
    await world.work()
    await dies("purchase.asked", "buy", await world.newest(placed))
    await world.ask_all()
    assert await stocked.states(placed) == ("paid", "delivered")
    assert world.warehouse.sales == [f"{placed.ref}-1-1"]


async def test_killed_before_the_call_is_known_to_nobody_but_the_supplier(world: World, dies):
    """It is asked, not sent again; only a supplier that promises so is believed when it knows nothing."""
    world.warehouse.offer("steam")
    placed = await world.paid(await world.sku("steam"))
    await dies("purchase.sent", "buy", await world.newest(placed))
    assert await world.purchases(placed) == [("-1-1", "sent")]
    await world.work()
    for _again in range(4):
        await world.ask_all()
    assert world.warehouse.sales == []
    assert await world.questions(placed) == ["purchase_unknown"]
    assert await stocked.states(placed) == ("paid", "review")
