"""Looking at the queue, and what staff may do with a job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core import clock, db
from core.db import Tx
from core.jobs import registry, words
from core.refused import Refused
from core.web.i18n import Text, _

STATES = ("queued", "running", "done", "failed", "cancelled")
PERIODIC = "every:"
ALIVE_SECONDS = 15

RETRY = """
UPDATE jobs_job SET state = 'queued', run_at = now(), finished_at = NULL, cancel = false,
    tries = CASE WHEN state = 'queued' THEN tries ELSE 0 END
WHERE id = $1 AND state IN ('failed', 'cancelled', 'queued') RETURNING id
"""

# A running job is asked, and stops where it is safe; a waiting one is simply taken out.
CANCEL = """
UPDATE jobs_job SET cancel = true,
    state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE state END,
    finished_at = CASE WHEN state = 'queued' THEN now() ELSE finished_at END
WHERE id = $1 AND state IN ('queued', 'running') AND (key IS NULL OR NOT starts_with(key, 'every:')) RETURNING state
"""
LOG = "INSERT INTO jobs_log (job_id, kind) VALUES ($1, $2)"
OF_LOG = "SELECT at, kind, text FROM jobs_log WHERE job_id = $1 ORDER BY id DESC LIMIT 20"


# Of each state there is an index with these jobs alone; those that are done are many, and nobody asks how many.
COUNTS = """
SELECT (SELECT count(*) FROM jobs_job WHERE state = 'queued') AS queued,
       (SELECT count(*) FROM jobs_job WHERE state = 'running') AS running,
       (SELECT count(*) FROM jobs_job WHERE state = 'failed') AS failed
"""
# Names that nothing here knows are found among the newest jobs.
NAMES = "SELECT DISTINCT name FROM (SELECT name FROM jobs_job ORDER BY id DESC LIMIT 5000) AS newest ORDER BY name"


@dataclass(frozen=True, slots=True)
class Health:
    """How the queue is doing: how many are queued, running and failed; ``waiting_since`` is the oldest job that should
    have begun."""

    workers: int
    counts: dict[str, int]
    waiting_since: datetime | None


async def health() -> Health:
    workers = await db.fetchval(
        "SELECT count(*) FROM jobs_worker WHERE beat_at > now() - make_interval(secs => $1)"
        " AND beat_at < now() + make_interval(secs => $1)",
        float(ALIVE_SECONDS),
    )
    counts = await db.fetchrow(COUNTS)
    since = await db.fetchval(
        "SELECT min(run_at) FROM jobs_job WHERE state = 'queued' AND run_at < now() AND name = ANY($1)",
        registry.names(),
    )
    return Health(workers, dict(counts or {}), since)


async def names() -> list[str]:
    return [row["name"] for row in await db.fetch(NAMES)]


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A job that was given up. ``at`` is when (UTC); the same job can fail again after staff tried it anew."""

    id: int
    name: str
    error: str
    at: datetime


async def failed_jobs(since: datetime) -> list[FailedJob]:
    """Jobs that were given up after ``since`` and still are, the oldest first, 200 at most."""
    rows = await db.fetch(
        "SELECT id, name, error, finished_at FROM jobs_job WHERE finished_at > $1 AND state = 'failed'"
        " ORDER BY finished_at LIMIT 200",
        since,
    )
    return [FailedJob(row["id"], row["name"], row["error"], row["finished_at"]) for row in rows]


async def one(job_id: int) -> Any:
    return await db.fetchrow("SELECT * FROM jobs_job WHERE id = $1", job_id)


@dataclass(frozen=True, slots=True)
class Happened:
    """A line of the log of a job, the way timelines take it."""

    at: datetime
    title: Text
    kind: str
    actor: str


@dataclass(frozen=True, slots=True)
class Work:
    """Long work as its page shows it; ``left`` are the seconds it will still take, where that can be told."""

    job: Any
    left: int | None
    log: list[Happened]

    @property
    def state(self) -> tuple[Text, str]:
        return words.STATES[self.job["state"]]

    @property
    def ended(self) -> bool:
        return self.job["state"] in ("done", "failed", "cancelled")

    @property
    def may_be_cancelled(self) -> bool:
        periodic = (self.job["key"] or "").startswith(PERIODIC)
        return not self.ended and not self.job["cancel"] and not periodic


async def work(job_id: int | None) -> Work | None:
    job = await one(job_id) if job_id else None
    if job is None:
        return None
    rows = await db.fetch(OF_LOG, job_id)
    log = [Happened(row["at"], *words.HAPPENED[row["kind"]], row["text"]) for row in rows]
    return Work(job, seconds_left(job), log)


def seconds_left(job: Any) -> int | None:
    """How long a running job will still take if it goes on as it did; None when that cannot be told."""
    done, total, since = (job["progress"].get(name) for name in ("done", "total", "since"))
    if job["state"] != "running" or not done or not total or since is None:
        return None
    elapsed = clock.now().timestamp() - since
    return max(1, round(elapsed / done * (total - done))) if done < total else None


async def retry_now(tx: Tx, job_id: int) -> None:
    """Let a job that failed, was cancelled or waits begin at once, with all its tries. Ring for it afterwards."""
    if await tx.fetchval(RETRY, job_id) is None:
        raise Refused(_("Only a job that failed, was cancelled or waits can be started."))
    await tx.execute(LOG, job_id, "retried")


async def take_up(tx: Tx, job_id: int | None) -> bool:
    """The same for a job that is over without being done, and for no other. False: it is not there any more."""
    state = await tx.fetchval("SELECT state FROM jobs_job WHERE id = $1 FOR UPDATE", job_id)
    if state is None:
        return False
    if state not in ("failed", "cancelled"):
        raise Refused(_("It is at work already."))
    await retry_now(tx, int(job_id or 0))
    return True


async def cancel(tx: Tx, job_id: int) -> None:
    state = await tx.fetchval(CANCEL, job_id)
    if state is None:
        raise Refused(_("Only a job that waits or runs can be cancelled, and none that comes back by itself."))
    await tx.execute(LOG, job_id, "asked" if state == "running" else "cancelled")
