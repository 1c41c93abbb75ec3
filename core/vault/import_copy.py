"""Codes in PostgreSQL's binary COPY format.

Written by hand because it is the inner loop of an import: asyncpg's own encoder takes as long per code as
AES-GCM and HMAC together, and it cannot run in the thread that seals.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from itertools import repeat

from core.db import Tx
from core.vault.import_rows import Extra

START = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
EPOCH = date(2000, 1, 1)

COLUMNS = ["id", "shop_id", "sku_id", "batch_id", "slot", "blob", "fingerprint", "mask"]
EXTRA_COLUMNS = ["note", "expires_on"]
ID = struct.Struct(">q")
SIZE = struct.Struct(">i")
SAME = struct.Struct(">iqiqiqi")


@dataclass(frozen=True, slots=True)
class SealedCodes:
    """Sealed codes of one batch; the lists run side by side."""

    shop_id: int
    sku_id: int
    batch_id: int
    ids: list[int]
    blobs: list[bytes]
    marks: list[bytes]
    masks: list[str]
    extras: list[Extra] | None = field(default=None, repr=False)

    def without(self, known: dict[bytes, str]) -> SealedCodes:
        kept = [at for at, mark in enumerate(self.marks) if mark not in known]
        return SealedCodes(
            self.shop_id,
            self.sku_id,
            self.batch_id,
            [self.ids[at] for at in kept],
            [self.blobs[at] for at in kept],
            [self.marks[at] for at in kept],
            [self.masks[at] for at in kept],
            self.extras and [self.extras[at] for at in kept],
        )


def packed(codes: SealedCodes) -> bytes:
    """The codes as the input of ``copy_in``. The slot is the beginning of the fingerprint: it is random, and
    both indexes are filled in one order."""
    width = len(COLUMNS) + (len(EXTRA_COLUMNS) if codes.extras is not None else 0)
    first = struct.pack(">hi", width, 8)
    same = SAME.pack(8, codes.shop_id, 8, codes.sku_id, 8, codes.batch_id, 4)
    mark_size = SIZE.pack(32)
    sizes = [SIZE.pack(number) for number in range(512)]
    parts = [START]
    extras = map(_extra, codes.extras) if codes.extras is not None else repeat(b"")
    for code_id, blob, mark, shown, extra in zip(
        codes.ids, codes.blobs, codes.marks, codes.masks, extras, strict=False
    ):
        text = shown.encode()
        size = len(blob)
        parts += (
            first, ID.pack(code_id), same, mark[:4], sizes[size] if size < 512 else SIZE.pack(size), blob,
            mark_size, mark, sizes[len(text)], text, extra,
        )  # fmt: skip
    parts.append(END)
    return b"".join(parts)


def _extra(extra: Extra) -> bytes:
    note = extra.note.encode()
    if extra.expires_on is None:
        return SIZE.pack(len(note)) + note + NULL
    return SIZE.pack(len(note)) + note + SIZE.pack(4) + SIZE.pack((extra.expires_on - EPOCH).days)


async def copy_in(tx: Tx, data: bytes, *, extras: bool) -> None:
    columns = COLUMNS + EXTRA_COLUMNS * extras
    await tx.connection.copy_to_table("vault_code", source=BytesIO(data), columns=columns, format="binary")
