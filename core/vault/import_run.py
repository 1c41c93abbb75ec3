"""The two ways through a staged upload: the dry run, which only counts, and the import itself.

Both read it piece by piece, so memory does not grow with the file. The import is one transaction: of a batch
whose import was killed nothing is there, and doing it again starts clean.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from itertools import chain, islice
from operator import eq

import asyncpg
import msgspec

from core import db
from core.audit import service as audit
from core.crash_point import crash_point
from core.vault import cipher
from core.vault.code_text import DUPLICATES, Problem
from core.vault.import_copy import SealedCodes, at_slot, copy_in, packed
from core.vault.import_layout import Mapping
from core.vault.import_rows import Reject, RowReader, Rows
from core.vault.import_staging import REJECTS_IN_PIECE, Staged, UploadError
from core.vault.stock import SLOTS, slot, today

IMPORT_LOCK = 0x696D70
SAMPLES = 10
FRESH_TRIES = 5
SWITCH_SECONDS = 0.0005
# The bigger a sorted chunk, the fewer times all pages of the indexes are visited; this many take about 50 MB.
# Twice as many are slower again.
CODES_IN_CHUNK = 60_000
PIECES_IN_CHUNK = 4
# The increment of vault_code_id_seq.
IDS_IN_BLOCK = 64

Guard = Callable[[db.Tx], Awaitable[None]]


@dataclass
class Meter:
    """How far a run is, in lines of the file. ``stop`` ends the run at the next piece."""

    done: int = 0
    total: int = 0
    stop: BaseException | None = None

    def at(self, line: int) -> None:
        self.done = line
        if self.stop:
            raise self.stop


class BatchFacts(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    note: str = ""
    unit_cost: int | None = None
    source: str = "import"
    demo: bool = False


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    new: int = 0
    duplicate_in_file: int = 0
    duplicate_in_stock: int = 0
    already_sold: int = 0
    malformed: int = 0


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What a run found. A sample is a line number and a masked code, by reason."""

    counts: Counts
    reasons: dict[str, int]
    samples: dict[str, list[tuple[int, str]]]


async def _free_of_time_limits(tx: db.Tx) -> None:
    await tx.may_take(600)
    for name in ("lock_timeout", "idle_in_transaction_session_timeout"):
        await tx.execute(f"SET LOCAL {name} = '10min'")


async def _readings(tx: db.Tx, staged: Staged, mapping: Mapping) -> AsyncIterator[Rows]:
    reader = RowReader(mapping, staged.upload.kind, await _today(tx, staged.shop_id))
    async for piece in staged.pieces(tx.fetchval):
        yield await asyncio.to_thread(_read, reader, staged, [piece])


async def _today(tx: db.Tx, shop_id: int) -> date:
    return today(await tx.fetchval("SELECT timezone FROM shops_shop WHERE id = $1", shop_id))


def _read(reader: RowReader, staged: Staged, pieces: list[tuple[int, bytes]]) -> Rows:
    data = b"".join(staged.open(position, blob) for position, blob in pieces)
    return reader.feed(data, final=pieces[-1][0] == staged.upload.pieces - 1)


# -- the dry run ------------------------------------------------------------------------

LINES = "CREATE TEMP TABLE import_line (line int, fingerprint bytea, mask text) ON COMMIT DROP"
REJECTS = "CREATE TEMP TABLE import_reject (line int, reason text, mask text) ON COMMIT DROP"

FIND_DUPLICATES = """
INSERT INTO import_reject
SELECT line, CASE WHEN state = 'delivered' THEN 'already_sold' WHEN state IS NOT NULL THEN 'duplicate_in_stock'
                  ELSE 'duplicate_in_file' END, mask
FROM (SELECT import_line.line, import_line.mask, code.state,
             row_number() OVER (PARTITION BY import_line.fingerprint ORDER BY import_line.line) AS nth
      FROM import_line
      LEFT JOIN vault_code code ON code.shop_id = $1 AND code.fingerprint = import_line.fingerprint) AS seen
WHERE state IS NOT NULL OR nth > 1
"""


