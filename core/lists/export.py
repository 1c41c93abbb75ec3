"""A list as a file: exactly the rows of its filters and the columns that are shown."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from core.ledger.sheet import BOM, FORMULA
from core.money import Money
from core.web.i18n import _
from core.web.lists import Badge, Cell, Column, Many, Wanted, kind_of, visible
from core.web.xlsx import XLSX, XlsxFile

MOST = 200_000
AT_ONCE = 1000
LONG_NUMBER = 12
"""A spreadsheet makes a rounded number of so many digits in a row, so they go as text."""
FORMS = {"csv": ("utf-8", "csv", "text/csv"), "gb": ("gb18030", "csv", "text/csv")}

Table = list[list[Any]]


def columns_of(want: Wanted) -> list[Column]:
    return [one for one in visible(want.listing, want.asked) if one.title and one.value]


async def table(want: Wanted, keys: list[Any]) -> AsyncIterator[Table]:
    """Its head, then its rows, some at a time. An amount stands in two columns: the number, and its currency."""
    columns = columns_of(want)
    zone = ZoneInfo(want.scope.timezone)
    money: set[str] = set()
    chunk = await want.rows(keys[:AT_ONCE])
    for at in range(0, max(len(keys), 1), AT_ONCE):
        values = [[one.of(row) for one in columns] for row in chunk]
        if at == 0:
            money = {one.key for n, one in enumerate(columns) if any(isinstance(row[n], Money) for row in values)}
            yield [[text for one in columns for text in _head(one, one.key in money)]]
        yield [_row(columns, row, money, zone) for row in values]
        chunk = await want.rows(keys[at + AT_ONCE : at + 2 * AT_ONCE])


def _head(column: Column, money: bool) -> list[str]:
    return [str(column.title), str(_("Currency"))] if money else [str(column.title)]


def _row(columns: list[Column], values: list[Any], money: set[str], zone: ZoneInfo) -> list[Any]:
    cells: list[Any] = []
    for column, value in zip(columns, values, strict=True):
        cells.append(plain(value, zone))
        if column.key in money:
            cells.append(value.currency if isinstance(value, Money) else "")
    return cells


def plain(value: Any, zone: ZoneInfo) -> Any:
    """Text, a number, a day or a moment in the shop's zone."""
    match kind_of(value):
        case "none":
            return ""
        case "money":
            return Decimal(value.plain())
        case "time":
            return value.astimezone(zone).replace(tzinfo=None, microsecond=0)
        case "badge":
            return str(value.text)
        case "cell":
            return _cell(value)
        case "many":
            return _many(value, zone)
        case "bool":
            return str(_("Yes") if value else _("No"))
        case "day" | "number":
            return value
    return str(value)


def _cell(value: Cell) -> Any:
    if isinstance(value.text, int) and not value.badges:
        return value.text
    parts = [value.text, *(one.text for one in value.badges), value.note]
    return " · ".join(str(part) for part in parts if part not in (None, ""))


def _many(value: Many, zone: ZoneInfo) -> Any:
    if len({one.currency for one in value.items if isinstance(one, Money)}) > 1:
        return " / ".join(f"{one.plain()} {one.currency}" for one in value.items)
    parts = [plain(one, zone) if not isinstance(one, Badge) else str(one.text) for one in value.items]
    return parts[0] if len(parts) == 1 and isinstance(parts[0], int | Decimal) else " / ".join(map(str, parts))


# -- as a file --------------------------------------------------------------------------


def safe(value: Any) -> str:
    """For CSV: nothing that a spreadsheet program would run or round."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        text = value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)
        text = text.replace("\0", "")
        long_number = text.isascii() and text.isdigit() and len(text) >= LONG_NUMBER
        return f"'{text}" if text.startswith(FORMULA) or long_number else text
    return str(value)


def csv_lines(rows: Iterable[list[Any]]) -> str:
    import csv

    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerows([safe(value) for value in row] for row in rows)
    return written.getvalue()


class CsvFile:
    def __init__(self, form: str) -> None:
        self._encoding = FORMS[form][0]
        self._written = io.BytesIO()
        if self._encoding == "utf-8":
            self._written.write(BOM.encode())

    def add(self, rows: Table) -> None:
        self._written.write(csv_lines(rows).encode(self._encoding, "replace"))

    def bytes(self) -> bytes:
        return self._written.getvalue()


def new_file(form: str) -> CsvFile | XlsxFile:
    return XlsxFile() if form == "xlsx" else CsvFile(form)


def media_type(file_name: str) -> str:
    return XLSX if file_name.endswith(".xlsx") else "text/csv"


def name_of(want: Wanted, form: str, at: datetime) -> str:
    """With the day that it is in the shop."""
    day = at.astimezone(ZoneInfo(want.scope.timezone))
    return f"{want.listing.name}-{day:%Y-%m-%d}.{'xlsx' if form == 'xlsx' else 'csv'}"
