"""The database as a plugin is handed it: its own tables, short transactions, and its jobs within them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

from core import db, jobs

P = ParamSpec("P")
T = TypeVar("T")

Row = Mapping[str, Any]
"""One row: ``row["name"]``."""


class PluginTx:
    """One open transaction of a plugin. What it writes is there once ``work`` returned, not at all when it raised."""

    def __init__(self, tx: db.Tx, plugin: str, known_jobs: frozenset[str]) -> None:
        self._tx = tx
        self._plugin = plugin
        self._known_jobs = known_jobs
        self.enqueued: list[int] = []

    async def fetch(self, sql: str, *args: Any) -> list[Row]:
        """All rows of a statement; ``$1`` stands for the first of ``args``."""
        return list(await self._tx.fetch(sql, *args))

    async def fetchrow(self, sql: str, *args: Any) -> Row | None:
        """The first row, None when there is none."""
        return await self._tx.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """The first value of the first row."""
        return await self._tx.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        """Run a statement; gives what PostgreSQL says of it, such as ``UPDATE 1``."""
        return await self._tx.execute(sql, *args)

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each of ``rows``."""
        await self._tx.executemany(sql, rows)

    async def enqueue(
        self,
        job: str,
        args: Mapping[str, Any] | None = None,
        *,
        run_at: datetime | None = None,
        key: str | None = None,
    ) -> None:
        """Have one of this plugin's :class:`PluginJob` done after the commit, at ``run_at`` or at once.

        ``args`` are ids and plain facts that fit into JSON, never secrets. Of jobs with the same ``key`` only the
        first is done, however often it is asked for. ``run_at`` is an aware time.

        :raises LookupError: the plugin has no job of that name.
        """
        if job not in self._known_jobs:
            raise LookupError(f"{self._plugin} has no job called {job}")
        whole_key = f"{self._plugin}:{key}" if key is not None else None
        name = f"{self._plugin}.{job}"
        self.enqueued.append(await jobs.enqueue(self._tx, name, dict(args or {}), run_at=run_at, key=whole_key))


class PluginDb:
    """The shop's PostgreSQL. Touch no table that does not begin with the plugin's own name: the others change.

    Inside ``transaction`` only its ``tx`` may be used, and nothing outside the database may be called.
    """

    def __init__(self, plugin: str, known_jobs: Iterable[str] = ()) -> None:
        self._plugin = plugin
        self._known_jobs = frozenset(known_jobs)

    async def fetch(self, sql: str, *args: Any) -> list[Row]:
        """All rows of a statement; ``$1`` stands for the first of ``args``."""
        return list(await db.fetch(sql, *args))

    async def fetchrow(self, sql: str, *args: Any) -> Row | None:
        """The first row, None when there is none."""
        return await db.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """The first value of the first row."""
        return await db.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        """Run a statement that is a whole change by itself; gives what PostgreSQL says of it, such as ``UPDATE 1``."""
        return await db.execute(sql, *args)

    async def transaction(
        self, work: Callable[Concatenate[PluginTx, P], Awaitable[T]], *args: P.args, **named: P.kwargs
    ) -> T:
        """Run ``work(tx, *args)`` in one transaction and give back what it returns.

        After a conflict with another transaction the whole work is run again: it must do nothing outside the database.
        """

        async def with_jobs(tx: db.Tx) -> tuple[T, list[int]]:
            mine = PluginTx(tx, self._plugin, self._known_jobs)
            return await work(mine, *args, **named), mine.enqueued

        result, enqueued = await db.transaction(with_jobs)
        await jobs.ring(*enqueued)
        return result
