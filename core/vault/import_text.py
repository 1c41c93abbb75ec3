"""From the bytes of an uploaded text file to lines: which encoding, where lines end."""

from __future__ import annotations

import codecs

MAX_LINE = 32_768

# Where a byte order mark stands, Python's own decoders for it drop the mark.
UTF8, UTF16, GB18030 = "utf-8-sig", "utf-16", "gb18030"
ENCODINGS = (UTF8, GB18030, UTF16)
TEXT_CONTROLS = b"\t\n\r\f\x0b\x1a\x1b"
CONTROLS = bytes(set(range(32)) - set(TEXT_CONTROLS))

SHEETS = {b"PK\x03\x04": "zip", b"\xd0\xcf\x11\xe0": "xls"}
OTHER_FILES = (
    b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf", b"\x7fELF", b"SQLite f",
)  # fmt: skip

# What many shop systems export as .xls is a page.
PAGES = (b"<html", b"<table", b"<!doctype", b"<?xml")


def is_page(head: bytes) -> bool:
    return head.removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith(PAGES)


class Sniffer:
    """Looks at a whole file, piece by piece, and says how its text is written."""

    def __init__(self) -> None:
        self._ends = 0
        self._last = b""
        self._head = b""
        self._seen = self._controls = 0
        self._open = {name: codecs.getincrementaldecoder(name)() for name in (UTF8, GB18030)}

    def feed(self, piece: bytes) -> None:
        if len(self._head) < 4:
            self._head += piece[: 4 - len(self._head)]
        self._seen += len(piece)
        self._controls += len(piece) - len(piece.translate(None, CONTROLS))
        self._ends += piece.count(b"\n") + piece.count(b"\r") - piece.count(b"\r\n")
        self._last = piece[-2:].rstrip(b"\0")[-1:]
        self._decode(piece, final=False)

    def _decode(self, piece: bytes, *, final: bool) -> None:
        if piece.isascii() and not final and not any(decoder.getstate()[0] for decoder in self._open.values()):
            return
        for name, decoder in list(self._open.items()):
            try:
                decoder.decode(piece, final)
            except UnicodeDecodeError:
                del self._open[name]

    @property
    def lines(self) -> int:
        """At least as many as there are; UTF-16 counts an end of line twice."""
        return self._ends + (self._last not in b"\r\n")

    def is_text(self) -> bool:
        """A few stray control signs are problems of their lines; many say that this is no text at all."""
        return self._has_utf16_mark() or self._controls * 100 <= self._seen + 1000

    def encoding(self) -> str:
        """UTF-8 when all of it is; else GB18030 when all of it is; else UTF-8, and its bad lines are reported."""
        if self._has_utf16_mark():
            return UTF16
        self._decode(b"", final=True)
        return GB18030 if UTF8 not in self._open and GB18030 in self._open else UTF8

    def _has_utf16_mark(self) -> bool:
        return self._head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class LineReader:
    """Takes the pieces of a file one by one and gives the lines that are whole by then.

    Only ``\\n``, ``\\r\\n`` and ``\\r`` end a line, so that line numbers are those of any editor. A line without
    end is cut, never kept: it stays longer than ``MAX_LINE`` and so is refused.
    """

    def __init__(self, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._rest = ""
        self._held = ""

    def feed(self, piece: bytes, *, final: bool = False) -> list[str]:
        text = self._held + self._decoder.decode(piece, final)
        self._held = ""
        if text.endswith("\r") and not final:
            text, self._held = text[:-1], "\r"
        text = self._rest + text
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = text.split("\n")
        self._rest = lines.pop()[: MAX_LINE + 1]
        if final and self._rest:
            lines.append(self._rest)
        return lines
