"""PostgreSQL: one pool, one way to run a transaction, migrations.

Piccolo's own transaction leaks a connection when a task is cancelled during COMMIT, treats nesting as a
no-op and lets child tasks join by accident; ``transaction()`` here has none of that, and Piccolo queries
made inside it join it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg
from piccolo.engine.postgres import PostgresEngine

from core import clock, tasks
from core.config import SetupProblem
from core.terminal import _

log = logging.getLogger("vouchsafe.db")

# Piccolo looks for its configuration when it is first asked for tables or migrations.
os.environ.setdefault("PICCOLO_CONF", "core.piccolo_conf")

P = ParamSpec("P")
T = TypeVar("T")

ACQUIRE_SECONDS = 5
GIVE_UP_LATER = 10
"""After PostgreSQL's own limit, whose answer says more than our silence."""
CLOSE_SECONDS = 20
RETRIES = 5
STATEMENT_SECONDS = 60
"""How long an answer is waited for; PostgreSQL itself gives up earlier, unless a transaction ``may_take`` longer."""
MIGRATION_LOCK = 0x766F7563
MIGRATION_SECONDS = 86_400
CLOCK_SECONDS = 30.0
CLOCKS_AGREE = timedelta(seconds=1)
SESSION_SETTINGS = {
    "statement_timeout": "15000",
    "lock_timeout": "5000",
    "idle_in_transaction_session_timeout": "20000",
    # some connections stay for ever, and what lies between two hosts forgets a quiet one after minutes
    "tcp_keepalives_idle": "60",
    "timezone": "UTC",
    "application_name": "vouchsafe",
}

STEADY_SETTINGS = {
    **SESSION_SETTINGS,
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
}
"""For the statements of a sale: one plan, by index from row to row, whatever the planner has heard of the tables."""
STEADY_MOST = 4


class _Engine(PostgresEngine):
    async def check_version(self) -> None:
        """Piccolo would connect when it is imported, before it is known to which server."""

    async def prep_database(self) -> None:
        """No extensions are needed."""


engine = _Engine(config={}, extensions=())


class NestedTransaction(RuntimeError):
    """A transaction was started inside another. Pass ``tx`` down instead."""


class CommitUnknown(ConnectionError):
    """The connection broke during COMMIT: the work may or may not be there. Look it up by its own key."""


class DatabaseBusy(Exception):
    """No connection became free in time."""


AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # asked on a connection that PostgreSQL ended just then
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.LockNotAvailableError,
    DatabaseBusy,
)
"""What is raised while the database cannot answer; it may well answer a moment later."""


class _Connection(asyncpg.Connection):
    def get_reset_query(self) -> str:
        # Nothing here keeps session state, so the reset after each use is a wasted round trip.
        return ""


class Tx:
    """One open transaction. Only the task that runs it may use it."""

    def __init__(self, connection: asyncpg.Connection, owner: asyncio.Task[Any] | None) -> None:
        self._connection = connection
        self._owner = owner
        self.seconds: float | None = None  # STATEMENT_SECONDS

    @property
    def connection(self) -> asyncpg.Connection:
        if asyncio.current_task() is not self._owner:
            raise NestedTransaction("a task started inside a transaction must not use it")
        return self._connection

    async def may_take(self, seconds: int) -> None:
        """From here on PostgreSQL may work on a statement for so long, and we wait a little longer."""
        await self.connection.execute(f"SET LOCAL statement_timeout = '{seconds:d}s'")
        self.seconds = seconds + GIVE_UP_LATER

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        return await self.connection.fetch(sql, *args, timeout=self.seconds)

    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None:
        return await self.connection.fetchrow(sql, *args, timeout=self.seconds)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        return await self.connection.fetchval(sql, *args, timeout=self.seconds)

    async def execute(self, sql: str, *args: Any) -> str:
        return await self.connection.execute(sql, *args, timeout=self.seconds)

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        await self.connection.executemany(sql, rows, timeout=self.seconds)

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        await self.connection.copy_records_to_table(table, records=rows, columns=columns, timeout=self.seconds)


