"""Taking a job, running it, and writing down how it ended."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core import db, tasks
from core.crash_point import crash_point
from core.db import Tx
from core.jobs import bell, line, registry
from core.jobs.lease import Cancelled, GiveUp, Lease, LeaseLost, Retry
from core.jobs.queue import ring_commands
from core.jobs.registry import Job
from core.outage import Outage
from core.refused import NotNow

log = logging.getLogger("vouchsafe.jobs")

DATABASE_AWAY = db.AWAY
ERROR_LENGTH = 500
BEAT_SECONDS = 1.0
FINISH_SECONDS = 6.0
HAND_BACK_SECONDS = 2.0
WRITE_DOWN_SECONDS = 1.0
NOT_NOW_SECONDS = 15.0
WAITING_SECONDS = 2.0
MOST_WAITING = 90
FEW_CONNECTIONS = 2

TAKE = """
UPDATE jobs_job
SET state = 'running', fence = fence + 1, tries = tries + 1,
    lease_until = now() + make_interval(secs => ($2::jsonb ->> name)::float8)
WHERE id = $1 AND $2::jsonb ? name
  AND ((state = 'queued' AND run_at <= now()) OR (state = 'running' AND lease_until < now()))
RETURNING id, name, args, fence, tries, cancel
"""

# A row that is locked just now is being written by its own holder; the next beat finds it free.
BEAT = """
WITH mine AS (
    SELECT * FROM unnest($1::bigint[], $2::int[], $3::float8[]) AS mine (id, fence, seconds)
), free AS (
    SELECT job.id FROM jobs_job job JOIN mine ON mine.id = job.id AND mine.fence = job.fence
    WHERE job.state = 'running' FOR UPDATE OF job SKIP LOCKED
), longer AS (
    UPDATE jobs_job job SET lease_until = now() + make_interval(secs => mine.seconds)
    FROM mine JOIN free USING (id) WHERE job.id = mine.id
)
SELECT mine.id, mine.fence, coalesce(job.fence = mine.fence AND job.state = 'running', false) AS held,
       coalesce(job.cancel, false) AS cancel
FROM mine LEFT JOIN jobs_job job ON job.id = mine.id
"""

END = """
UPDATE jobs_job
SET state = $3, error = $4, lease_until = NULL, tries = $5,
    run_at = CASE WHEN $3 = 'queued' THEN now() + make_interval(secs => $6) ELSE run_at END,
    finished_at = CASE WHEN $3 = 'queued' THEN NULL ELSE now() END
WHERE id = $1 AND fence = $2 AND state = 'running'
RETURNING run_at
"""

# The same for a job whose page tells what happened to it.
END_LOGGED = f"""
WITH ended AS ({END}), logged AS (INSERT INTO jobs_log (job_id, kind, text) SELECT $1, $7, $4 FROM ended)
SELECT run_at FROM ended
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True)
class Ending:
    state: str
    error: str = ""
    pause: float = 0.0
    count_try: bool = True


