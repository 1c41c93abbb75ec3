"""Housekeeping of the queue, and of the limits of the pages (``core.web`` knows no jobs)."""

from __future__ import annotations

from core import db
from core.jobs.lease import Lease
from core.jobs.registry import every
from core.web import limits

KEEP_DONE = "1 day"
KEEP_FAILED = "60 days"

PURGE = f"""
DELETE FROM jobs_job WHERE id IN (
    SELECT id FROM jobs_job
    WHERE finished_at < now() - interval '{KEEP_DONE}'
      AND (state IN ('done', 'cancelled') OR finished_at < now() - interval '{KEEP_FAILED}')
    LIMIT 5000
)
"""  # noqa: S608 - put together from constants


@every(600, "jobs.purge")
async def purge(lease: Lease) -> None:
    await db.execute(PURGE)
    await db.execute(
        "DELETE FROM jobs_worker WHERE beat_at < now() - interval '1 hour' OR beat_at > now() + interval '1 hour'"
    )


@every(600, "web.sweep")
async def sweep_limits(lease: Lease) -> None:
    await limits.sweep()
