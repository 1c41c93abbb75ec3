"""kill -9 at every named point of a refund: the gateway hears of it at most once, and nothing is forgotten."""

import asyncio
import signal
import time

import pytest

from core import db
from core.audit.person import Person
from core.hooks import runtime
from core.payments import queue, refunds
from core.payments.refunds import Wish
from tests import stocked
from tests.conftest import Start
from tests.gateways.running import KEY, PID
from tests.payments.test_refunds import ask, given_back, moved, newest, plugins_at, questions, rows, sold


@pytest.fixture(scope="module", autouse=True)
async def plugins(pool, start: Start, the_gateway):
    """The plugins of this process, with the keys of the workers'."""
    from core.vault import keys

    keys.use(keys.MasterKey(bytes(range(32))))
    await db.execute("INSERT INTO hooks_plugin (id, enabled) VALUES ('payments.epay', true)")
    plugins = await plugins_at(the_gateway.address)
    runtime.use(plugins)
    yield
    await plugins.close()


@pytest.fixture
def worker(start: Start, the_gateway):
    environ = {
        "VOUCHSAFE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
        "VOUCHSAFE_MASTER_KEY": bytes(range(32)).hex(),
        "VOUCHSAFE_PAYMENTS_EPAY_GATEWAY": the_gateway.address,
        "VOUCHSAFE_PAYMENTS_EPAY_PID": PID,
        "VOUCHSAFE_PAYMENTS_EPAY_KEY": KEY,
    }
    return lambda **more: start("worker", **environ, **more)


async def until(met, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not await met():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


async def killed_at(point: str, sale, worker, who: Person) -> None:
    """Ask for a whole refund while the only worker dies at ``point``; then its lease is over."""
    await ask(sale, 1990, who)
    doomed = worker(VOUCHSAFE_CRASH_AT=point)
    assert await asyncio.to_thread(doomed.process.wait, 30) == -signal.SIGKILL, doomed.output
    await db.execute("UPDATE jobs_job SET lease_until = now() WHERE name = $1 AND state = 'running'", refunds.SEND)


async def state_is(sale, state: str):
    return [row[0] for row in await rows(sale)][-1:] == [state]


@pytest.mark.parametrize("point", ["refund.answered", "refund.booked"])
async def test_what_the_gateway_did_is_found_out_and_not_done_again(point, gateway, worker):
    who = Person(1, await stocked.staff_member())
    sale = await sold(gateway)
    await killed_at(point, sale, worker, who)
    assert await rows(sale) == [("sent", 1990, "source")]
    assert await moved(sale) == {}
    next_one = worker()
    await until(lambda: state_is(sale, "done"))
    next_one.stop()
    assert len(given_back(gateway, sale)) == 1
    assert await moved(sale) == {"gateway:epay": -1990, "refunds": 1990}
    assert await stocked.states(sale.placed) == ("refunded", "delivered")


async def test_what_was_only_marked_is_not_sent_by_anybody_else(gateway, worker):
    """Nobody can know that the call was never made: a person looks, and then it may be asked anew."""
    who = Person(1, await stocked.staff_member())
    sale = await sold(gateway)
    await killed_at("refund.marked", sale, worker, who)
    next_one = worker()
    await until(lambda: state_is(sale, "unknown"))
    assert given_back(gateway, sale) == []
    assert await questions(sale) == ["refund_unknown"]
    await db.transaction(refunds.not_arrived, 1, await newest(sale), who)
    question = await db.fetchval(
        "SELECT id FROM review_item WHERE order_id = $1 AND kind = 'refund_failed'", sale.placed.order_id
    )
    await db.transaction(queue.give_back, 1, question, Wish("source"), who)
    await until(lambda: state_is(sale, "done"))
    next_one.stop()
    assert [row[0] for row in await rows(sale)] == ["failed", "done"]
    assert len(given_back(gateway, sale)) == 1
