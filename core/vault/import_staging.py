"""An upload waiting for its import: sealed pieces in the database, under a key made for it alone.

Nothing of an upload is ever written in the clear, and any machine can do the import.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

import msgspec

from core import db
from core.refused import Refused
from core.vault import import_sheet
from core.vault.cipher import OneKey, new_key, open_secret, seal_secret
from core.vault.code_text import Problem
from core.vault.import_layout import Mapping
from core.vault.import_rows import Reject
from core.vault.import_text import OTHER_FILES, SHEETS, UTF8, Sniffer, is_page
from core.vault.import_words import REFUSALS

PIECE = 1 << 19
MAX_TEXT = 1 << 28
MAX_SHEET = 1 << 26
REJECTS_IN_PIECE = 4000
HEAD = 64

FetchVal = Callable[..., Awaitable[Any]]


class UploadError(Refused):
    """An upload, or a wish about one, that cannot be followed. ``reason`` is a word that import_words explains."""

    def __init__(self, reason: str) -> None:
        super().__init__(REFUSALS[reason])
        self.reason = reason


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a staged file; kept in ``vault_import.report`` under "upload"."""

    kind: Literal["text", "sheet"]
    pieces: int
    lines: int
    size: int
    encoding: str = UTF8
    sheet: str = ""
    sheets: tuple[str, ...] = ()


async def stage(
    shop_id: int, sku_id: int, filename: str, staff_id: int | None, stream: AsyncIterator[bytes], sheet: str | None
) -> int:
    """Seal an upload into the database; the import exists for others only when its last piece is in."""
    import_id = await db.fetchval(
        "INSERT INTO vault_import (shop_id, sku_id, filename, created_by, state)"
        " VALUES ($1, $2, $3, $4, 'dropped') RETURNING id",
        shop_id,
        sku_id,
        filename[-200:],
        staff_id,
    )
    key = new_key()
    writer = _Writer(import_id, OneKey(key))
    try:
        upload = await _store(writer, stream, sheet)
    except BaseException:
        await db.execute("DELETE FROM vault_import WHERE id = $1", import_id)
        raise
    await db.execute(
        "UPDATE vault_import SET state = 'staged', sealed_key = $2, report = $3, mapping = $4, updated_at = now()"
        " WHERE id = $1",
        import_id,
        seal_secret(_purpose(import_id), key),
        {"upload": msgspec.to_builtins(upload)},
        {},
    )
    return import_id


def _purpose(import_id: int) -> str:
    return f"vault.import/{import_id}"


class _Writer:
    """Cuts what it is given into pieces of one size and stores each sealed."""

    def __init__(self, import_id: int, key: OneKey) -> None:
        self._import_id = import_id
        self._key = key
        self._buffer = bytearray()
        self.sniffer = Sniffer()
        self.pieces = self.size = 0

    async def write(self, data: bytes) -> None:
        self._buffer += data
        self.size += len(data)
        while len(self._buffer) >= PIECE:
            await self._store(bytes(self._buffer[:PIECE]))
            del self._buffer[:PIECE]

    async def close(self) -> None:
        if self._buffer:
            await self._store(bytes(self._buffer))

    async def _store(self, piece: bytes) -> None:
        self.sniffer.feed(piece)
        await db.execute(
            "INSERT INTO vault_import_piece (import_id, position, blob) VALUES ($1, $2, $3)",
            self._import_id,
            self.pieces,
            self._key.seal("piece", self.pieces, piece),
        )
        self.pieces += 1


async def _store(writer: _Writer, stream: AsyncIterator[bytes], sheet: str | None) -> Upload:
    head = b""
    async for chunk in stream:
        head += chunk
        if len(head) >= HEAD:
            break
    if head[:4] in SHEETS:
        return await _store_sheet(writer, await _whole(head, stream), sheet)
    if head.startswith(OTHER_FILES):
        raise UploadError("not_text")
    if is_page(head):
        raise UploadError("page")
    return await _store_text(writer, head, stream)


async def _store_text(writer: _Writer, head: bytes, stream: AsyncIterator[bytes]) -> Upload:
    await writer.write(head)
    async for chunk in stream:
        await writer.write(chunk)
        if writer.size > MAX_TEXT:
            raise UploadError("too_big")
    await writer.close()
    sniffer = writer.sniffer
    if not writer.size:
        raise UploadError("empty")
    if not sniffer.is_text():
        raise UploadError("not_text")
    return Upload(kind="text", pieces=writer.pieces, lines=sniffer.lines, size=writer.size, encoding=sniffer.encoding())


async def _whole(head: bytes, stream: AsyncIterator[bytes]) -> bytes:
    file = bytearray(head)
    async for chunk in stream:
        file += chunk
        if len(file) > MAX_SHEET:
            raise UploadError("too_big")
    return bytes(file)


async def _store_sheet(writer: _Writer, file: bytes, wanted: str | None) -> Upload:
    found = None
    try:
        async for part in import_sheet.read(file, wanted):
            if isinstance(part, bytes):
                await writer.write(part)
            else:
                found = part
    except import_sheet.SheetError as error:
        raise UploadError(error.reason) from None
    await writer.close()
    if found is None or not writer.pieces:
        raise UploadError("empty")
    return Upload(
        kind="sheet",
        pieces=writer.pieces,
        lines=writer.sniffer.lines,
        size=len(file),
        sheet=found.name,
        sheets=found.names,
    )


# -- reading back -----------------------------------------------------------------------


class Staged:
    """A staged upload, opened."""

    def __init__(self, row: Any) -> None:
        self.id: int = row["id"]
        self.shop_id: int = row["shop_id"]
        self.sku_id: int = row["sku_id"]
        self.upload = msgspec.convert(row["report"]["upload"], Upload)
        self.mapping = msgspec.convert(row["mapping"], Mapping) if row["mapping"] else None
        self._key = OneKey(open_secret(_purpose(self.id), row["sealed_key"]))

    async def pieces(self, fetchval: FetchVal) -> AsyncIterator[tuple[int, bytes]]:
        """The sealed pieces in their order."""
        for position in range(self.upload.pieces):
            blob = await fetchval(
                "SELECT blob FROM vault_import_piece WHERE import_id = $1 AND position = $2", self.id, position
            )
            if blob is None:
                raise UploadError("incomplete")
            yield position, blob

    def open(self, position: int, blob: bytes) -> bytes:
        return self._key.open("piece", position, blob)

    def seal_rejects(self, position: int, rejects: list[Reject]) -> bytes:
        return self._key.seal("reject", position, msgspec.json.encode(rejects))

    def open_rejects(self, position: int, blob: bytes) -> list[Reject]:
        rows = msgspec.json.decode(self._key.open("reject", position, blob), type=list[tuple[int, str, str]])
        return [Reject(line, Problem(reason), masked) for line, reason, masked in rows]
