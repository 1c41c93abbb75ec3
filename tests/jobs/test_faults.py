"""Workers killed and frozen, Valkey killed and flushed, PostgreSQL restarted: every job is finished."""

import asyncio
import os
import shutil
import signal
import tempfile
from contextvars import Context
from pathlib import Path

import pytest
import redis.asyncio

from core import db, embedded, jobs
from core.jobs import bell
from tests.jobs.conftest import Workers, until
from tests.jobs.work import TABLES


@pytest.fixture(scope="module")
def own():
    """Engines that may be hurt, for this module alone, in a folder that their user may enter."""
    home = Path(tempfile.mkdtemp(prefix="vouchsafe-jobs-"))
    home.chmod(0o755)
    engines = embedded.Engines(home)
    engines.start()
    yield engines
    engines.stop()
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def valkey(own):
    return next(part for part in own.parts if isinstance(part, embedded.Valkey))


@pytest.fixture(scope="module")
def postgres(own):
    return next(part for part in own.parts if isinstance(part, embedded.Postgres))


@pytest.fixture(scope="module")
def redis_url(own):
    return own.place.redis_url


@pytest.fixture(scope="module")
def database(own):
    return own.place.database_url


@pytest.fixture(scope="module")
async def pool(own):
    await db.open_pool(own.place.database_url)
    await db.migrate()
    await db.execute(TABLES)
    bell.open(own.place.redis_url)
    yield
    await bell.close()
    await db.close_pool()


@pytest.fixture
async def workers(pool, database, redis_url, tmp_path):
    workers = Workers(database, redis_url, tmp_path / "log")
    await db.execute("UPDATE test_gate SET open = false")
    yield workers
    workers.stop()
    await db.execute("DELETE FROM jobs_job")


async def put(name, count=1):
    async def work(tx):
        return await jobs.enqueue_many(tx, [jobs.NewJob(name, {"n": n}) for n in range(count)])

    ids = await db.transaction(work)
    await jobs.ring(*ids)
    return ids


async def all_done(ids, seconds=30):
    await until(lambda: db.fetchval("SELECT bool_and(state = 'done') FROM jobs_job WHERE id = ANY($1)", ids), seconds)


async def running_in(job_id, pid):
    await until(lambda: db.fetchval("SELECT true FROM test_run WHERE job_id = $1 AND pid = $2", job_id, pid), 20)


async def written(job_id):
    return [row["fence"] for row in await db.fetch("SELECT fence FROM test_write WHERE job_id = $1", job_id)]


async def test_another_worker_finishes_what_a_killed_one_began(workers):
    first = await workers.start()
    [job_id] = await put("test.gated")
    await running_in(job_id, first.pid)
    second = await workers.start()
    first.kill()
    await running_in(job_id, second.pid)
    await db.execute("UPDATE test_gate SET open = true")
    await all_done([job_id])
    assert await written(job_id) == [2]
    assert await db.fetchval("SELECT tries FROM jobs_job WHERE id = $1", job_id) == 2


async def test_a_frozen_worker_that_wakes_up_late_writes_nothing(workers):
    frozen = await workers.start()
    [job_id] = await put("test.stubborn")
    await running_in(job_id, frozen.pid)
    frozen.send_signal(signal.SIGSTOP)
    second = await workers.start()
    await running_in(job_id, second.pid)
    await db.execute("UPDATE test_gate SET open = true")
    await all_done([job_id])
    assert await written(job_id) == [2]
    frozen.send_signal(signal.SIGCONT)
    await until(lambda: db.fetchval("SELECT true FROM test_refused WHERE job_id = $1", job_id))
    assert await written(job_id) == [2]
    assert await db.fetchval("SELECT fence FROM test_refused WHERE job_id = $1", job_id) == 1
    assert await db.fetchval("SELECT state FROM jobs_job WHERE id = $1", job_id) == "done"
    # and it is of use again afterwards
    os.kill(second.pid, signal.SIGKILL)
    ids = await put("test.quick", 5)
    await all_done(ids)
    pids = await db.fetch("SELECT DISTINCT pid FROM test_run WHERE job_id = ANY($1)", ids)
    assert [row["pid"] for row in pids] == [frozen.pid]


