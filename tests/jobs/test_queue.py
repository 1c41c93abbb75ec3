"""Jobs are rows of the business transaction, whatever Valkey does."""

import asyncio
import json
import time

import pytest
import redis.asyncio
import uvloop

from core import clock, db, jobs
from core.jobs import bell

pytestmark = pytest.mark.usefixtures("pool")


async def rows() -> list[dict]:
    found = await db.fetch("SELECT name, args, key, state, tries, fence FROM jobs_job ORDER BY id")
    await db.execute("DELETE FROM jobs_job")
    return [dict(row) for row in found]


async def test_a_job_exists_only_if_its_transaction_commits():
    async def fails(tx):
        await jobs.enqueue(tx, "shop.thing", {"order": 1})
        await jobs.enqueue_many(tx, [jobs.NewJob("shop.other", {"order": 1})])
        raise RuntimeError("the business said no")

    with pytest.raises(RuntimeError):
        await db.transaction(fails)
    assert await rows() == []

    job_id = await db.transaction(jobs.enqueue, "shop.thing", {"order": 1})
    assert isinstance(job_id, int)
    assert await rows() == [
        {"name": "shop.thing", "args": {"order": 1}, "key": None, "state": "queued", "tries": 0, "fence": 0}
    ]


async def test_a_key_is_used_once():
    async def twice(tx):
        first = await jobs.enqueue(tx, "shop.thing", {"n": 1}, key="order:1")
        return first, await jobs.enqueue(tx, "shop.thing", {"n": 2}, key="order:1")

    first, second = await db.transaction(twice)
    assert first == second
    assert [row["args"] for row in await rows()] == [{"n": 1}]


async def test_the_same_key_from_twenty_transactions_at_once():
    ids = await asyncio.gather(*(db.transaction(_enqueue_with_key, n) for n in range(20)))
    assert len(set(ids)) == 1
    assert len(await rows()) == 1


async def _enqueue_with_key(tx, n):
    return await jobs.enqueue(tx, "shop.thing", {"n": n}, key="order:2")


async def test_many_in_one_statement():
    async def many(tx):
        await jobs.enqueue(tx, "shop.thing", {}, key="known")
        later = clock.now().replace(microsecond=0)
        new = [jobs.NewJob("shop.a", {"n": 1}), jobs.NewJob("shop.b", {"t": "卡密"}, run_at=later, key="b")]
        return later, await jobs.enqueue_many(tx, [*new, jobs.NewJob("shop.thing", {}, key="known")])

    later, ids = await db.transaction(many)
    assert len(ids) == 2
    assert await db.fetchval("SELECT run_at FROM jobs_job WHERE key = 'b'") == later
    assert [(row["name"], row["args"]) for row in await rows()] == [
        ("shop.thing", {}),
        ("shop.a", {"n": 1}),
        ("shop.b", {"t": "卡密"}),
    ]


async def test_ringing_without_valkey_costs_nothing(tmp_path):
    await jobs.ring(1, 2, 3)
    bell.open(f"unix://{tmp_path}/nobody.sock")
    try:
        started = time.monotonic()
        for number in range(200):
            await jobs.ring(number)
            await bell.ring("channel", "text")
        assert time.monotonic() - started < 0.05
    finally:
        await bell.close()


async def test_valkey_gets_only_the_id_as_json(redis_url):
    bell.open(redis_url)
    await jobs.ring(41)
    await bell.close()
    async with redis.asyncio.from_url(redis_url) as client:
        assert await client.zrange("arq:queue", 0, -1) == [b"41-0"]
        body = json.loads(await client.get("arq:job:41-0"))
        assert body["f"], body["a"] == ("run", [41])
        assert body["k"] == {}
        await client.flushdb()


async def test_a_bell_reaches_its_listeners_only(redis_url):
    bell.open(redis_url)
    heard: list[tuple[str, str]] = []

    async def hear(name, channel):
        async for text in bell.listen(channel):
            heard.append((name, text))

    listeners = [asyncio.create_task(hear(*who)) for who in (("a", "order:1"), ("b", "order:1"), ("c", "order:2"))]
    try:
        while len(heard) < 3:
            await bell.ring("order:1", "paid")
            await bell.ring("order:2", "expired")
            await asyncio.sleep(0.02)
        assert set(heard) == {("a", "paid"), ("b", "paid"), ("c", "expired")}
    finally:
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)
        await bell.close()


async def test_listening_without_valkey_is_silence(tmp_path):
    bell.open(f"unix://{tmp_path}/nobody.sock")
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                async for _ in bell.listen("order:1"):
                    raise AssertionError("nobody can have rung")
    finally:
        await bell.close()


def test_a_listener_that_comes_as_the_connection_breaks_hears_later(redis_url):
    """On the event loop of the web process, which has errors of its own for that."""

    async def hear():
        bell.open(redis_url)
        first = asyncio.create_task(anext(bell.listen("order:1")))
        while bell._subscriber is None or bell._subscriber._pubsub is None:
            await asyncio.sleep(0.01)
        bell._subscriber._pubsub.connection._writer.transport.abort()
        second = asyncio.create_task(anext(bell.listen("order:2")))
        try:
            async with asyncio.timeout(5):
                while not (first.done() and second.done()):
                    await bell.ring("order:1", "paid")
                    await bell.ring("order:2", "paid")
                    await asyncio.sleep(0.02)
            return first.result(), second.result()
        finally:
            await bell.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(hear()) == ("paid", "paid")
