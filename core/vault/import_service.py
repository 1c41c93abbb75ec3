"""Bringing codes into stock: upload, look, dry run, import, undo. What the console, jobs and command line call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from core import db, jobs
from core.jobs.service import cancel as cancel_job
from core.refused import Refused
from core.state_machine import StateMachine
from core.vault import import_layout, import_staging, import_words
from core.vault.code_text import outline
from core.vault.import_layout import Mapping
from core.vault.import_rows import NumberCell, Reject, cells_of, first_lines
from core.vault.import_run import BatchFacts, Findings
from core.vault.import_staging import Staged, Upload, UploadError
from core.vault.import_text import ENCODINGS
from core.web.i18n import _

__all__ = [
    "BatchFacts",
    "Findings",
    "Mapping",
    "Preview",
    "Reject",
    "Report",
    "UndoRefused",
    "UploadError",
    "begin",
    "commit",
    "drop",
    "dry_run",
    "preview",
    "reject_csv",
    "rejects",
    "report",
    "stage",
    "stop",
    "undo",
]

JOBS = {"checking": "vault.check_import", "importing": "vault.import"}
SHOWN_ROWS = 20
GUESSED_LINES = 200

IMPORT = StateMachine(
    "import",
    {
        "staged": {"checking", "importing", "dropped"},
        "checking": {"checked", "failed"},
        "checked": {"checking", "importing", "dropped"},
        "importing": {"done", "failed"},
        "failed": {"checking", "importing", "dropped"},
        "done": set(),
        "dropped": set(),
    },
)


class UndoRefused(Refused):
    """A batch of which something is reserved or delivered stays."""

    def __init__(self, reserved: int, delivered: int) -> None:
        super().__init__(import_words.undo_refused(reserved, delivered))
        self.reserved, self.delivered = reserved, delivered


@dataclass(frozen=True)
class Row:
    line: int
    cells: list[str]


@dataclass(frozen=True)
class Preview:
    """The first rows as they would be read. Cells are outlined; ``names`` are the cells of the header.

    ``numeric`` are those columns of the code that a spreadsheet holds as numbers.
    """

    upload: Upload
    mapping: Mapping
    names: list[str]
    rows: list[Row]
    numeric: list[int]


@dataclass(frozen=True)
class Report:
    id: int
    shop_id: int
    sku_id: int
    filename: str
    state: str
    upload: Upload
    mapping: Mapping | None
    findings: Findings | None
    batch_id: int | None
    done: int
    total: int
    error: str
    created_at: datetime
    job_id: int | None

    @property
    def words(self) -> str:
        """Why it failed, for people."""
        return str(import_words.REFUSALS.get(self.error, self.error))


# -- upload and look --------------------------------------------------------------------


async def stage(
    shop_id: int,
    upload: AsyncIterator[bytes],
    filename: str,
    sku_id: int,
    staff_id: int | None = None,
    sheet: str | None = None,
) -> int:
    """Take in an upload, sealed from its first byte on. Gives the id of the import.

    :raises UploadError: when the file cannot be imported at all; nothing of it is kept.
    """
    if not await db.fetchval("SELECT true FROM catalog_sku WHERE id = $1 AND shop_id = $2", sku_id, shop_id):
        raise UploadError("no_such_sku")
    return await import_staging.stage(shop_id, sku_id, filename, staff_id, upload, sheet)


async def preview(shop_id: int, import_id: int, mapping: Mapping | None = None) -> Preview:
    """The first rows under ``mapping``, or under the mapping we propose."""
    staged = Staged(await _row(shop_id, import_id))
    upload = staged.upload
    if mapping is not None:
        _check_mapping(mapping)
    encoding = mapping.encoding if mapping else upload.encoding
    pieces = [staged.open(at, blob) async for at, blob in _first(staged, 2)]
    lines = first_lines(pieces, upload.kind, encoding, GUESSED_LINES)
    if mapping is None:
        separator = "" if upload.kind == "sheet" else import_layout.guess_separator(lines, await _name(import_id))
        rows = [cells for _, cells in cells_of(lines, upload.kind, separator)]
        mapping = import_layout.guess(rows, encoding, separator)
    table = [Row(line, cells) for line, cells in cells_of(lines, upload.kind, mapping.separator) if any(cells)]
    before = mapping.lines_before
    names = table[before - 1].cells if 0 < before <= len(table) else []
    shown = table[before : before + SHOWN_ROWS]
    outlined = [Row(row.line, [outline(cell) for cell in row.cells]) for row in shown]
    return Preview(upload, mapping, names, outlined, _numeric(mapping, table[before:]))


def _numeric(mapping: Mapping, rows: list[Row]) -> list[int]:
    return [
        column
        for column in mapping.code_columns
        if any(isinstance(cell, NumberCell) for row in rows for cell in row.cells[column : column + 1])
    ]


async def _first(staged: Staged, count: int) -> AsyncIterator[tuple[int, bytes]]:
    async for position, blob in staged.pieces(db.fetchval):
        if position == count:
            return
        yield position, blob


async def _name(import_id: int) -> str:
    return await db.fetchval("SELECT filename FROM vault_import WHERE id = $1", import_id)


async def _row(shop_id: int, import_id: int) -> asyncpg.Record:
    row = await db.fetchrow(
        "SELECT id, shop_id, sku_id, report, mapping, sealed_key FROM vault_import"
        " WHERE id = $1 AND shop_id = $2 AND sealed_key IS NOT NULL",
        import_id,
        shop_id,
    )
    if row is None:
        raise UploadError("no_such_import")
    return row


def _check_mapping(mapping: Mapping) -> None:
    columns = mapping.columns()
    fits = mapping.code_columns and max(columns) < mapping.width and len(set(columns)) == len(columns)
    if not fits or mapping.encoding not in ENCODINGS or any(c in '\r\n"' for c in mapping.separator):
        raise UploadError("bad_mapping")


# -- dry run and import -----------------------------------------------------------------


async def dry_run(shop_id: int, import_id: int, mapping: Mapping | None = None) -> int:
    """Count, in a job, what an import would do. Gives the id of the job."""
    return await _enqueue(shop_id, import_id, "checking", mapping, {"import_id": import_id})


async def commit(
    shop_id: int, import_id: int, facts: BatchFacts, staff_id: int | None = None, mapping: Mapping | None = None
) -> int:
    """Import, in a job, everything new as one batch. Gives the id of the job."""
    args = {"import_id": import_id, "facts": msgspec.to_builtins(facts), "staff_id": staff_id}
    return await _enqueue(shop_id, import_id, "importing", mapping, args)


async def _enqueue(shop_id: int, import_id: int, state: str, mapping: Mapping | None, args: dict[str, Any]) -> int:
    async def work(tx: db.Tx) -> int:
        await begin(tx, shop_id, import_id, state, mapping)
        job_id = await jobs.enqueue(tx, JOBS[state], args)
        await tx.execute("UPDATE vault_import SET job_id = $2 WHERE id = $1", import_id, job_id)
        return job_id

    job_id = await db.transaction(work)
    await jobs.ring(job_id)
    return job_id


async def stop(shop_id: int, import_id: int) -> None:
    """Let the dry run or the import that is at work end; nothing of it stays.

    :raises Refused: nothing is at work.
    """
    job_id = (await report(shop_id, import_id)).job_id
    if job_id is None:
        raise Refused(_("It is over."))
    await db.transaction(cancel_job, job_id)


async def begin(tx: db.Tx, shop_id: int, import_id: int, state: str, mapping: Mapping | None = None) -> None:
    """Say that the dry run ("checking") or the import ("importing") starts now, with this mapping."""
    row = await _held(tx, shop_id, import_id)
    if row is None or row["state"] in ("done", "dropped"):
        raise UploadError("no_such_import")
    if not IMPORT.allows(row["state"], state):
        raise UploadError("busy")
    if mapping is None and not row["mapping"]:
        raise UploadError("bad_mapping")
    if mapping is not None:
        _check_mapping(mapping)
    await tx.execute(
        "UPDATE vault_import SET state = $2, mapping = coalesce($3, mapping), job_id = NULL, updated_at = now()"
        " WHERE id = $1",
        import_id,
        state,
        None if mapping is None else msgspec.to_builtins(mapping),
    )


# A job that gave up leaves its import at "checking" or "importing": that is a failure too.
EFFECTIVE = """
SELECT i.id, i.shop_id, i.sku_id, i.filename, i.report, i.mapping, i.batch_id, i.created_at, i.job_id, job.progress,
       CASE WHEN job.state = 'cancelled' THEN 'cancelled'
            ELSE coalesce(nullif(job.error, ''), i.report->>'error', '') END AS error,
       CASE WHEN i.state IN ('checking', 'importing') AND job.state IN ('failed', 'cancelled') THEN 'failed'
            ELSE i.state END AS state