class _Connections:
    """A pool. Taking a connection out of it and giving it back costs as much as a small statement, so a few that were
    given back in order stay at hand, as long as nobody waits for one."""

    def __init__(self, spare_most: int) -> None:
        self.pool: asyncpg.Pool | None = None
        self.spare: list[asyncpg.Connection] = []
        self._spare_most = spare_most
        self._waiting = 0
        self._closing = False

    async def acquire(self) -> asyncpg.Connection:
        if self.pool is None:
            raise RuntimeError("the database pool is not open: call open_pool() first")
        while self.spare:
            connection = self.spare.pop()
            if _lives(connection):
                return connection
        self._waiting += 1
        try:
            return await self.pool.acquire(timeout=ACQUIRE_SECONDS)
        except TimeoutError:
            raise DatabaseBusy("no database connection became free in time") from None
        finally:
            self._waiting -= 1

    async def give_back(self, connection: asyncpg.Connection) -> None:
        if self._closing or self._waiting or len(self.spare) >= self._spare_most or not _lives(connection):
            await self.release(connection)
        else:
            self.spare.append(connection)

    async def release(self, connection: asyncpg.Connection) -> None:
        """Back to the pool, which waits until it has ended what it may still be busy with."""
        await self.pool.release(connection)

    def in_use(self) -> int:
        return 0 if self.pool is None else self.pool.get_size() - self.pool.get_idle_size() - len(self.spare)

    async def close(self) -> None:
        if self.pool is not None:
            self._closing = True  # the pool waits for each that is still in use
            while self.spare:
                await self.release(self.spare.pop())
            await self.pool.close()
            self.pool = None
            self._closing = False


def _lives(connection: asyncpg.Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # it broke, and the pool has taken it back already
        return False


_ordinary = _Connections(spare_most=4)
# One stays for ever, with the statements of a sale planned: in a quiet shop the next buyer does not wait for that.
_steady = _Connections(spare_most=1)


CANNOT_OPEN = (OSError, asyncpg.PostgresError, asyncpg.ClientConfigurationError)
"""What `open_pool` raises when the address is wrong or nobody answers there."""
NOT_YET = asyncpg.CannotConnectNowError
"""The address is right: PostgreSQL starts, stops or goes over what was written before a crash."""


def cannot_open(error: Exception) -> SetupProblem:
    """What a command says that finds no database."""
    if isinstance(error, NOT_YET):
        return SetupProblem(_("PostgreSQL does not take anybody yet (%(why)s). Try again in a moment.", why=error))
    return SetupProblem(_("The database does not answer (%(why)s). Is DATABASE_URL right?", why=error))


async def open_pool(url: str, size: int = 8) -> None:
    engine.config = {"dsn": url}
    alike: dict[str, Any] = {
        "connection_class": _Connection,
        "init": _prepare_connection,
        "command_timeout": STATEMENT_SECONDS,
    }
    await engine.start_connection_pool(
        min_size=2, max_size=size, server_settings=SESSION_SETTINGS, max_inactive_connection_lifetime=60, **alike
    )
    _ordinary.pool = engine.pool
    # none is open until it is wanted
    _steady.pool = await asyncpg.create_pool(
        url, min_size=0, max_size=STEADY_MOST, server_settings=STEADY_SETTINGS, **alike
    )
    await set_clock()
    _clock_keeper.append(asyncio.create_task(_keep_clock()))


def in_use() -> int:
    """How many connections are at work now, those of the statements of a sale aside."""
    return _ordinary.in_use()


async def close_pool() -> None:
    while _clock_keeper:
        await tasks.end(_clock_keeper.pop())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            while _running:  # what ends may have begun something
                await asyncio.wait(_running)
    await _steady.close()
    await _ordinary.close()
    engine.pool = None


_clock_keeper: list[asyncio.Task[None]] = []


async def set_clock() -> None:
    """Go by the database's clock when this host's is more than a second away from it."""
    asked = clock.host()
    there = await fetchval("SELECT clock_timestamp()")
    away = there - (asked + (clock.host() - asked) / 2)
    if abs(away) < CLOCKS_AGREE:
        away = timedelta(0)
    if abs(away - clock.away()) >= CLOCKS_AGREE:
        log.warning("the database's clock counts; this host's is %.1f s away: turn NTP on", -away.total_seconds())
    clock.set_by(away)


async def _keep_clock() -> None:
    while True:
        await asyncio.sleep(CLOCK_SECONDS)
        with contextlib.suppress(*AWAY):
            await set_clock()


async def _prepare_connection(connection: asyncpg.Connection) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, encoder=_to_json, decoder=json.loads, schema="pg_catalog")


