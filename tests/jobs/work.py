"""Jobs that leave traces, and a worker program that knows them: ``python -m tests.jobs.work``."""

from __future__ import annotations

import asyncio
import contextlib
import os

from core import db, jobs
from core.jobs.lease import Lease

TABLES = """
CREATE TABLE test_run (job_id bigint, name text, fence int, pid int, at timestamptz DEFAULT clock_timestamp());
CREATE TABLE test_write (job_id bigint, fence int);
CREATE TABLE test_refused (job_id bigint, fence int);
CREATE TABLE test_gate (open boolean);
INSERT INTO test_gate VALUES (false);
CREATE TABLE test_given_up (args jsonb, error text);
"""


async def _note(lease: Lease) -> None:
    await db.execute(
        "INSERT INTO test_run (job_id, name, fence, pid) VALUES ($1, $2, $3, $4)",
        lease.job_id,
        lease.name,
        lease.fence,
        os.getpid(),
    )


async def _write(tx: db.Tx, lease: Lease) -> None:
    await tx.execute("INSERT INTO test_write (job_id, fence) VALUES ($1, $2)", lease.job_id, lease.fence)


async def _gate() -> None:
    while not await db.fetchval("SELECT open FROM test_gate"):
        await asyncio.sleep(0.05)


@jobs.job("test.quick")
async def quick(args: dict, lease: Lease) -> None:
    await _note(lease)


@jobs.job("test.gated", lease_seconds=2)
async def gated(args: dict, lease: Lease) -> None:
    await _note(lease)
    await _gate()
    await lease.write(_write, lease)


@jobs.job("test.locked", lease_seconds=4)
async def locked(args: dict, lease: Lease) -> None:
    await db.transaction(_wait_for_lock)


async def _wait_for_lock(tx: db.Tx) -> None:
    await tx.execute("SET LOCAL lock_timeout = '20s'")
    await tx.execute("SELECT 1 FROM test_lock")


@jobs.job("test.stubborn", lease_seconds=2)
async def stubborn(args: dict, lease: Lease) -> None:
    """Tries to write whatever happens to it, as code in the middle of a blocking call would."""
    await _note(lease)
    with contextlib.suppress(asyncio.CancelledError):
        await _gate()
    try:
        await lease.write(_write, lease)
    except jobs.LeaseLost:
        await db.execute("INSERT INTO test_refused (job_id, fence) VALUES ($1, $2)", lease.job_id, lease.fence)
        raise


async def _given_up(tx: db.Tx, args: dict, error: str) -> None:
    await tx.execute("INSERT INTO test_given_up VALUES ($1, $2)", args, error)


@jobs.job("test.broken", tries=3, backoff_seconds=0.4, on_failed=_given_up)
async def broken(args: dict, lease: Lease) -> None:
    await _note(lease)
    raise ValueError("the third wheel\nwith a second line that quotes a value")


@jobs.job("test.give_up", tries=3, on_failed=_given_up)
async def give_up(args: dict, lease: Lease) -> None:
    await _note(lease)
    raise jobs.GiveUp("the number does not exist")


@jobs.job("test.flaky", tries=5, backoff_seconds=60)
async def flaky(args: dict, lease: Lease) -> None:
    await _note(lease)
    if lease.tries < 3:
        raise jobs.Retry("not yet", after=0.05)


@jobs.job("test.cancels_itself", tries=2, backoff_seconds=0.05)
async def cancels_itself(args: dict, lease: Lease) -> None:
    await _note(lease)
    raise asyncio.CancelledError


@jobs.job("test.exits", tries=2, backoff_seconds=0.05)
async def exits(args: dict, lease: Lease) -> None:
    await _note(lease)
    raise SystemExit(3)


@jobs.job("test.too_slow", tries=1, timeout_seconds=0.2)
async def too_slow(args: dict, lease: Lease) -> None:
    await asyncio.sleep(60)


@jobs.job("test.counting")
async def counting(args: dict, lease: Lease) -> None:
    await _note(lease)
    for done in range(args["total"] + 1):
        await lease.progress(done=done, total=args["total"], note="counting")
        await asyncio.sleep(args["pause"])


@jobs.every(1, "test.tick")
async def tick(lease: Lease) -> None:
    await _note(lease)


@contextlib.asynccontextmanager
async def prepare(config):
    yield


if __name__ == "__main__":
    import logging
    import sys

    from core.jobs.worker import main

    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    asyncio.run(main(prepare=prepare))
