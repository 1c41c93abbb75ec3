"""A running job's right to write: held until it is done, lost when a worker falls silent for too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from core import clock, db
from core.db import Tx
from core.jobs import bell

P = ParamSpec("P")
T = TypeVar("T")

PROGRESS_EVERY = 0.25

PROGRESS = """
WITH told AS (
    UPDATE jobs_job SET progress = progress || $3 WHERE id = $1 AND fence = $2 AND state = 'running' RETURNING cancel
), logged AS (
    INSERT INTO jobs_log (job_id, kind, text) SELECT $1, news.kind, news.text
    FROM told, unnest($4::text[], $5::text[]) AS news (kind, text)
)
SELECT cancel FROM told
"""


class LeaseLost(Exception):
    """Another worker has taken this job over; whatever this one still does must not be written."""


class Cancelled(Exception):
    """A person asked for the job to stop. Raise it, or let ``progress`` raise it, where stopping is safe."""


class Retry(Exception):
    """Try again later. ``text`` is shown to staff; ``after`` are seconds, else the job's own back-off."""

    def __init__(self, text: str, after: float | None = None) -> None:
        super().__init__(text)
        self.after = after


class GiveUp(Exception):
    """Trying again is of no use. The text is shown to staff."""


class Lease:
    """``fence`` is this run's number; a later run has a higher one, and only the newest may write."""

    def __init__(self, job_id: int, name: str, fence: int, tries: int, seconds: float, last_try: bool) -> None:
        self.job_id = job_id
        self.name = name
        self.fence = fence
        self.tries = tries
        self.seconds = seconds
        self.last_try = last_try
        self.cancelled = False
        self.lost = False
        self.logs = True
        """Whether its page tells what happened to it; a job that comes back for ever has no end of that."""
        self.told = False
        self.task: asyncio.Task[Any] | None = None
        self.ends_at = time.monotonic() + seconds
        self._said_at = 0.0
        self._said = ""
        self._since = round(clock.now().timestamp(), 1)

    async def check(self, tx: Tx) -> None:
        """Hold the job's row for the rest of ``tx``, so that nobody takes the job over before it commits.

        :raises LeaseLost: when somebody has.
        """
        held = await tx.fetchval(
            "SELECT true FROM jobs_job WHERE id = $1 AND fence = $2 AND state = 'running' FOR UPDATE",
            self.job_id,
            self.fence,
        )
        if not held:
            raise LeaseLost(f"job {self.job_id} belongs to another worker now")

    async def write(self, work: Callable[Concatenate[Tx, P], Awaitable[T]], *args: P.args) -> T:
        """``db.transaction(work, *args)`` that commits only while this run still holds the job."""

        async def guarded(tx: Tx) -> T:
            await self.check(tx)
            return await work(tx, *args)

        return await db.transaction(guarded)

    async def progress(self, *, done: int | None = None, total: int | None = None, note: str | None = None) -> None:
        """Tell the job's page how far it is; call it as often as you like, outside transactions.

        :raises Cancelled: when a person asked the job to stop.
        :raises LeaseLost: when another worker has taken it over.
        """
        if self.cancelled:
            raise Cancelled
        finished = total is not None and done == total
        if not finished and time.monotonic() - self._said_at < PROGRESS_EVERY:
            return
        self._said_at = time.monotonic()
        facts = {"done": done, "total": total, "note": note, "since": self._since}
        known = {name: value for name, value in facts.items() if value is not None}
        self.cancelled = await self._note(known)
        await bell.ring(f"job:{self.job_id}", "progress")
        if self.cancelled:
            raise Cancelled

    async def _note(self, facts: dict[str, Any]) -> bool:
        news = self._news(facts.get("note", ""))
        kinds, texts = [one[0] for one in news], [one[1] for one in news]
        cancel = await db.fetchval(PROGRESS, self.job_id, self.fence, facts, kinds, texts)
        if cancel is None:
            raise LeaseLost(f"job {self.job_id} belongs to another worker now")
        return bool(cancel)

    def _news(self, note: str) -> list[tuple[str, str]]:
        """What this word of progress adds to the log: that it began, and each new note."""
        if not self.logs:
            return []
        news = [] if self.told else [("begun", "")]
        if note and note != self._said:
            news.append(("note", note))
        self.told, self._said = True, note or self._said
        return news