async def test_without_the_fence_the_late_one_would_write(workers):
    """The control: the same freeze, written past the lease."""
    lease = jobs.Lease(0, "test.quick", 1, 1, 30, False)
    [job_id] = await put("test.gated")
    await db.execute("UPDATE jobs_job SET state = 'running', fence = 2 WHERE id = $1", job_id)
    lease.job_id = job_id

    async def write(tx):
        await tx.execute("INSERT INTO test_write VALUES ($1, 1)", job_id)

    with pytest.raises(jobs.LeaseLost):
        await lease.write(write)
    assert await written(job_id) == []
    await db.transaction(write)
    assert await written(job_id) == [1]


async def test_valkey_killed_and_emptied_loses_no_job(workers, valkey, redis_url):
    worker = await workers.start()
    await all_done(await put("test.quick", 3))

    valkey.process.send_signal(signal.SIGKILL)
    valkey.process.wait()
    while_dead = await put("test.quick", 150)
    await all_done(while_dead, 20)

    await asyncio.to_thread(valkey.start)
    after = await put("test.quick", 50)
    async with redis.asyncio.from_url(redis_url) as client:
        await client.flushall()
    await all_done(after, 20)

    ids = [*while_dead, *after]
    assert await db.fetchval("SELECT count(*) FROM test_run WHERE job_id = ANY($1)", ids) == len(ids)
    assert worker.poll() is None
    await until(lambda: _starts_by_bell(), 15)


async def _starts_by_bell():
    """A job begins sooner than the sweeper would find it: the worker hears the bell again."""
    [job_id] = await put("test.quick")
    await all_done([job_id])
    return await db.fetchval(
        "SELECT at - created_at < interval '0.5 s' FROM test_run JOIN jobs_job ON id = job_id WHERE id = $1", job_id
    )


async def test_a_valkey_that_hangs_loses_no_job(workers, valkey):
    await workers.start()
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        await all_done(await put("test.quick", 20), 20)
    finally:
        valkey.process.send_signal(signal.SIGCONT)


async def test_postgresql_restarted_in_mid_job(workers, postgres):
    worker = await workers.start()
    [job_id] = await put("test.gated")
    await running_in(job_id, worker.pid)
    waiting = await put("test.quick", 20)
    await asyncio.to_thread(postgres.stop)
    await asyncio.to_thread(postgres.start)
    await until(lambda: _opened())
    await all_done([job_id, *waiting], 40)
    assert len(await written(job_id)) == 1
    assert worker.poll() is None


async def _opened():
    try:
        return await db.execute("UPDATE test_gate SET open = true")
    except (OSError, db.asyncpg.PostgresError, db.asyncpg.InterfaceError):
        return False


async def test_jobs_that_wait_for_others_hold_nobody_up(workers):
    """Mails, say, while the mail server takes them and never answers."""
    await workers.start()
    waiting = await put("test.gated", 25)
    await until(lambda: db.fetchval("SELECT count(*) >= 10 FROM test_run WHERE job_id = ANY($1)", waiting))
    quick = await put("test.quick", 3)
    await all_done(quick, seconds=12)
    await until(lambda: db.fetchval("SELECT count(*) = 25 FROM test_run WHERE job_id = ANY($1)", waiting), seconds=20)
    await db.execute("UPDATE test_gate SET open = true")
    await all_done(waiting)


async def test_jobs_at_work_in_the_database_take_no_more_than_their_slots(workers):
    """Otherwise they would take all connections, and no lease could be renewed."""
    await workers.start()
    await db.execute("CREATE TABLE IF NOT EXISTS test_lock (n int)")

    running = "FROM jobs_job WHERE id = ANY($1) AND state = 'running'"

    async def hold(tx):
        await tx.execute("LOCK TABLE test_lock")
        ids = await apart(put("test.locked", 30))
        await apart(until(lambda: db.fetchval(f"SELECT count(*) = 10 {running}", ids)))
        began = await apart(db.fetchval(f"SELECT max(lease_until) {running}", ids))
        renewed = f"SELECT min(lease_until) > $2::timestamptz + interval '4 seconds' {running}"
        await apart(until(lambda: db.fetchval(renewed, ids, began)))
        return ids, await tx.fetchval(f"SELECT count(*) {running}", ids)

    ids, most = await db.transaction(hold)
    assert most <= 12
    await all_done(ids)
    assert await db.fetchval("SELECT max(fence) = 1 FROM jobs_job WHERE id = ANY($1)", ids)


async def apart(work):
    """Outside the transaction of the test."""
    return await asyncio.create_task(work, context=Context())