def _to_json(value: Any) -> str:
    """Text is taken as JSON already (Piccolo sends it so); everything else is written as JSON."""
    return value if isinstance(value, str) else _write_json(value)


_write_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def storable(text: str) -> str:
    """Text from outside without the signs that no database keeps."""
    return text.replace("\x00", "").encode(errors="replace").decode()


# -- single statements ------------------------------------------------------------------


async def fetch(sql: str, *args: Any) -> list[asyncpg.Record]:
    return await _alone("fetch", sql, args)


async def fetchrow(sql: str, *args: Any) -> asyncpg.Record | None:
    return await _alone("fetchrow", sql, args)


async def fetchval(sql: str, *args: Any) -> Any:
    return await _alone("fetchval", sql, args)


async def execute(sql: str, *args: Any) -> str:
    return await _alone("execute", sql, args)


async def _alone(act: str, sql: str, args: Sequence[Any]) -> Any:
    if inside_transaction():
        raise NestedTransaction("inside a transaction use its tx")
    return await _one(_ordinary, act, sql, args)


async def steadily(sql: str, *args: Any) -> list[asyncpg.Record]:
    """One statement that is a whole transaction by itself, on a connection that keeps to ``STEADY_SETTINGS``."""
    if inside_transaction():
        raise NestedTransaction("inside a transaction use its tx")
    return await _conflicts_again(_one, _steady, "fetch", sql, args)


async def _one(connections: _Connections, act: str, sql: str, args: Sequence[Any]) -> Any:
    connection = await connections.acquire()
    try:
        result = await getattr(connection, act)(sql, *args)
    except BaseException:
        await connections.release(connection)
        raise
    await connections.give_back(connection)
    return result


