"""The transaction wrapper against a real server: each pitfall of the layers below it that it cures."""

import asyncio

import asyncpg
import pytest

from core import db
from core.piccolo_conf import DB

pytestmark = pytest.mark.usefixtures("counter")


@pytest.fixture
async def counter(pool):
    await db.execute("CREATE TABLE IF NOT EXISTS counter (name text PRIMARY KEY, n int NOT NULL)")
    await db.execute("TRUNCATE counter")
    await db.execute("INSERT INTO counter VALUES ('a', 0), ('b', 0)")


async def n(name="a"):
    return await db.fetchval("SELECT n FROM counter WHERE name = $1", name)


async def add(tx, name="a"):
    await tx.execute("UPDATE counter SET n = n + 1 WHERE name = $1", name)
    return "done"


def idle_connections():
    return DB.pool.get_idle_size() + len(db._ordinary.spare), DB.pool.get_size()


async def test_commits_and_gives_back_the_result():
    assert await db.transaction(add, "b") == "done"
    assert await n("b") == 1


async def test_an_exception_rolls_everything_back():
    async def work(tx):
        await add(tx)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await db.transaction(work)
    assert await n() == 0


async def test_a_nested_transaction_is_refused_and_nothing_is_committed():
    async def work(tx):
        await add(tx)
        await db.transaction(add)

    with pytest.raises(db.NestedTransaction):
        await db.transaction(work)
    assert await n() == 0


async def test_single_statements_outside_the_tx_are_refused_inside_one():
    async def work(tx):
        await add(tx)
        await db.execute("UPDATE counter SET n = 100")

    with pytest.raises(db.NestedTransaction):
        await db.transaction(work)
    assert await n() == 0


async def test_a_task_started_inside_may_not_use_the_transaction():
    async def work(tx):
        await add(tx)
        await asyncio.create_task(add(tx, "b"))

    with pytest.raises(db.NestedTransaction):
        await db.transaction(work)
    assert (await n(), await n("b")) == (0, 0)


async def test_a_cancelled_caller_neither_breaks_the_commit_nor_loses_a_connection():
    for _ in range(30):
        task = asyncio.create_task(db.transaction(add))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    while db._running:
        await asyncio.wait(db._running)
    assert await n() == 30
    free, size = idle_connections()
    assert free == size


async def test_piccolo_queries_inside_join_the_transaction():
    async def work(tx):
        await DB._run_in_pool("SELECT 1")
        await DB.run_ddl("UPDATE counter SET n = 7 WHERE name = 'a'")
        raise ValueError

    with pytest.raises(ValueError):
        await db.transaction(work)
    assert await n() == 0


async def test_a_serialization_failure_runs_the_whole_work_again():
    seen = []
    both_read = asyncio.Barrier(2)

    async def work(tx):
        value = await tx.fetchval("SELECT n FROM counter WHERE name = 'a'")
        seen.append(value)
        if len(seen) <= 2:
            await both_read.wait()
        await tx.execute("UPDATE counter SET n = $1 WHERE name = 'a'", value + 1)

    await asyncio.gather(db.transaction(work, isolation="SERIALIZABLE"), db.transaction(work, isolation="SERIALIZABLE"))
    assert await n() == 2
    assert seen == [0, 0, 1]


async def test_without_the_isolation_one_of_the_two_updates_is_lost():
    """The control: the race above is real."""
    both_read = asyncio.Barrier(2)

    async def work(tx):
        value = await tx.fetchval("SELECT n FROM counter WHERE name = 'a'")
        await both_read.wait()
        await tx.execute("UPDATE counter SET n = $1 WHERE name = 'a'", value + 1)

    await asyncio.gather(db.transaction(work), db.transaction(work))
    assert await n() == 1


async def test_a_deadlock_runs_the_whole_work_again():
    tries = []
    both_locked = asyncio.Barrier(2)

    async def work(tx, first, second):
        tries.append(first)
        await add(tx, first)
        if len(tries) <= 2:
            await both_locked.wait()
        await add(tx, second)

    await asyncio.gather(db.transaction(work, "a", "b"), db.transaction(work, "b", "a"))
    assert (await n("a"), await n("b")) == (2, 2)
    assert len(tries) == 3


async def test_other_errors_are_not_tried_again():
    tries = []

    async def work(tx):
        tries.append(1)
        await tx.execute("INSERT INTO counter VALUES ('a', 1)")

    with pytest.raises(asyncpg.UniqueViolationError):
        await db.transaction(work)
    assert len(tries) == 1


async def test_a_backend_that_dies_mid_transaction_leaves_the_next_query_well():
    async def work(tx):
        await add(tx)
        pid = await tx.fetchval("SELECT pg_backend_pid()")
        other = await asyncpg.connect(dsn=DB.config["dsn"])
        await other.execute("SELECT pg_terminate_backend($1)", pid)
        await other.close()
        await add(tx)

    with pytest.raises((asyncpg.PostgresError, *db._CONNECTION_LOST)):
        await db.transaction(work)
    assert not db.inside_transaction()
    assert await n() == 0
    assert await db.transaction(add) == "done"