FROM vault_import i LEFT JOIN jobs_job job ON job.id = i.job_id
"""


async def _held(tx: db.Tx, shop_id: int, import_id: int) -> asyncpg.Record | None:
    """The import, locked. Whoever works on it holds that lock for as long as it takes: do not wait for it."""
    try:
        return await tx.fetchrow(
            f"{EFFECTIVE} WHERE i.id = $1 AND i.shop_id = $2 FOR UPDATE OF i NOWAIT", import_id, shop_id
        )
    except asyncpg.LockNotAvailableError:
        raise UploadError("busy") from None


async def report(shop_id: int, import_id: int) -> Report:
    row = await db.fetchrow(f"{EFFECTIVE} WHERE i.id = $1 AND i.shop_id = $2", import_id, shop_id)
    if row is None or "upload" not in row["report"]:
        raise UploadError("no_such_import")
    facts = row["report"]
    upload = msgspec.convert(facts["upload"], Upload)
    progress: dict[str, Any] = row["progress"] or {}
    return Report(
        id=row["id"],
        shop_id=row["shop_id"],
        sku_id=row["sku_id"],
        filename=row["filename"],
        state=row["state"],
        upload=upload,
        mapping=msgspec.convert(row["mapping"], Mapping) if row["mapping"] else None,
        findings=msgspec.convert(facts["findings"], Findings) if "findings" in facts else None,
        batch_id=row["batch_id"],
        done=progress.get("done", 0),
        total=progress.get("total", upload.lines),
        error=row["error"],
        created_at=row["created_at"],
        job_id=row["job_id"],
    )


async def rejects(shop_id: int, import_id: int) -> AsyncIterator[Reject]:
    """Every line that was not taken, in the order of the file, codes masked."""
    staged = Staged(await _row(shop_id, import_id))
    position = 0
    while blob := await db.fetchval(
        "SELECT blob FROM vault_import_reject WHERE import_id = $1 AND position = $2", import_id, position
    ):
        for reject in staged.open_rejects(position, blob):
            yield reject
        position += 1


async def reject_csv(shop_id: int, import_id: int) -> AsyncIterator[bytes]:
    """The reject file, made while it is sent: line, reason in words, masked code."""
    yield "\ufeffline,reason,code\r\n".encode()
    async for reject in rejects(shop_id, import_id):
        masked = reject.mask.replace('"', '""')
        yield f'{reject.line},"{import_words.PROBLEMS[reject.reason]}","{masked}"\r\n'.encode()


async def drop(shop_id: int, import_id: int) -> None:
    """Throw an upload away that will not be imported."""
    await db.transaction(_drop, shop_id, import_id)


async def _drop(tx: db.Tx, shop_id: int, import_id: int) -> None:
    row = await _held(tx, shop_id, import_id)
    if row is None:
        raise UploadError("no_such_import")
    if row["state"] == "dropped":
        return
    if not IMPORT.allows(row["state"], "dropped"):
        raise UploadError("busy" if row["state"] != "done" else "no_such_import")
    await tx.execute("UPDATE vault_import SET state = 'dropped', sealed_key = NULL WHERE id = $1", import_id)
    for table in ("vault_import_piece", "vault_import_reject"):
        await tx.execute(f"DELETE FROM {table} WHERE import_id = $1", import_id)  # noqa: S608 - a constant


# -- undo -------------------------------------------------------------------------------

UNDO_SECONDS = 600
UNDO = """
WITH gone AS (
    DELETE FROM vault_code WHERE batch_id = $1 AND state NOT IN ('reserved', 'delivered') RETURNING state
)
SELECT count(*) AS codes, count(*) FILTER (WHERE state = 'void') AS void FROM gone
"""


async def undo(tx: db.Tx, shop_id: int, batch_id: int) -> int:
    """Take a batch out of stock again, of which nothing is reserved or delivered. Gives the number of codes.

    The caller writes the audit entry in the same transaction.

    :raises UndoRefused: with the numbers that stand in the way; then nothing changes.
    """
    batch = await tx.fetchrow(
        "SELECT state, unit_cost > 0 AND NOT demo AS in_books FROM vault_batch WHERE id = $1 AND shop_id = $2"
        " FOR UPDATE",
        batch_id,
        shop_id,
    )
    if batch is None:
        raise UploadError("no_such_batch")
    if batch["state"] == "undone":
        raise UploadError("undone")
    await tx.may_take(UNDO_SECONDS)
    try:
        gone = await tx.fetchrow(UNDO, batch_id)
    except asyncpg.ForeignKeyViolationError:
        raise UploadError("in_use") from None
    left = await tx.fetchrow(
        "SELECT count(*) FILTER (WHERE state = 'reserved') AS reserved,"
        " count(*) FILTER (WHERE state = 'delivered') AS delivered FROM vault_code WHERE batch_id = $1",
        batch_id,
    )
    if left["reserved"] or left["delivered"]:
        raise UndoRefused(left["reserved"], left["delivered"])
    if batch["in_books"] and gone["void"]:  # the books took their cost out of the stock before
        raise UploadError("written_off")
    await tx.execute("UPDATE vault_batch SET state = 'undone', undone_at = now() WHERE id = $1", batch_id)
    return int(gone["codes"])