async def _conflicts_again(run: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Once more after a serialization failure or a deadlock."""
    for attempt in range(1, RETRIES + 1):
        try:
            return await run(*args)
        except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
            if attempt == RETRIES:
                raise
            log.info("%s runs again after a conflict", getattr(args[0], "__qualname__", "a statement"))
            await asyncio.sleep(0.01 * 2**attempt)
    raise AssertionError("unreachable")


# A backend that dies between two statements may show itself as any of these.
_CONNECTION_LOST = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)

# -- transactions -----------------------------------------------------------------------

_running: set[asyncio.Task[Any]] = set()


def inside_transaction() -> bool:
    return engine.current_transaction.get() is not None


async def transaction(
    work: Callable[Concatenate[Tx, P], Awaitable[T]],
    *args: P.args,
    isolation: str | None = None,
    locks: Sequence[int] = (),
) -> T:
    """Run ``work(tx, *args)`` in one transaction and give back what it returns.

    ``locks`` are advisory locks it holds from its first moment on, taken in one order everywhere.

    The whole of it runs in a task of its own that a cancelled caller cannot interrupt, so a connection is
    never lost in COMMIT. On a serialization failure or a deadlock (40001, 40P01), and only then, the whole
    work is run again: it must therefore do nothing outside the database.

    :raises NestedTransaction: when called inside another transaction.
    :raises CommitUnknown: when the connection broke during COMMIT.
    :raises DatabaseBusy: when no connection became free.
    """
    if inside_transaction():
        raise NestedTransaction("pass tx down instead of opening a second transaction")
    return await asyncio.shield(
        keep(asyncio.create_task(_conflicts_again(_once, work, args, _begin(isolation, locks))))
    )


def keep(task: asyncio.Task[T]) -> asyncio.Task[T]:
    """The pool stays open until ``task`` has ended."""
    _running.add(task)
    task.add_done_callback(_finished)
    return task


def _finished(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # read it, so that an abandoned failure is not reported as lost


def _begin(isolation: str | None, locks: Sequence[int]) -> str:
    begin = f"BEGIN ISOLATION LEVEL {isolation}" if isolation else "BEGIN"
    return "; ".join([begin, *(f"SELECT pg_advisory_xact_lock({lock:d})" for lock in sorted(locks))])


async def _once(work: Callable[..., Awaitable[T]], args: Sequence[Any], begin: str) -> T:
    connection = await _ordinary.acquire()
    tx = Tx(connection, asyncio.current_task())
    token = engine.current_transaction.set(tx)  # type: ignore[arg-type]
    try:
        try:
            await connection.execute(begin)
            result = await work(tx, *args)
        except BaseException:
            await _roll_back(connection)
            raise
        await _commit(connection)
    except BaseException:
        await _ordinary.release(connection)
        raise
    finally:
        engine.current_transaction.reset(token)
    await _ordinary.give_back(connection)
    return result


async def _roll_back(connection: asyncpg.Connection) -> None:
    try:
        await connection.execute("ROLLBACK")
    except (asyncpg.PostgresError, *_CONNECTION_LOST):
        # The first error is the one to report; a broken connection is closed, not reused.
        _drop(connection)


async def _commit(connection: asyncpg.Connection) -> None:
    try:
        await connection.execute("COMMIT")
    except (asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, *_CONNECTION_LOST) as error:
        _drop(connection)
        raise CommitUnknown("the database went away while a change was being committed") from error


def _drop(connection: asyncpg.Connection) -> None:
    with contextlib.suppress(asyncpg.InterfaceError):  # the pool has taken it back already
        connection.terminate()


# -- migrations -------------------------------------------------------------------------


def ddl_migration(app_name: str, migration_id: str, description: str, sql: str) -> Callable[[], Awaitable[Any]]:
    """The ``forwards`` of a Piccolo migration that runs ``sql`` as it stands; the other three are Piccolo's own."""

    async def forwards() -> Any:
        # imported late: a server that only serves never needs it, and it takes a tenth of the start
        from piccolo.apps.migrations.auto.migration_manager import MigrationManager

        manager = MigrationManager(migration_id=migration_id, app_name=app_name, description=description)

        async def run() -> None:
            tx = engine.current_transaction.get()
            if tx is None:
                raise RuntimeError("migrations run through core.db.migrate()")
            await tx.execute(sql)

        manager.add_raw(run)
        return manager

    return forwards


async def migrate() -> list[str]:
    """Bring every app's tables up to date, each app in one transaction. Says which apps changed."""
    from piccolo.apps.migrations.commands.base import BaseMigrationManager
    from piccolo.apps.migrations.tables import Migration

    with contextlib.redirect_stdout(io.StringIO()):
        apps = BaseMigrationManager().get_sorted_app_names()
        if not await Migration.table_exists().run():
            await Migration.create_table(if_not_exists=True).run()
        return [app for app in apps if await transaction(_migrate_app, app)]


async def _migrate_app(tx: Tx, app: str) -> bool:
    from piccolo.apps.migrations.commands.forwards import ForwardsMigrationManager

    await tx.may_take(MIGRATION_SECONDS)
    await tx.execute("SET LOCAL lock_timeout = 0")
    await tx.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
    before = await tx.fetchval("SELECT count(*) FROM migration")
    result = await ForwardsMigrationManager(app_name=app).run()
    if not result.success:
        raise RuntimeError(f"the tables of {app} could not be brought up to date: {result.message}")
    return bool(await tx.fetchval("SELECT count(*) FROM migration") > before)


def known_migrations() -> set[tuple[str, str]]:
    """``(app, name)`` of every migration this version has."""
    from piccolo.apps.migrations.commands.base import BaseMigrationManager

    manager = BaseMigrationManager()
    return {
        (app, name)
        for app in manager.get_sorted_app_names()
        for name in manager.get_migration_modules(manager.get_app_config(app).resolved_migrations_folder_path)
    }


async def missing_migrations() -> set[tuple[str, str]]:
    """Those of them that this database has not seen."""
    known = known_migrations()
    if await fetchval("SELECT to_regclass('migration')") is None:
        return known
    return known - {(row["app_name"], row["name"]) for row in await fetch("SELECT app_name, name FROM migration")}
