"""One run of a statement for all who want it at the same moment.

Most of what a statement of many parts costs PostgreSQL is paid for each run and not for each row: setting up the
parts, opening tables and indexes, reading the conditions of every table, the commit. Four rows in one run take as
much as two runs of one. So a process makes one run at a time, and rows gather meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg
import msgspec

from core import db

MOST = 16
STALLED_SECONDS = 0.05
GONE = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.TooManyConnectionsError)
"""The database itself is away: it is so for each of them alone, too."""


def _plain(value: object) -> str:
    if isinstance(value, str):  # such as Markup
        return str.__str__(value)
    raise TypeError(f"{type(value).__name__} does not go into JSON")


_json = msgspec.json.Encoder(enc_hook=_plain).encode
"""Six times as fast as ``json``; a row of a purchase has fifty values."""


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    row: bytes
    apart: frozenset[str]
    answer: asyncio.Future[asyncpg.Record | None]


class Together:
    """Runs ``sql`` for the rows that wait; those who come while another run is under way, of this statement or another,
    go together in the next.

    Who is alone waits for nobody. ``sql`` takes the rows as its only value, a JSON array in which each has its
    ``place``, and gives back a row with ``place`` for each that it did something for. A run is a transaction by
    itself. Where it fails, each of its rows is run alone, so that nobody fails for what another asked.
    """

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self._waiting: list[_Asked] = []

    async def run(self, row: Mapping[str, Any], *apart: str) -> asyncpg.Record | None:
        """What the statement gave back for ``row``, which is not empty; None when it had nothing to say about it.

        ``apart`` are names that no two rows of one run share. It is done even if the caller does not wait for it.

        :raises asyncpg.PostgresError: what it failed with, run for this row alone.
        :raises TypeError, UnicodeEncodeError: there is something in ``row`` that JSON has no form for.
        """
        if db.inside_transaction():
            raise db.NestedTransaction("inside a transaction use its tx")
        answer = asyncio.get_running_loop().create_future()
        # written here, so that what cannot be written fails for its caller alone
        self._waiting.append(_Asked(_json(row), frozenset(apart), answer))
        _turns.join(self)
        return await answer

    async def answer_some(self, ran: Callable[[], None]) -> None:
        """Run the statement for some of the rows that wait, and call ``ran`` as soon as PostgreSQL is done with it."""
        chosen = self._next()
        if self._waiting:
            _turns.join(self)
        await self._answer(chosen, ran)

    def _next(self) -> list[_Asked]:
        chosen: list[_Asked] = []
        names: set[str] = set()
        for asked in self._waiting:
            if len(chosen) < MOST and names.isdisjoint(asked.apart):
                chosen.append(asked)
                names |= asked.apart
        self._waiting = [asked for asked in self._waiting if asked not in chosen]
        return chosen

    async def _answer(self, chosen: Sequence[_Asked], ran: Callable[[], None]) -> None:
        try:
            try:
                found = await db.steadily(self.sql, _all(chosen))
            finally:
                ran()
            rows = {row["place"]: row for row in found}
            # What is made of the answers takes longer than a run: the next is sent off before.
            await asyncio.sleep(0)
        except asyncpg.PostgresError as error:
            if len(chosen) == 1 or isinstance(error, GONE):
                _fail(chosen, error)
            else:
                await asyncio.gather(*(self._answer([asked], ran) for asked in chosen))
        except BaseException as error:
            _fail(chosen, error)
            if not isinstance(error, Exception):
                raise
        else:
            for place, asked in enumerate(chosen):
                if not asked.answer.done():
                    asked.answer.set_result(rows.get(place))


class _Turns:
    """The statements for which rows wait, in the order of their turns."""

    def __init__(self) -> None:
        self._statements: list[Together] = []
        self._turn: asyncio.Task[None] | None = None

    def join(self, statement: Together) -> None:
        if statement not in self._statements:
            self._statements.append(statement)
        if self._turn is None or self._turn.done():
            self._begin()

    def _begin(self) -> None:
        self._turn = db.keep(asyncio.create_task(self._take(), context=Context())) if self._statements else None

    async def _take(self) -> None:
        over = partial(self._over, self._turn)
        # One that waits for a lock must not hold up everybody behind it.
        stalled = asyncio.get_running_loop().call_later(STALLED_SECONDS, over)
        try:
            await self._statements.pop(0).answer_some(over)
        finally:
            stalled.cancel()
            over()

    def _over(self, turn: asyncio.Task[None] | None) -> None:
        if turn is self._turn:
            self._begin()


_turns = _Turns()


def _all(chosen: Sequence[_Asked]) -> str:
    """The rows as one JSON array, each with its place before all else."""
    rows = b",".join(b'{"place":%d,%b' % (place, asked.row[1:]) for place, asked in enumerate(chosen))
    return f"[{rows.decode()}]"


def _fail(chosen: Sequence[_Asked], error: BaseException) -> None:
    for asked in chosen:
        if not asked.answer.done():
            asked.answer.set_exception(error)
