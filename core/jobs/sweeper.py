"""Finds every job nobody is working on. Needs PostgreSQL alone: with Valkey gone it runs them itself."""

from __future__ import annotations

import asyncio
import logging
import time

import asyncpg

from core import db
from core.jobs import line, registry
from core.jobs.queue import ring_commands
from core.jobs.runner import DATABASE_AWAY, Runner
from core.outage import Outage

log = logging.getLogger("vouchsafe.jobs")

SWEEP_SECONDS = 0.5
BEAT_SECONDS = 5.0
AT_ONCE = 500
ARM_SECONDS = 30.0
# Rung for and still waiting: whatever keeps the bell from working, the job is run without it.
UNHEARD_SECONDS = 5.0

DUE = """
SELECT id, fence, late > $3 AS unheard FROM (
    SELECT id, fence, extract(epoch FROM now() - run_at)::float8 AS late FROM jobs_job
    WHERE state = 'queued' AND run_at < now() - make_interval(secs => $2) AND name = ANY($1)
    UNION ALL
    SELECT id, fence, extract(epoch FROM now() - lease_until)::float8 FROM jobs_job
    WHERE state = 'running' AND lease_until < now() AND name = ANY($1)
) due ORDER BY late DESC LIMIT $4
"""

ARM = """
INSERT INTO jobs_job (name, key, run_at)
SELECT name, 'every:' || name, now() FROM unnest($1::text[], $2::float8[]) AS periodic (name, seconds)
ON CONFLICT (key) DO UPDATE
SET state = 'queued', cancel = false, finished_at = NULL, lease_until = NULL,
    run_at = least(jobs_job.run_at, now() + make_interval(secs =>
        (SELECT seconds FROM unnest($1::text[], $2::float8[]) AS p (name, seconds) WHERE p.name = jobs_job.name)))
WHERE jobs_job.state <> 'running'
  AND (jobs_job.state <> 'queued' OR jobs_job.run_at > now() + make_interval(secs =>
        (SELECT seconds FROM unnest($1::text[], $2::float8[]) AS p (name, seconds) WHERE p.name = jobs_job.name)))
"""

ALIVE = """
INSERT INTO jobs_worker (name) VALUES ($1) ON CONFLICT (name) DO UPDATE SET beat_at = now()
"""


async def arm_periodic() -> None:
    """Each periodic job is one row that is queued anew after every run, so that one worker at a time has it."""
    periodic = registry.periodic()
    await db.execute(ARM, [job.name for job in periodic], [job.every for job in periodic])


async def sweep_for_ever(runner: Runner) -> None:
    armed: set[str] = set()
    again = 0.0
    outage = Outage(log, "the queue cannot be read now", "the queue is read again")
    while True:
        try:
            periodic = {job.name for job in registry.periodic()}
            # plugins come and go; and a clock that was ahead for a while has put turns off until then
            if periodic != armed or time.monotonic() > again:
                await arm_periodic()
                armed, again = periodic, time.monotonic() + ARM_SECONDS
            found = await sweep(runner)
            outage.is_over()
        except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
            outage.goes_on(error)
            found = 0
        if found < AT_ONCE:
            await asyncio.sleep(SWEEP_SECONDS)


async def sweep(runner: Runner) -> int:
    """Ring for due jobs, or run them here. Gives how many were found."""
    open_line = line.current()
    rows = await db.fetch(DUE, registry.names(), 1.0 if open_line else 0.0, UNHEARD_SECONDS, AT_ONCE)
    if not rows:
        return 0
    commands = [command for row in rows for command in ring_commands(row["id"], row["fence"])]
    heard = open_line is not None and await open_line.deliver(commands)
    here = [row["id"] for row in rows if row["unheard"] or not heard]
    for job_id in here:
        await runner.start(job_id)
    return len(here)


async def show_alive_for_ever(name: str) -> None:
    outage = Outage(log, "the worker cannot show that it lives", "the worker shows that it lives again")
    while True:
        try:
            await db.execute(ALIVE, name)
            outage.is_over()
        except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
            outage.goes_on(error)
        await asyncio.sleep(BEAT_SECONDS)