async def check(tx: db.Tx, staged: Staged, mapping: Mapping, meter: Meter) -> Findings:
    """Count what an import would do and keep the refused lines; stock stays as it is."""
    await _free_of_time_limits(tx)
    await tx.execute(LINES)
    await tx.execute(REJECTS)
    lines = 0
    async for rows in _readings(tx, staged, mapping):
        records = await asyncio.to_thread(_fingerprinted, staged.shop_id, rows)
        await tx.copy("import_line", ["line", "fingerprint", "mask"], records)
        await _keep_rejects(tx, rows.rejects)
        lines += len(records)
        meter.at(rows.last_line)
    done = await tx.execute(FIND_DUPLICATES, staged.shop_id)
    return await _finish_rejects(tx, staged, lines - int(done.split()[-1]))


def _fingerprinted(shop_id: int, rows: Rows) -> list[tuple[int, bytes, str]]:
    marks = cipher.fingerprints(shop_id, rows.codes)
    return list(zip(rows.lines, marks, cipher.masks(rows.codes), strict=True))


# -- the import -------------------------------------------------------------------------

KNOWN = """
SELECT fingerprint, CASE WHEN batch_id = $3 THEN 'duplicate_in_file' WHEN state = 'delivered' THEN 'already_sold'
                         ELSE 'duplicate_in_stock' END AS reason
FROM vault_code WHERE shop_id = $1 AND fingerprint = ANY($2)
"""


@dataclass(slots=True)
class Chunk:
    """The codes of some pieces, sealed, in the order of their fingerprints: neighbours go to the same index pages.

    ``rows``, ``marks``, ``masks`` and ``lines`` run side by side.
    """

    rows: list[bytes] = field(repr=False)
    dated: bool
    marks: list[bytes]
    masks: list[str]
    lines: list[int]
    repeats: list[tuple[bytes, Reject]]
    rejects: list[Reject]
    last_line: int

    def without(self, known: dict[bytes, str]) -> list[bytes]:
        """The other rows. As few may be left, they no longer stand in the order of the file: see ``Sealer``."""
        kept = [(row, mark) for row, mark in zip(self.rows, self.marks, strict=True) if mark not in known]
        if self.dated:
            return [row for row, _mark in kept]
        return [at_slot(row, slot(mark, None)) for row, mark in kept]


