"""The plan of backups, the list of those that were made, and how long each stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from core import clock, db
from core.audit import service as audit
from core.backup import archive
from core.backup.archive import AlreadyRunning, BackupFailed, Made
from core.config import Config
from core.db import Tx
from core.jobs import enqueue
from core.refused import Refused
from core.vault import sealed_file
from core.vault.cipher import Secret
from core.web.i18n import _

TAKE = "backup.take"

DUE = """
SELECT plan.public_key <> '' AND NOT EXISTS (
    SELECT 1 FROM backup_file WHERE planned AND state <> 'failed'
    AND started_at > now() - make_interval(hours => plan.every_hours) AND started_at <= now())
FROM backup_plan plan
"""
"""What a clock that went wrong dates into the future counts for nothing, or it would be the last one for years."""
AT_WORK = "SELECT id FROM jobs_job WHERE name = $1 AND state IN ('queued', 'running') LIMIT 1"
STANDING = """
SELECT plan.public_key <> '' AS planned, plan.every_hours,
       (SELECT max(started_at) FROM backup_file WHERE state IN ('done', 'removed')
        AND started_at <= now()) AS last_good,
       (SELECT error FROM backup_file WHERE state = 'failed' AND started_at > coalesce(
            (SELECT max(started_at) FROM backup_file WHERE state IN ('done', 'removed')
             AND started_at <= now()), '-infinity')
        ORDER BY id DESC LIMIT 1) AS last_error
FROM backup_plan plan
"""
TOO_MANY = """
UPDATE backup_file SET state = 'removed' WHERE planned AND state = 'done' AND host = $1 AND id NOT IN (
    SELECT id FROM backup_file WHERE planned AND state = 'done' AND host = $1 ORDER BY id DESC
    LIMIT (SELECT keep FROM backup_plan))
RETURNING path
"""


@dataclass(frozen=True, slots=True)
class Plan:
    public_key: str
    every_hours: int
    keep: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How safe the shop is now: when it was last backed up, and what went wrong since."""

    planned: bool
    last_good: datetime | None
    last_error: str
    late: bool


async def plan() -> Plan:
    row = await db.fetchrow("SELECT public_key, every_hours, keep FROM backup_plan")
    assert row is not None  # noqa: S101 - the migration put it there
    return Plan(**row)


async def save_plan(new: Plan, staff_id: int) -> None:
    """:raises Refused: the key is none that seals."""
    if new.public_key and not sealed_file.is_public_key(new.public_key):
        raise Refused(_("This is no public key. It begins with age1."), "public_key")
    await db.transaction(_save_plan, new, staff_id)


async def _save_plan(tx: Tx, new: Plan, staff_id: int) -> None:
    await tx.execute(
        "UPDATE backup_plan SET public_key = $1, every_hours = $2, keep = $3", new.public_key, new.every_hours, new.keep
    )
    detail = {"public_key": new.public_key, "every_hours": new.every_hours, "keep": new.keep}
    await audit.record(tx, f"staff:{staff_id}", "backup.plan_changed", "backup", detail)


async def ask_for_one(staff_id: int) -> int:
    """A backup as soon as a worker is free; gives the job to ring.

    :raises Refused: there is no key to seal it to.
    """
    if not (await plan()).public_key:
        raise Refused(_("Make a key or enter one first: backups are sealed to it."), "public_key")

    async def write(tx: Tx) -> int:
        await audit.record(tx, f"staff:{staff_id}", "backup.asked", "backup")
        return await tx.fetchval(AT_WORK, TAKE) or await enqueue(tx, TAKE, {})

    return await db.transaction(write)


async def enqueue_if_due() -> int | None:
    async def write(tx: Tx) -> int | None:
        if not await tx.fetchval(DUE) or await tx.fetchval(AT_WORK, TAKE):
            return None
        return await enqueue(tx, TAKE, {})

    return await db.transaction(write)


async def standing() -> Standing:
    row = await db.fetchrow(STANDING)
    assert row is not None  # noqa: S101 - the migration put it there
    longest = timedelta(hours=2 * row["every_hours"] + 1) if row["planned"] else timedelta(days=8)
    late = row["last_good"] is None or row["last_good"] < clock.now() - longest
    return Standing(row["planned"], row["last_good"], row["last_error"] or "", late)


async def file_here(file_id: int) -> Path | None:
    """The file of a backup that was made on this machine and is still there."""
    path = await db.fetchval(
        "SELECT path FROM backup_file WHERE id = $1 AND state = 'done' AND host = $2", file_id, socket.gethostname()
    )
    return await asyncio.to_thread(_found, Path(path)) if path else None


def _found(path: Path) -> Path | None:
    return path if path.is_file() else None


async def fetched(file_id: int, staff_id: int, ip: str | None) -> None:
    async def write(tx: Tx) -> None:
        await audit.record(tx, f"staff:{staff_id}", "backup.fetched", f"backup:{file_id}", ip=ip)

    await db.transaction(write)


# -- making one -------------------------------------------------------------------------


async def take(config: Config, file: Path, to: str | Secret, *, planned: bool = False) -> Made:
    """Make a backup and keep a row about it. Rows of earlier ones that never ended are closed.

    :raises BackupFailed: with the reason, which the row keeps too.
    """
    row_id = await db.fetchval(
        "INSERT INTO backup_file (path, host, planned) VALUES ($1, $2, $3) RETURNING id",
        str(file),
        socket.gethostname(),
        planned,
    )
    try:
        made = await archive.make(config, file, to)
    except BackupFailed as failure:
        await _ended(row_id, "failed", error=str(failure), others=not isinstance(failure, AlreadyRunning))
        raise
    await _ended(row_id, "done", size=made.size, rows=sum(made.manifest["rows"].values()))
    if planned:
        await _remove_old()
    return made


async def _ended(
    row_id: int, state: str, *, size: int | None = None, rows: int | None = None, error: str = "", others: bool = True
) -> None:
    await db.execute(
        "UPDATE backup_file SET state = $2, size = $3, rows = $4, error = $5, ended_at = now() WHERE id = $1",
        row_id,
        state,
        size,
        rows,
        error[:1000],
    )
    if others:
        await db.execute(
            "UPDATE backup_file SET state = 'failed', error = 'it was interrupted', ended_at = now()"
            " WHERE state = 'running' AND id < $1",
            row_id,
        )


async def _remove_old() -> None:
    for row in await db.fetch(TOO_MANY, socket.gethostname()):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(row["path"])
