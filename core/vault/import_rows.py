"""Lines of an upload to codes, each with its line number; what is not a code leaves as a reject."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

import msgspec

from core.vault.code_text import MAX_CODE, Problem, clean, mask_line, problem
from core.vault.import_layout import QUOTED, Mapping, split
from core.vault.import_text import MAX_LINE, UTF8, LineReader

MAX_NOTE = 200
# A quoted cell may hold line breaks, but a stray quote must not swallow the file.
MAX_QUOTED_LINES = 50
DATE = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?(?:[T ].*)?")

Cell = str | Problem


class Reject(NamedTuple):
    line: int
    reason: str
    mask: str


class Extra(NamedTuple):
    note: str
    expires_on: date | None


NO_EXTRA = Extra("", None)


@dataclass(slots=True)
class Rows:
    """Some lines of the file, read. ``lines``, ``codes`` and ``extras`` run side by side."""

    lines: list[int] = field(default_factory=list)
    codes: list[str] = field(default_factory=list, repr=False)
    extras: list[Extra] | None = field(default=None, repr=False)
    rejects: list[Reject] = field(default_factory=list)
    last_line: int = 0


class RowReader:
    """Takes the pieces of an upload one by one and gives the rows that are whole by then."""

    def __init__(self, mapping: Mapping, kind: str, today: date) -> None:
        self._mapping = mapping
        self._today = today
        self._lines = LineReader(UTF8 if kind == "sheet" else mapping.encoding)
        self._cells = _SheetCells() if kind == "sheet" else _TextCells(mapping.separator)
        self._plain = kind == "text" and not mapping.separator and not mapping.header
        self._line = 0
        self._lines_before = mapping.lines_before

    def feed(self, piece: bytes, *, final: bool = False) -> Rows:
        lines = self._lines.feed(piece, final=final)
        rows = self._one_column(lines) if self._plain else self._table(lines, final)
        rows.last_line = self._line
        return rows

    def _one_column(self, lines: list[str]) -> Rows:
        rows = _all_plain(lines, self._line + 1) or _one_by_one(lines, self._line + 1)
        self._line += len(lines)
        return rows

    def _table(self, lines: list[str], final: bool) -> Rows:
        rows = Rows()
        wants_extra = self._mapping.expiry_column is not None or self._mapping.note_column is not None
        if wants_extra:
            rows.extras = []
        for number, cells in self._cells.rows(lines, final):
            self._line = number
            if isinstance(cells, Refused):
                rows.rejects.append(Reject(number, cells.reason, mask_line(cells.text)))
            elif any(cells):
                if self._lines_before:
                    self._lines_before -= any(_texts(cells))
                else:
                    self._take(rows, number, cells)
        return rows

    def _take(self, rows: Rows, number: int, cells: list[Cell]) -> None:
        try:
            code = self._code(cells)
            extra = self._extra(cells)
        except Unfit as unfit:
            first = next((str(cells[at]) for at in self._mapping.code_columns if at < len(cells)), "")
            rows.rejects.append(Reject(number, unfit.reason, mask_line(first)))
            return
        rows.lines.append(number)
        rows.codes.append(code)
        if rows.extras is not None:
            rows.extras.append(extra)

    def _code(self, cells: list[Cell]) -> str:
        mapping = self._mapping
        if len(cells) > mapping.width and any(cells[mapping.width :]):
            raise Unfit(Problem.TOO_MANY_COLUMNS)
        parts = []
        for at in mapping.code_columns:
            if at >= len(cells):
                raise Unfit(Problem.TOO_FEW_COLUMNS)
            cell = cells[at]
            if isinstance(cell, Problem):
                raise Unfit(cell)
            if isinstance(cell, DateCell):
                raise Unfit(Problem.NOT_TEXT)
            part = clean(cell)
            wrong = problem(part)
            if wrong:
                raise Unfit(wrong)
            parts.append(part)
        code = mapping.joiner.join(parts)
        wrong = problem(code)
        if wrong:
            raise Unfit(wrong)
        return code

    def _extra(self, cells: list[Cell]) -> Extra:
        mapping = self._mapping
        if mapping.expiry_column is None and mapping.note_column is None:
            return NO_EXTRA
        note = _cell(cells, mapping.note_column)
        expires_on = _date(_cell(cells, mapping.expiry_column))
        if expires_on is not None and expires_on < self._today:
            raise Unfit(Problem.EXPIRED)
        return Extra("".join(sign for sign in clean(note) if sign.isprintable())[:MAX_NOTE], expires_on)


def _all_plain(lines: list[str], first: int) -> Rows | None:
    """The rows when every line is a plain code; looking at all of them at once is three times faster."""
    text = "".join(lines)
    if not text.isascii() or not text.isprintable() or "+" in text:
        return None
    codes = [line.strip() for line in lines]
    if not all(codes) or max(map(len, codes), default=0) > MAX_CODE:
        return None
    return Rows(list(range(first, first + len(codes))), codes)


def _one_by_one(lines: list[str], first: int) -> Rows:
    rows = Rows()
    for number, line in enumerate(lines, first):
        code = clean(line)
        wrong = problem(code)
        if wrong is None:
            rows.lines.append(number)
            rows.codes.append(code)
        elif wrong is not Problem.EMPTY:
            rows.rejects.append(Reject(number, wrong, mask_line(code)))
    return rows


class Unfit(Exception):
    """A row that gives no code."""

    def __init__(self, reason: Problem) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Refused(NamedTuple):
    """A line that cannot even be cut into cells."""

    reason: Problem
    text: str


def _cell(cells: list[Cell], at: int | None) -> str:
    if at is None or at >= len(cells):
        return ""
    cell = cells[at]
    return "" if isinstance(cell, Problem) else cell


def _date(text: str) -> date | None:
    if not text.strip():
        return None
    match = DATE.fullmatch(text.strip())
    try:
        if match:
            return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        pass
    raise Unfit(Problem.BAD_DATE)


# -- cells ------------------------------------------------------------------------------


class DateCell(str):
    """A cell that a spreadsheet holds as a date: good as an expiry, never a code."""

    __slots__ = ()


class NumberCell(str):
    """A cell that a spreadsheet holds as a number. It may show zeros at the beginning that it does not hold."""

    __slots__ = ()


# What import_sheet writes for a cell that holds no text.
SHEET_PROBLEMS = {1: Problem.LOST_DIGITS, 2: Problem.NOT_TEXT}


class _SheetCells:
    """Rows that ``import_sheet`` wrote: in each line a JSON list of texts, [dates], numbers and problems."""

    def __init__(self) -> None:
        self._number = 0

    def rows(self, lines: list[str], final: bool) -> Iterator[tuple[int, list[Cell] | Refused]]:
        for line in lines:
            self._number += 1
            cells = msgspec.json.decode(line, type=list[str | int | list[str] | dict[str, str]])
            yield self._number, [cell if isinstance(cell, str) else _odd_cell(cell) for cell in cells]


def _odd_cell(cell: int | list[str] | dict[str, str]) -> Cell:
    if isinstance(cell, dict):
        return NumberCell(cell["number"])
    return SHEET_PROBLEMS[cell] if isinstance(cell, int) else DateCell(cell[0])


class _TextCells:
    """Lines cut at a separator. A quoted cell may run over several lines."""

    def __init__(self, separator: str) -> None:
        self._separator = separator
        self._number = 0
        self._waiting: list[str] = []

    def rows(self, lines: list[str], final: bool) -> Iterator[tuple[int, list[Cell] | Refused]]:
        todo = self._waiting + lines
        self._waiting = []
        at = 0
        while at < len(todo):
            line, taken = todo[at], 1
            if len(line) > MAX_LINE:
                row: list[Cell] | Refused = Refused(Problem.TOO_LONG, line)
            elif not self._opens_quote(line):
                row = list(split(line, self._separator))
            else:
                ahead = todo[at : at + MAX_QUOTED_LINES]
                closing = next((n for n, more in enumerate(ahead[1:], 1) if more.count('"') % 2), 0)
                if not closing and len(ahead) < MAX_QUOTED_LINES and not final:
                    self._waiting = todo[at:]
                    return
                row, taken = self._quoted(ahead, closing)
            yield self._number + 1, row
            self._number += taken
            at += taken

    def _opens_quote(self, line: str) -> bool:
        if '"' not in line or self._separator not in QUOTED or line.count('"') % 2 == 0:
            return False
        return line.startswith('"') or f'{self._separator}"' in line

    def _quoted(self, ahead: list[str], closing: int) -> tuple[list[Cell] | Refused, int]:
        text = "\n".join(ahead[: closing + 1])
        if not closing or len(text) > MAX_LINE:
            return Refused(Problem.OPEN_QUOTE, ahead[0]), 1
        try:
            return list(next(csv.reader([text], delimiter=self._separator, strict=True))), closing + 1
        except csv.Error:
            return Refused(Problem.OPEN_QUOTE, ahead[0]), 1


# -- the beginning of a file, for guessing and for the preview --------------------------


def first_lines(pieces: Iterable[bytes], kind: str, encoding: str, count: int) -> list[str]:
    reader = LineReader(UTF8 if kind == "sheet" else encoding)
    lines: list[str] = []
    for piece in pieces:
        lines += reader.feed(piece)
        if len(lines) >= count:
            return lines[:count]
    return (lines + reader.feed(b"", final=True))[:count]


def cells_of(lines: list[str], kind: str, separator: str) -> list[tuple[int, list[str]]]:
    """Line numbers and cells; a line that cannot be cut has none."""
    cutter = _SheetCells() if kind == "sheet" else _TextCells(separator)
    return [(number, _texts(row)) for number, row in cutter.rows(lines, final=True)]


def _texts(row: list[Cell] | Refused) -> list[str]:
    return [] if isinstance(row, Refused) else ["" if isinstance(cell, Problem) else cell for cell in row]