async def test_a_connection_lost_at_commit_is_told_as_unknown():
    async def work(tx):
        await add(tx)
        pid = await tx.fetchval("SELECT pg_backend_pid()")
        other = await asyncpg.connect(dsn=DB.config["dsn"])
        await other.execute("SELECT pg_terminate_backend($1)", pid)
        await other.close()

    with pytest.raises(db.CommitUnknown):
        await db.transaction(work)
    assert await n() == 0
    free, size = idle_connections()
    assert free == size


async def test_a_spare_connection_that_died_is_replaced():
    await n()
    pid = await db.fetchval("SELECT pg_backend_pid()")
    assert await db.fetchval("SELECT pg_backend_pid()") == pid
    other = await asyncpg.connect(dsn=DB.config["dsn"])
    await other.execute("SELECT pg_terminate_backend($1)", pid)
    await other.close()
    while any(db._lives(connection) and connection.get_server_pid() == pid for connection in db._ordinary.spare):
        await asyncio.sleep(0.01)
    assert await db.fetchval("SELECT pg_backend_pid()") != pid
    free, size = idle_connections()
    assert free == size


async def test_whatever_a_connection_that_just_died_raises_is_known_as_such(database):
    """asyncpg tells of it in several ways, by how much of the farewell has arrived."""
    others = await asyncpg.connect(database)
    raised = set()
    for steps in range(60):
        await db.fetchval("SELECT 1")
        pids = [connection.get_server_pid() for connection in db._ordinary.spare]
        await others.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", pids)
        for _ in range(steps % 6):
            await asyncio.sleep(0)
        [answer] = await asyncio.gather(db.fetchval("SELECT 1"), return_exceptions=True)
        if isinstance(answer, BaseException):
            raised.add(type(answer))
    await others.close()
    assert raised
    assert all(issubclass(error, db.AWAY) for error in raised), raised


async def test_nobody_waits_while_a_connection_is_spare():
    """More callers than the pool has connections: those that wait get what is given back."""
    size = DB.pool.get_max_size()
    answers = await asyncio.gather(*(db.fetchval("SELECT $1::int FROM pg_sleep(0.01)", i) for i in range(size * 4)))
    assert answers == list(range(size * 4))
    free, size = idle_connections()
    assert free == size


async def test_statement_and_lock_time_outs_are_set():
    settings = {
        name: await db.fetchval("SELECT current_setting($1)", name)
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "TimeZone")
    }
    assert settings == {
        "statement_timeout": "15s",
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "20s",
        "TimeZone": "UTC",
    }


@pytest.fixture
async def impatient(pool, database, monkeypatch):
    """An answer is waited for 0.3 s instead of a minute."""
    await db.close_pool()
    with monkeypatch.context() as patch:
        patch.setattr(db, "STATEMENT_SECONDS", 0.3)
        await db.open_pool(database)
    yield
    await db.close_pool()
    await db.open_pool(database)


async def slow(tx, may_take=None):
    if may_take:
        await tx.may_take(may_take)
    return await tx.fetchval("SELECT true FROM pg_sleep(1.5)")


@pytest.mark.usefixtures("impatient")
async def test_a_transaction_that_may_take_longer_is_waited_for():
    with pytest.raises(TimeoutError):
        await db.transaction(slow)
    assert await db.transaction(slow, 5)
    with pytest.raises(asyncpg.QueryCanceledError):
        await db.transaction(slow, 1)
    with pytest.raises(TimeoutError):
        await db.transaction(slow)


@pytest.mark.usefixtures("impatient")
async def test_migrations_take_the_time_they_need():
    migration = db.ddl_migration("shops", "2026-01-01T00:00:00:000000", "for many rows", "SELECT pg_sleep(1)")

    async def other_host(tx):
        await tx.may_take(5)
        await tx.execute("SELECT pg_advisory_xact_lock($1)", db.MIGRATION_LOCK)
        await (await migration()).run()

    other = asyncio.create_task(db.transaction(other_host))
    await asyncio.sleep(0.2)
    assert await db.migrate() == []
    await other


async def test_locks_are_held_from_the_first_moment_on():
    inside = []

    async def work(tx, name):
        inside.append(f"+{name}")
        await asyncio.sleep(0)
        await tx.fetchval("SELECT pg_sleep(0.02)")
        inside.append(f"-{name}")

    await asyncio.gather(*(db.transaction(work, name, locks=[7]) for name in "xyz"))
    assert [(a[1], b[1]) for a, b in zip(inside[::2], inside[1::2], strict=True)] == [(a[1], a[1]) for a in inside[::2]]


async def test_migrations_run_once():
    assert await db.migrate() == []