class Runner:
    """Runs jobs side by side in a fixed number of slots, whoever found them.

    One that is still at it after two seconds mostly waits for somebody else's server, and leaves its slot to the
    next: a mail server that never answers must not keep the goods of suppliers waiting. Not while connections to the
    database are in use: then it may be at work there, and more of its kind would take them all.
    """

    def __init__(self, slots: int) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._waiting: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._leases: set[Lease] = set()
        self._stopping = False
        self._no_beat = Outage(log, "leases cannot be renewed now", "leases are renewed again")
        self._no_take = Outage(log, "jobs cannot be taken now", "jobs are taken again")
        self._no_end = Outage(log, "the end of jobs cannot be written now", "the end of jobs is written again")

    async def start(self, job_id: int) -> asyncio.Task[None]:
        """Wait for a free slot, then begin. The task never fails; it does nothing if the job is not to be had."""
        await self._slots.acquire()
        task = asyncio.create_task(self._run(job_id))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        self._ask_later(task)
        return task

    def _ask_later(self, task: asyncio.Task[None]) -> None:
        asyncio.get_running_loop().call_later(WAITING_SECONDS, self._leave_slot, task)

    def _leave_slot(self, task: asyncio.Task[None]) -> None:
        if task not in self._tasks:
            return
        if len(self._waiting) < MOST_WAITING and db.in_use() <= FEW_CONNECTIONS:
            self._waiting.add(task)
            self._slots.release()
        else:
            self._ask_later(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task in self._waiting:
            self._waiting.discard(task)
        else:
            self._slots.release()

    async def stop(self) -> None:
        """Let running jobs finish for a while; those still running then go back into the queue."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=FINISH_SECONDS)
        attempts = [lease.task for lease in self._leases if lease.task is not None]
        await tasks.end(*attempts, within=HAND_BACK_SECONDS)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=WRITE_DOWN_SECONDS)

    async def beat_for_ever(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            if self._leases:
                try:
                    await self._beat()
                    self._no_beat.is_over()
                except DATABASE_AWAY as error:
                    self._no_beat.goes_on(error)

    async def _beat(self) -> None:
        leases = {(lease.job_id, lease.fence): lease for lease in self._leases}
        asked_at = time.monotonic()
        ids, fences = [key[0] for key in leases], [key[1] for key in leases]
        for row in await db.fetch(BEAT, ids, fences, [lease.seconds for lease in leases.values()]):
            lease = leases[row["id"], row["fence"]]
            lease.cancelled = lease.cancelled or row["cancel"]
            if row["held"]:
                lease.ends_at = asked_at + lease.seconds
            elif lease in self._leases and lease.task is not None:
                lease.lost = True
                lease.task.cancel()

    async def _run(self, job_id: int) -> None:
        if self._stopping:
            return
        try:
            row = await db.fetchrow(TAKE, job_id, registry.leases())
        except DATABASE_AWAY as error:
            self._no_take.goes_on(error)
            return
        self._no_take.is_over()
        job = registry.find(row["name"]) if row else None
        if row is None or job is None:
            return
        lease = Lease(job_id, job.name, row["fence"], row["tries"], job.lease_seconds, row["tries"] >= job.tries)
        lease.cancelled = row["cancel"]
        lease.logs = job.every is None
        self._leases.add(lease)
        crash_point(f"jobs.taken:{job.name}")
        try:
            await self._see_through(job, row["args"], lease)
        finally:
            self._leases.discard(lease)

    async def _see_through(self, job: Job, args: dict[str, Any], lease: Lease) -> None:
        started = time.monotonic()
        lease.task = asyncio.create_task(_attempt(job, args, lease))
        try:
            ending = await lease.task
        except LeaseLost:
            log.warning("job %s %s was taken over by another worker", lease.job_id, job.name)
            return
        except asyncio.CancelledError:
            if lease.lost:
                log.warning("job %s %s was taken over by another worker", lease.job_id, job.name)
                return
            ending = Ending("queued", "the worker was stopped before the job was done", count_try=False)
        lease.task = None
        _log_ending(job, lease, ending, time.monotonic() - started)
        crash_point(f"jobs.worked:{job.name}")
        await self._write_down(job, args, lease, ending)

    async def _write_down(self, job: Job, args: dict[str, Any], lease: Lease, ending: Ending) -> None:
        """Try for as long as the lease may be ours; after that another worker decides."""
        while True:
            try:
                run_at = await _end(job, args, lease, ending)
                self._no_end.is_over()
            except DATABASE_AWAY as error:
                self._no_end.goes_on(error)
                if time.monotonic() > lease.ends_at or self._stopping:
                    return
                await asyncio.sleep(0.5)
                continue
            except Exception:
                log.exception("job %s %s: its end could not be written", lease.job_id, job.name)
                return
            if run_at is not None:
                _tell(lease, ending, run_at)
            return


def _log_ending(job: Job, lease: Lease, ending: Ending, seconds: float) -> None:
    level = logging.DEBUG if job.every is not None and not ending.error else logging.INFO
    words = "job %s %s %s after %.0f ms, try %s"
    log.log(level, words, lease.job_id, job.name, ending.state, seconds * 1000, lease.tries)


async def _attempt(job: Job, args: dict[str, Any], lease: Lease) -> Ending:
    try:
        if lease.tries > job.tries and job.every is None:
            raise GiveUp("the worker ended in the middle of this job each time it was tried")
        if lease.cancelled:
            raise Cancelled
        async with tasks.strangers_code(job.timeout_seconds):
            await job.run(args, lease)
    except Cancelled:
        return _again_or(job, lease, Ending("cancelled"))
    except LeaseLost:
        raise
    except GiveUp as error:
        return _again_or(job, lease, Ending("failed", _text(error)))
    except Retry as error:
        return _after_error(job, lease, _text(error), error.after)
    except NotNow as error:
        return Ending("queued", _text(error), job.every or NOT_NOW_SECONDS, count_try=False)
    except Exception as error:
        log.warning("job %s %s broke on try %s", lease.job_id, job.name, lease.tries, exc_info=True)
        return _after_error(job, lease, f"{type(error).__name__}: {_text(error)}", None)
    return _again_or(job, lease, Ending("done"))


def _again_or(job: Job, lease: Lease, ending: Ending) -> Ending:
    """A periodic job is never through; it waits for its next turn."""
    return ending if job.every is None else Ending("queued", ending.error, job.every, count_try=False)


def _after_error(job: Job, lease: Lease, text: str, after: float | None) -> Ending:
    if job.every is not None:
        return Ending("queued", text, job.every, count_try=False)
    if lease.last_try:
        return Ending("failed", text)
    return Ending("queued", text, job.pause_after(lease.tries) if after is None else after)


def _text(error: Exception) -> str:
    """The first line only: what PostgreSQL adds below it quotes values."""
    lines = db.storable(str(error)).splitlines()
    return (lines[0] if lines else type(error).__name__)[:ERROR_LENGTH]


async def _end(job: Job, args: dict[str, Any], lease: Lease, ending: Ending) -> datetime | None:
    facts = (
        lease.job_id,
        lease.fence,
        ending.state,
        ending.error,
        lease.tries if ending.count_try else lease.tries - 1,
        ending.pause,
    )
    end, more = END, []
    if _is_logged(lease, ending):
        end, more = END_LOGGED, ["again" if ending.state == "queued" else ending.state]
    if ending.state != "failed" or job.on_failed is None:
        return await db.fetchval(end, *facts, *more)

    on_failed = job.on_failed

    async def give_up(tx: Tx) -> datetime | None:
        written = await tx.fetchval(end, *facts, *more)
        if written is not None:
            await on_failed(tx, args, ending.error)
        return written

    return await db.transaction(give_up)


def _is_logged(lease: Lease, ending: Ending) -> bool:
    """What told how far it is, broke or was stopped; not what is done in a moment, nor what waits for a better one."""
    return lease.logs and (lease.told or (ending.state != "done" and ending.count_try))


def _tell(lease: Lease, ending: Ending, run_at: datetime) -> None:
    open_line = line.current()
    if open_line is None:
        return
    if ending.state == "queued":
        open_line.post(*ring_commands(lease.job_id, lease.fence, run_at))
    open_line.post(("PUBLISH", f"{bell.PREFIX}job:{lease.job_id}", ending.state))
