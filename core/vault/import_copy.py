"""Codes in PostgreSQL's binary COPY format.

Written by hand because it is the inner loop of an import: asyncpg's own encoder takes as long per code as
AES-GCM and HMAC together, and it cannot run in the thread that seals.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache

from core.db import Tx
from core.vault.import_rows import Extra
from core.vault.stock import slot

START = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
EPOCH = date(2000, 1, 1)

COLUMNS = ["shop_id", "sku_id", "batch_id", "id", "slot", "fingerprint", "blob", "mask"]
EXTRA_COLUMNS = ["note", "expires_on"]
SIZE = struct.Struct(">i")
SLOT = struct.Struct(">i")
MARK = struct.Struct(">I28x")
# The number of columns and the three that all codes of a batch share; then the id, then the slot.
SHARED = struct.Struct(">h iq iq iq")
SLOT_AT = SHARED.size + 12 + 4
# About what the socket takes at once; more would only be copied twice.
ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class SealedCodes:
    """Sealed codes of one batch; the lists run side by side. Without slots their places follow the fingerprints."""

    shop_id: int
    sku_id: int
    batch_id: int
    ids: Sequence[int]
    blobs: list[bytes]
    marks: list[bytes]
    masks: list[str]
    extras: list[Extra] | None = field(default=None, repr=False)
    slots: Sequence[int] | None = None


@lru_cache(maxsize=4096)
def _row(blob_size: int, mask_size: int) -> Callable[..., bytes]:
    """Packs what all codes share, then each column with its size before it."""
    return struct.Struct(f">{SHARED.size}s iq ii i32s i{blob_size}s i{mask_size}s").pack


def packed(codes: SealedCodes) -> list[bytes]:
    """Each code as ``copy_in`` takes it."""
    width = len(COLUMNS) + len(EXTRA_COLUMNS) * (codes.extras is not None)
    shared = SHARED.pack(width, 8, codes.shop_id, 8, codes.sku_id, 8, codes.batch_id)
    slots = codes.slots if codes.slots is not None else _slots(codes)
    rows = []
    for code_id, place, blob, mark, shown in zip(codes.ids, slots, codes.blobs, codes.marks, codes.masks, strict=True):
        text = shown.encode()
        size, shown_size = len(blob), len(text)
        row = _row(size, shown_size)
        rows.append(row(shared, 8, code_id, 4, place, 32, mark, size, blob, shown_size, text))
    if codes.extras is None:
        return rows
    return [row + _extra(extra) for row, extra in zip(rows, codes.extras, strict=True)]


def _slots(codes: SealedCodes) -> list[int]:
    if codes.extras is None:
        # what slot() gives for a code without a date, three times as fast
        return [number >> 1 for (number,) in MARK.iter_unpack(b"".join(codes.marks))]
    return [slot(mark, extra.expires_on) for mark, extra in zip(codes.marks, codes.extras, strict=True)]


def at_slot(row: bytes, place: int) -> bytes:
    """The same code at another place in the order of sale."""
    return row[:SLOT_AT] + SLOT.pack(place) + row[SLOT_AT + SLOT.size :]


def _extra(extra: Extra) -> bytes:
    note = extra.note.encode()
    if extra.expires_on is None:
        return SIZE.pack(len(note)) + note + NULL
    return SIZE.pack(len(note)) + note + SIZE.pack(4) + SIZE.pack((extra.expires_on - EPOCH).days)


async def copy_in(tx: Tx, rows: list[bytes], *, extras: bool) -> None:
    columns = COLUMNS + EXTRA_COLUMNS * extras
    await tx.connection.copy_to_table(
        "vault_code", source=_stream(rows), columns=columns, format="binary", timeout=tx.seconds
    )


async def _stream(rows: list[bytes]) -> AsyncIterator[bytes]:
    """Read by the event loop itself: asyncpg would read a file in a thread, which waits for the one that seals."""
    yield START
    for at in range(0, len(rows), ROWS_AT_ONCE):
        yield b"".join(rows[at : at + ROWS_AT_ONCE])
    yield END