class Sealer:
    """Reads and seals pieces; runs in a thread while the database stores the chunk before.

    Ids rise, and so do slots, spread over all there are by how far the file has been read: rows go to the end of
    those two indexes, and only fingerprints go everywhere.
    """

    def __init__(
        self, staged: Staged, reader: RowReader, batch_id: int, batch: cipher.BatchCipher, ids: Iterator[int]
    ) -> None:
        self._staged = staged
        self._reader = reader
        self._batch_id = batch_id
        self._batch = batch
        self._ids = ids

    def chunk(self, pieces: list[tuple[int, bytes]]) -> Chunk:
        rows = _read(self._reader, self._staged, pieces)
        marks = cipher.fingerprints(self._staged.shop_id, rows.codes)
        places = sorted(range(len(marks)), key=marks.__getitem__)
        marks = [marks[at] for at in places]
        repeats: list[tuple[bytes, Reject]] = []
        if any(map(eq, marks, islice(marks, 1, None))):
            places, marks, repeats = _without_repeats(rows, places, marks)
        codes = [rows.codes[at] for at in places]
        masks = cipher.masks(codes)
        ids = list(islice(self._ids, len(codes)))
        sealed = SealedCodes(
            self._staged.shop_id,
            self._staged.sku_id,
            self._batch_id,
            ids,
            self._batch.seal_many(ids, codes),
            marks,
            masks,
            None if rows.extras is None else [rows.extras[at] for at in places],
            None if rows.extras is not None else self._slots(pieces, len(codes)),
        )
        lines = [rows.lines[at] for at in places]
        return Chunk(
            packed(sealed), rows.extras is not None, marks, masks, lines, repeats, rows.rejects, rows.last_line
        )

    def _slots(self, pieces: list[tuple[int, bytes]], count: int) -> range:
        whole = self._staged.upload.pieces
        first, end = (SLOTS * at // whole for at in (pieces[0][0], pieces[-1][0] + 1))
        step = (end - first) // max(count, 1)
        first += secrets.randbelow(step)
        return range(first, first + step * count, step)


def _without_repeats(
    rows: Rows, places: list[int], marks: list[bytes]
) -> tuple[list[int], list[bytes], list[tuple[bytes, Reject]]]:
    """Of equal codes, which stand side by side, the first in the file."""
    kept, kept_marks, repeats = [], [], []
    for at, mark in zip(places, marks, strict=True):
        if kept_marks and kept_marks[-1] == mark:
            repeats.append((mark, Reject(rows.lines[at], "", cipher.mask(rows.codes[at]))))
        else:
            kept.append(at)
            kept_marks.append(mark)
    return kept, kept_marks, repeats


class Store:
    """Puts chunks into stock and knows which of their codes were there before."""

    def __init__(self, tx: db.Tx, shop_id: int, batch_id: int) -> None:
        self._tx = tx
        self._shop_id = shop_id
        self._batch_id = batch_id
        self._careful = False
        self.stored = 0

    async def put(self, chunk: Chunk) -> list[Reject]:
        """Store what is new; gives back the lines that are not.

        A plain COPY is far faster than ON CONFLICT, so we look for duplicates only once there has been one. A
        code that another transaction adds between the look and the COPY makes us look again.
        """
        rows, known = chunk.rows, {}
        for _ in range(FRESH_TRIES):
            if self._careful:
                known = await self._known(chunk.marks)
                rows = chunk.without(known) if known else chunk.rows
            if await self._copy(rows, extras=chunk.dated):
                self.stored += len(rows)
                return _refused(chunk, known)
            self._careful = True
        raise RuntimeError("codes of this batch keep arriving from elsewhere")

    async def _copy(self, rows: list[bytes], *, extras: bool) -> bool:
        await self._tx.execute("SAVEPOINT chunk")
        try:
            await copy_in(self._tx, rows, extras=extras)
        except asyncpg.UniqueViolationError:
            await self._tx.execute("ROLLBACK TO SAVEPOINT chunk")
            return False
        await self._tx.execute("RELEASE SAVEPOINT chunk")
        return True

    async def _known(self, marks: list[bytes]) -> dict[bytes, str]:
        rows = await self._tx.fetch(KNOWN, self._shop_id, marks, self._batch_id)
        return {row["fingerprint"]: row["reason"] for row in rows}


def _refused(chunk: Chunk, known: dict[bytes, str]) -> list[Reject]:
    found = [
        Reject(line, known[mark], shown)
        for line, mark, shown in zip(chunk.lines, chunk.marks, chunk.masks, strict=True)
        if mark in known
    ]
    repeated = [reject._replace(reason=known.get(mark, Problem.DUPLICATE_IN_FILE)) for mark, reject in chunk.repeats]
    return chunk.rejects + found + repeated


async def store(
    tx: db.Tx, staged: Staged, mapping: Mapping, facts: BatchFacts, staff_id: int | None, meter: Meter
) -> tuple[int | None, Findings]:
    """Import everything new as one batch, which is there, and for sale, when the transaction commits."""
    await _free_of_time_limits(tx)
    await tx.execute("SELECT pg_advisory_xact_lock($1, $2)", IMPORT_LOCK, staged.shop_id % 2**31)
    await tx.execute(REJECTS)
    batch_id, batch = await open_new_batch(tx, staged.shop_id, staged.sku_id, facts, staff_id)
    ids = await _new_ids(tx, staged.upload.lines)
    reader = RowReader(mapping, staged.upload.kind, await _today(tx, staged.shop_id))
    sealer = Sealer(staged, reader, batch_id, batch, ids)
    stock = Store(tx, staged.shop_id, batch_id)
    with _quick_turns():
        async for chunk in _chunks(tx, staged, sealer):
            await _keep_rejects(tx, await stock.put(chunk))
            meter.at(chunk.last_line)
            crash_point("import_chunk_stored")
    findings = await _finish_rejects(tx, staged, stock.stored)
    if not stock.stored:
        await tx.execute("DELETE FROM vault_batch WHERE id = $1", batch_id)
        return None, findings
    await tx.execute(
        "UPDATE vault_batch SET state = 'ready', counts = $2, seals = seals + $3 WHERE id = $1",
        batch_id,
        {"imported": stock.stored, "refused": sum(findings.reasons.values())},
        batch.sealed,
    )
    return batch_id, findings


@contextmanager
def _quick_turns() -> Iterator[None]:
    """Let the event loop wait half a millisecond for the sealing thread, not five, each time it feeds PostgreSQL."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


async def open_new_batch(
    tx: db.Tx, shop_id: int, sku_id: int, facts: BatchFacts, staff_id: int | None
) -> tuple[int, cipher.BatchCipher]:
    """A batch with a fresh data key; its caller makes it ready."""
    batch_id = await tx.fetchval("SELECT nextval(pg_get_serial_sequence('vault_batch', 'id'))")
    wrapped, version = cipher.new_batch_key(shop_id, sku_id, batch_id)
    await tx.execute(
        "INSERT INTO vault_batch (id, shop_id, sku_id, name, note, unit_cost, source, demo, wrapped_key, key_version,"
        " created_by) OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        batch_id, shop_id, sku_id, facts.name, facts.note, facts.unit_cost, facts.source, facts.demo, wrapped, version,
        staff_id,
    )  # fmt: skip
    return batch_id, cipher.open_batch(wrapped, version, shop_id, sku_id, batch_id)


async def _chunks(tx: db.Tx, staged: Staged, sealer: Sealer) -> AsyncIterator[Chunk]:
    """Each chunk while a thread already seals the next one: Python and PostgreSQL keep one core each busy."""
    loop = asyncio.get_running_loop()
    sealing: asyncio.Future[Chunk] | None = None
    async for pieces in _some_pieces(tx, staged):
        ready = await sealing if sealing else None
        sealing = loop.run_in_executor(None, sealer.chunk, pieces)
        if ready:
            yield ready
    if sealing:
        yield await sealing


async def _some_pieces(tx: db.Tx, staged: Staged) -> AsyncIterator[list[tuple[int, bytes]]]:
    """As many pieces at a time as hold about ``CODES_IN_CHUNK`` codes."""
    upload = staged.upload
    count = max(1, min(PIECES_IN_CHUNK, CODES_IN_CHUNK * upload.pieces // upload.lines))
    some = []
    async for position, blob in staged.pieces(tx.fetchval):
        some.append((position, blob))
        if len(some) == count:
            yield some
            some = []
    if some:
        yield some


async def _new_ids(tx: db.Tx, count: int) -> Iterator[int]:
    """Ids for codes. The sequence counts in blocks: one call of it gives ``IDS_IN_BLOCK``."""
    rows = await tx.fetch(
        "SELECT nextval('vault_code_id_seq') AS first FROM generate_series(1, $1::int)", -(-count // IDS_IN_BLOCK)
    )
    return chain.from_iterable(range(row["first"], row["first"] + IDS_IN_BLOCK) for row in rows)


# -- refused lines ----------------------------------------------------------------------


async def _keep_rejects(tx: db.Tx, rejects: list[Reject]) -> None:
    if rejects:
        await tx.copy("import_reject", ["line", "reason", "mask"], rejects)


async def _finish_rejects(tx: db.Tx, staged: Staged, good: int) -> Findings:
    """Seal the refused lines in the order of the file, count them and take the first few of each kind."""
    await tx.execute("DELETE FROM vault_import_reject WHERE import_id = $1", staged.id)
    reasons = {
        row["reason"]: row["times"]
        for row in await tx.fetch("SELECT reason, count(*) AS times FROM import_reject GROUP BY reason")
    }
    samples: dict[str, list[tuple[int, str]]] = {reason: [] for reason in reasons}
    waiting: list[Reject] = []
    position = 0
    async for row in tx.connection.cursor("SELECT line, reason, mask FROM import_reject ORDER BY line", prefetch=1000):
        reject = Reject(*row)
        if len(samples[reject.reason]) < SAMPLES:
            samples[reject.reason].append((reject.line, reject.mask))
        waiting.append(reject)
        if len(waiting) == REJECTS_IN_PIECE:
            await _store_rejects(tx, staged, position, waiting)
            waiting, position = [], position + 1
    if waiting:
        await _store_rejects(tx, staged, position, waiting)
    return Findings(counts=_counts(good, reasons), reasons=reasons, samples=samples)


async def _store_rejects(tx: db.Tx, staged: Staged, position: int, rejects: list[Reject]) -> None:
    await tx.execute(
        "INSERT INTO vault_import_reject (import_id, position, blob) VALUES ($1, $2, $3)",
        staged.id,
        position,
        staged.seal_rejects(position, rejects),
    )


def _counts(new: int, reasons: dict[str, int]) -> Counts:
    doubles = {reason.value: reasons.get(reason, 0) for reason in DUPLICATES}
    return Counts(new=new, malformed=sum(reasons.values()) - sum(doubles.values()), **doubles)


# -- whole acts, each the work of one transaction ---------------------------------------


async def run_check(tx: db.Tx, import_id: int, meter: Meter, guard: Guard) -> None:
    """Do the dry run that staff asked for. Done already, or no longer wanted: nothing happens."""
    row = await _locked(tx, import_id, "checking")
    if row is None:
        return
    staged = Staged(row)
    meter.total = staged.upload.lines
    findings = await check(tx, staged, _mapping(staged), meter)
    await guard(tx)
    await tx.execute(
        "UPDATE vault_import SET state = 'checked', report = report || $2, updated_at = now() WHERE id = $1",
        import_id,
        {"findings": msgspec.to_builtins(findings)},
    )


async def run_import(
    tx: db.Tx, import_id: int, facts: BatchFacts, staff_id: int | None, meter: Meter, guard: Guard
) -> None:
    """Do the import that staff asked for. Done already: nothing happens."""
    row = await _locked(tx, import_id, "importing")
    if row is None:
        return
    staged = Staged(row)
    meter.total = staged.upload.lines
    batch_id, findings = await store(tx, staged, _mapping(staged), facts, staff_id, meter)
    await tx.execute("DELETE FROM vault_import_piece WHERE import_id = $1", import_id)
    await tx.execute(
        "UPDATE vault_import SET state = 'done', batch_id = $2, report = report || $3, updated_at = now()"
        " WHERE id = $1",
        import_id,
        batch_id,
        {"findings": msgspec.to_builtins(findings)},
    )
    await audit.record(
        tx,
        f"staff:{staff_id}" if staff_id else "system",
        "stock.import",
        f"import:{import_id}",
        {"batch_id": batch_id, "name": facts.name, "new": findings.counts.new},
        shop_id=staged.shop_id,
    )
    await guard(tx)
    crash_point("import_before_commit")


async def _locked(tx: db.Tx, import_id: int, state: str) -> asyncpg.Record | None:
    return await tx.fetchrow(
        "SELECT id, shop_id, sku_id, report, mapping, sealed_key FROM vault_import WHERE id = $1 AND state = $2"
        " FOR UPDATE",
        import_id,
        state,
    )


def _mapping(staged: Staged) -> Mapping:
    if staged.mapping is None:
        raise UploadError("bad_mapping")
    return staged.mapping


async def no_guard(tx: db.Tx) -> None:
    """For a caller that holds no lease, such as the command line."""
