"""Spreadsheets, good and hostile, read by the child process."""

from __future__ import annotations

import io
import json
import os
import resource
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from core.vault import import_sheet
from core.vault.import_sheet import Sheet, SheetError

XLS = Path(__file__).parent / "files" / "codes.xls"


def xlsx(sheets: dict[str, list[list[Any]]]) -> bytes:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"in_memory": True}) as book:
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for at, row in enumerate(rows):
                for column, value in enumerate(row):
                    if isinstance(value, date):
                        sheet.write_datetime(at, column, value, day)
                    elif value is not None:
                        sheet.write(at, column, value)
    return file.getvalue()


def zipped(files: dict[str, bytes], *, stored: tuple[str, ...] = ()) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            archive.writestr(name, data, zipfile.ZIP_STORED if name in stored else None)
    return file.getvalue()


def changed(book: bytes, name: str, data: bytes) -> bytes:
    """The workbook with one of its files put in anew."""
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        files = {entry: archive.read(entry) for entry in archive.namelist()}
    return zipped({**files, name: data})


def ods(rows: str) -> bytes:
    content = f"""<?xml version="1.0" encoding="UTF-8"?>
<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" office:version="1.2">
<office:body><office:spreadsheet><table:table table:name="Codes">{rows}</table:table></office:spreadsheet></office:body>
</office:document-content>"""
    manifest = """<?xml version="1.0"?><manifest:manifest
 xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><manifest:file-entry manifest:full-path="/"
 manifest:media-type="application/vnd.oasis.opendocument.spreadsheet"/></manifest:manifest>"""
    return zipped(
        {
            "mimetype": b"application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": content.encode(),
            "META-INF/manifest.xml": manifest.encode(),
        },
        stored=("mimetype",),
    )


async def read(file: bytes, wanted: str | None = None) -> tuple[Sheet, list[list[Any]]]:
    parts = [part async for part in import_sheet.read(file, wanted)]
    assert isinstance(parts[0], Sheet)
    text = b"".join(part for part in parts[1:] if isinstance(part, bytes))
    return parts[0], [json.loads(line) for line in text.splitlines()]


async def reason(file: bytes, wanted: str | None = None) -> str:
    with pytest.raises(SheetError) as failure:
        await read(file, wanted)
    return failure.value.reason


async def test_cells_of_every_kind() -> None:
    rows = [["code", 7, 12.5, True, date(2027, 1, 31), None, "007"], [], ["卡密🎁", 999_999_999_999_999, -3]]
    sheet, found = await read(xlsx({"Empty": [], "Codes": rows}))
    assert sheet == Sheet("Codes", ("Empty", "Codes"))
    assert found[0] == ["code", {"number": "7"}, {"number": "12.5"}, 2, ["2027-01-31"], "", "007"]
    assert found[1] == [""] * 7
    assert found[2][:3] == ["卡密🎁", {"number": "999999999999999"}, {"number": "-3"}]


async def test_numbers_that_lost_digits_are_not_passed_off_as_codes() -> None:
    _, found = await read(xlsx({"A": [[1234567890123456], [1.2345e15], [1e300], [1 / 3], ["1234567890123456"]]}))
    assert found == [[1], [1], [1], [1], ["1234567890123456"]]


async def test_line_numbers_count_the_empty_rows_above() -> None:
    _, found = await read(xlsx({"A": [[], [], [], ["X"]]}))
    assert [row for row in found if any(row)] == [["X"]]
    assert found.index(["X"]) == 3


async def test_a_sheet_by_name() -> None:
    book = xlsx({"A": [["a"]], "B": [["b"]]})
    assert (await read(book, "B"))[1] == [["b"]]
    assert await reason(book, "C") == "no_such_sheet"


async def test_xls() -> None:
    sheet, found = await read(XLS.read_bytes())
    assert sheet.name == "卡密"
    assert found == [
        ["卡密", "有效期"], ["XLS-AAAA-0001", ["2027-01-31"]], ["XLS-BBBB-0002", ""],
        [{"number": "12345"}, ""], [1, ""],
    ]  # fmt: skip


async def test_ods() -> None:
    cell = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
    row = "<table:table-row>{}</table:table-row>"
    sheet, found = await read(ods("".join(row.format(cell.format(text)) for text in ("code", "ODS-0001", "卡密"))))
    assert sheet.name == "Codes"
    assert found == [["code"], ["ODS-0001"], ["卡密"]]


async def test_a_truncated_book() -> None:
    book = xlsx({"A": [[f"CODE-{n}"] for n in range(2000)]})
    for length in (4, 30, 500, len(book) // 2, len(book) - 1):
        assert await reason(book[:length]) == "broken"
    assert await reason(XLS.read_bytes()[:600]) == "broken"


async def test_things_that_are_no_book() -> None:
    assert await reason(zipped({"hello.txt": b"hello"})) == "broken"
    assert await reason(b"PK\x03\x04" + os.urandom(3000)) == "broken"
    assert await reason(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + os.urandom(3000)) == "broken"
    assert await reason(xlsx({"A": []})) == "empty"


async def test_a_zip_bomb() -> None:
    book = changed(xlsx({"A": [["x"]]}), "xl/worksheets/sheet1.xml", bytes(600_000_000))
    assert len(book) < 10_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert await reason(book) == "too_big"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


async def test_a_zip_bomb_that_lies_about_its_size() -> None:
    sheet = (
        b'<?xml version="1.0"?><worksheet><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>' + b"A" * 900_000_000
    )
    book = bytearray(changed(xlsx({"A": [["x"]]}), "xl/worksheets/sheet1.xml", sheet))
    size = len(sheet).to_bytes(4, "little")
    assert book.count(size) == 2
    assert await reason(bytes(book.replace(size, (1000).to_bytes(4, "little")))) in ("too_big", "broken")


async def test_a_cell_at_the_far_end_of_the_sheet() -> None:
    sheet = (
        b'<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        b'<sheetData><row r="1"><c r="A1"><v>1</v></c></row>'
        b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData></worksheet>'
    )
    assert await reason(changed(xlsx({"A": [["x"]]}), "xl/worksheets/sheet1.xml", sheet)) == "too_big"


async def test_a_billion_repeated_rows() -> None:
    many = 'table:number-columns-repeated="16000" office:value-type="string"'
    cell = f"<table:table-cell {many}><text:p>x</text:p></table:table-cell>"
    row = f'<table:table-row table:number-rows-repeated="1000000000">{cell}</table:table-row>'
    assert await reason(ods(row)) in ("too_big", "broken")


async def test_a_reader_that_is_left_early_leaves_no_process() -> None:
    book = xlsx({"A": [[f"CODE-{n}"] for n in range(30_000)]})
    reading = import_sheet.read(book)
    assert isinstance(await anext(reading), Sheet)
    await reading.aclose()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    commands = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
    assert not [command for command in commands if b"import_sheet_child" in command]
