"""Pages that look the same to everyone are kept for two seconds, encoded and compressed."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Hashable
from dataclasses import dataclass

from core.web import once

TTL = 2.0
MOST_PAGES = 512
MOST_BYTES = 512_000
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Page:
    expires: float
    headers: Headers
    parts: list[bytes]
    """The body, cut where a fresh key goes in."""
    packed: list[bytes]
    """Each part as a piece of one deflate stream, so that only the keys are added when it is sent."""

    def body(self) -> bytes:
        if len(self.parts) == 1:
            return self.parts[0]
        return self.parts[0] + b"".join(once.fresh().encode() + part for part in self.parts[1:])

    def gzipped(self) -> bytes:
        crc = zlib.crc32(self.parts[0])
        size = len(self.parts[0])
        out = [GZIP_HEAD, self.packed[0]]
        for part, packed in zip(self.parts[1:], self.packed[1:], strict=True):
            key = once.fresh().encode()
            crc = zlib.crc32(part, zlib.crc32(key, crc))
            size += len(key) + len(part)
            out += [_stored(key), packed]
        out.append(struct.pack("<LL", crc, size & 0xFFFFFFFF))
        return b"".join(out)


def _stored(data: bytes) -> bytes:
    """``data`` as one uncompressed deflate block."""
    return b"\x00" + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data


def _packed(parts: list[bytes]) -> list[bytes]:
    packed = []
    for index, part in enumerate(parts):
        squeezer = zlib.compressobj(6, zlib.DEFLATED, -15)
        last = index == len(parts) - 1
        packed.append(squeezer.compress(part) + squeezer.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH))
    return packed


class PageCache:
    def __init__(self, ttl: float = TTL) -> None:
        self._ttl = ttl
        self._pages: dict[Hashable, Page] = {}

    def __len__(self) -> int:
        return len(self._pages)

    def get(self, key: Hashable) -> Page | None:
        page = self._pages.get(key)
        if page is None or page.expires > time.monotonic():
            return page
        del self._pages[key]
        return None

    def put(self, key: Hashable, headers: Headers, body: bytes) -> Page:
        parts = body.split(once.MARK.encode())
        page = Page(time.monotonic() + self._ttl, headers, parts, _packed(parts))
        if len(body) <= MOST_BYTES:
            if len(self._pages) >= MOST_PAGES:
                self._pages.clear()
            self._pages[key] = page
        return page

    def clear(self) -> None:
        self._pages.clear()
