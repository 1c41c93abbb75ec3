"""A table as an XLSX workbook of one sheet."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
LONGEST_CELL = 32_000


class XlsxFile:
    """Every cell has the type it was given: text is never read as a formula, a link or a number."""

    def __init__(self) -> None:
        import xlsxwriter  # every start would pay for what few ever ask for

        self._written = io.BytesIO()
        self._book = xlsxwriter.Workbook(self._written, {"constant_memory": True, "in_memory": False})
        self._sheet = self._book.add_worksheet()
        self._bold = self._book.add_format({"bold": True})
        self._moment = self._book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        self._day = self._book.add_format({"num_format": "yyyy-mm-dd"})
        self._money = self._book.add_format({"num_format": "#,##0.00###"})
        self._at = 0

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        for row in rows:
            for column, value in enumerate(row):
                self._put(column, value)
            self._at += 1
        self._sheet.freeze_panes(1, 1)

    def _put(self, column: int, value: Any) -> None:
        if value == "":
            return
        if isinstance(value, datetime):
            self._sheet.write_datetime(self._at, column, value, self._moment)
        elif isinstance(value, date):
            self._sheet.write_datetime(self._at, column, datetime(value.year, value.month, value.day), self._day)  # noqa: DTZ001
        elif isinstance(value, Decimal):
            self._sheet.write_number(self._at, column, float(value), self._money)
        elif isinstance(value, int):
            self._sheet.write_number(self._at, column, value)
        else:
            text = str(value)[:LONGEST_CELL]
            self._sheet.write_string(self._at, column, text, self._bold if self._at == 0 else None)

    def bytes(self) -> bytes:
        self._book.close()
        return self._written.getvalue()
