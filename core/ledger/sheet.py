"""Tables for spreadsheet programs: CSV that cannot hide a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")
BOM = "\ufeff"
"""Without it Excel takes the file for the code page of the computer, and Chinese is lost."""


def cell(value: object) -> str:
    """Text that a spreadsheet shows and never runs. What begins like a formula gets an apostrophe before it.

    A number is none: of a loss, too, a spreadsheet shall make a sum.
    """
    if isinstance(value, int | Decimal):
        return str(value)
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """A file of comma-separated values: RFC 4180, with the byte order mark by which Excel knows UTF-8.

    Cells that a spreadsheet would take for a formula are made plain text.
    """
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerows([cell(value) for value in row] for row in rows)
    return BOM + written.getvalue()
