"""Reads one spreadsheet from standard input; run by import_sheet.py, with limits, and never imported.

Standard output: a line with the names of the sheets, or with the problem; then each row as a JSON list of texts.
A cell that is no text is [date], {"number": its digits}, or 1 when its digits are lost, or 2 for anything else.
"""

import json
import resource
import sys
import zipfile
from datetime import date, datetime
from io import BytesIO

import python_calamine

MEMORY = 1 << 30
CPU_SECONDS = 60
UNPACKED = 1 << 29
# Excel keeps 15 digits of a number and writes zeros for the rest.
EXACT = 10**15
LOST_DIGITS, NOT_TEXT = 1, 2
ERRORS = {"#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!", "#GETTING_DATA"}


class Problem(Exception):
    pass


def main() -> None:
    for limit, amount in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (amount, amount))
    try:
        write(sys.stdin.buffer.read(), sys.argv[1])
    except Problem as problem:
        say({"problem": str(problem)})
    except MemoryError:
        say({"problem": "too_big"})


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


def write(file: bytes, wanted: str) -> None:
    check_size(file)
    try:
        book = python_calamine.load_workbook(BytesIO(file))
        sheet = choose(book, wanted)
        rows = sheet.iter_rows()
    except python_calamine.PasswordError:
        raise Problem("locked") from None
    except (python_calamine.CalamineError, OSError, ValueError):
        raise Problem("broken") from None
    say({"name": sheet.name, "names": book.sheet_names})
    for row in rows:
        say([cell(value) for value in row])


def check_size(file: bytes) -> None:
    if not file.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(BytesIO(file)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > UNPACKED:
                raise Problem("too_big")
    except (zipfile.BadZipFile, ValueError, OverflowError):
        raise Problem("broken") from None


def choose(book: python_calamine.CalamineWorkbook, wanted: str) -> python_calamine.CalamineSheet:
    """The sheet of that name, else the first with anything in it."""
    if wanted and wanted not in book.sheet_names:
        raise Problem("no_such_sheet")
    for name in [wanted] if wanted else book.sheet_names:
        sheet = book.get_sheet_by_name(name)
        if sheet.start is not None:
            return sheet
    raise Problem("empty")


def cell(value: object) -> object:
    if isinstance(value, str):
        return NOT_TEXT if value in ERRORS else value
    if isinstance(value, bool):
        return NOT_TEXT
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, datetime):
        return [value.date().isoformat()]
    if isinstance(value, date):
        return [value.isoformat()]
    return "" if value is None else NOT_TEXT


def number(value: int | float) -> object:
    if abs(value) >= EXACT or value != value:
        return LOST_DIGITS
    if value == int(value):
        return {"number": str(int(value))}
    text = repr(value)
    return LOST_DIGITS if "e" in text or len(text.strip("-0").replace(".", "")) > 15 else {"number": text}


if __name__ == "__main__":
    main()
