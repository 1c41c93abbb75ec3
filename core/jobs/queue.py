"""Putting work into the queue, inside the transaction it belongs to, and ringing for it afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from arq.constants import default_queue_name, job_key_prefix
from arq.jobs import serialize_job

from core import clock
from core.db import Tx
from core.jobs import line

DAY_MS = 86_400_000
ARQ_FUNCTION = "run"


@dataclass(frozen=True, slots=True)
class NewJob:
    name: str
    args: dict[str, Any]
    run_at: datetime | None = None
    key: str | None = None


ENQUEUE = """
INSERT INTO jobs_job (name, args, key, run_at) VALUES ($1, $2, $3, coalesce($4, now()))
ON CONFLICT (key) DO NOTHING RETURNING id
"""

ENQUEUE_MANY = """
INSERT INTO jobs_job (name, args, key, run_at)
SELECT name, args, key, coalesce(run_at, now())
FROM jsonb_to_recordset($1) AS new (name text, args jsonb, key text, run_at timestamptz)
ON CONFLICT (key) DO NOTHING RETURNING id
"""


async def enqueue(
    tx: Tx, name: str, args: dict[str, Any], *, run_at: datetime | None = None, key: str | None = None
) -> int:
    """Write the job into ``tx``; it exists if and only if that transaction commits. Gives its id.

    With a ``key``, a second call gives the id of the first job and adds nothing, finished or not. Arguments
    are ids and plain facts, never secrets. Call ``ring(id)`` after the commit.
    """
    new = await tx.fetchval(ENQUEUE, name, args, key, run_at)
    if new is None:
        new = await tx.fetchval("SELECT id FROM jobs_job WHERE key = $1", key)
    return int(new)


async def enqueue_many(tx: Tx, jobs: Sequence[NewJob]) -> list[int]:
    """Write many jobs with one statement. Gives the ids of the new ones; known keys are left out."""
    rows = [
        {"name": job.name, "args": job.args, "key": job.key, "run_at": job.run_at and job.run_at.isoformat()}
        for job in jobs
    ]
    return [row["id"] for row in await tx.fetch(ENQUEUE_MANY, rows)]


async def ring(*ids: int) -> None:
    """Wake a worker for new jobs; call it after the commit. Never waits, never fails."""
    open_line = line.current()
    if open_line is not None:
        for job_id in ids:
            open_line.post(*ring_commands(job_id, 0))


def ring_commands(job_id: int, fence: int, at: datetime | None = None) -> list[line.Command]:
    """An arq job that carries only the id. Each attempt has a name of its own: arq refuses a name it still knows."""
    now_ms = int(clock.now().timestamp() * 1000)
    score = int(at.timestamp() * 1000) if at else now_ms
    name = f"{job_id}-{fence}"
    body = serialize_job(ARQ_FUNCTION, (job_id,), {}, None, now_ms, serializer=to_json)
    return [
        ("PSETEX", job_key_prefix + name, max(score - now_ms, 0) + DAY_MS, body),
        ("ZADD", default_queue_name, score, name),
    ]


def to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
