"""From bytes to codes, without a database: encodings, separators, quotes, broken lines."""

from __future__ import annotations

import random
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.vault import import_layout
from core.vault.code_text import Problem, clean, problem
from core.vault.import_layout import Mapping
from core.vault.import_rows import Extra, RowReader, Rows, cells_of, first_lines
from core.vault.import_text import GB18030, MAX_LINE, UTF8, UTF16, LineReader, Sniffer

TODAY = date(2026, 11, 22)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "gb18030"]


def sniffed(data: bytes, size: int = 7) -> Sniffer:
    sniffer = Sniffer()
    for at in range(0, len(data), size):
        sniffer.feed(data[at : at + size])
    return sniffer


def read(data: bytes, mapping: Mapping | None = None, kind: str = "text", size: int = 11) -> Rows:
    """Everything in ``data``, given to the reader in pieces of ``size``."""
    if mapping is None:
        encoding = sniffed(data).encoding() if data else UTF8
        lines = first_lines([data], kind, encoding, 200)
        separator = import_layout.guess_separator(lines, "codes.txt")
        mapping = import_layout.guess([cells for _, cells in cells_of(lines, kind, separator)], encoding, separator)
    reader = RowReader(mapping, kind, TODAY)
    whole = Rows()
    pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    for number, piece in enumerate(pieces, 1):
        rows = reader.feed(piece, final=number == len(pieces))
        whole.lines += rows.lines
        whole.codes += rows.codes
        whole.rejects += rows.rejects
        if rows.extras is not None:
            whole.extras = (whole.extras or []) + rows.extras
        whole.last_line = rows.last_line
    return whole


def found(rows: Rows) -> list[tuple[int, str]]:
    return list(zip(rows.lines, rows.codes, strict=True))


def refused(rows: Rows) -> list[tuple[int, str]]:
    return [(reject.line, reject.reason) for reject in rows.rejects]


# -- encodings and ends of lines --------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_every_encoding_and_end_of_line_in_pieces_of_any_size(encoding: str, end: str, size: int) -> None:
    text = end.join(["卡密-ＡＡＡ", "", "CODE 2", "  ", "emoji🎁3"]) + end
    rows = read(text.encode(encoding), size=size)
    assert found(rows) == [(1, "卡密-ＡＡＡ"), (3, "CODE 2"), (5, "emoji🎁3")]
    assert rows.rejects == []


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"plain", UTF8),
        ("卡密".encode(), UTF8),
        ("卡密".encode("utf-8-sig"), UTF8),
        ("卡密".encode("utf-16"), UTF16),
        ("\ufeff卡密".encode("utf-16-be"), UTF16),
        ("卡密兑换码".encode("gb18030"), GB18030),
        (b"A" * 200_000 + "卡".encode("gbk"), GB18030),
        (b"A" * 200_000 + "卡".encode(), UTF8),
        (b"good\n\xff\xff\xff\xff\n", UTF8),
    ],
)
def test_the_encoding_is_that_of_the_whole_file(data: bytes, encoding: str) -> None:
    assert sniffed(data, 1000).encoding() == encoding


def test_a_line_in_a_wrong_encoding_is_named_and_the_others_are_taken() -> None:
    rows = read(b"AAAA\n\xff\xfe\xff\xff\nBBBB\n", Mapping())
    assert found(rows) == [(1, "AAAA"), (3, "BBBB")]
    assert refused(rows) == [(2, "unreadable")]


def test_binary_is_not_text() -> None:
    assert not sniffed(random.Random(1).randbytes(5000)).is_text()
    assert not sniffed(b"\x00" * 100).is_text()
    assert sniffed("卡密\n".encode("utf-16") * 100).is_text()
    assert sniffed(b"AAAA-BBBB\n" * 100 + b"\x00").is_text()


@given(st.binary(max_size=300), st.integers(1, 50))
def test_lines_do_not_depend_on_the_size_of_pieces(data: bytes, size: int) -> None:
    for encoding in (UTF8, GB18030):
        whole = LineReader(encoding).feed(data, final=True)
        reader, parts = LineReader(encoding), []
        for at in range(0, len(data), size):
            parts += reader.feed(data[at : at + size])
        assert parts + reader.feed(b"", final=True) == whole


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)))
def test_every_clean_line_is_taken_and_no_other(lines: list[str]) -> None:
    rows = read("\n".join(lines).encode(), Mapping(), size=64)
    wanted = [(n, clean(line)) for n, line in enumerate(lines, 1) if problem(clean(line)) is None]
    # A mark at the very beginning of a file says how it is written and is no part of a code.
    assert found(rows) == wanted
    assert len(rows.rejects) == sum(problem(clean(line)) not in (None, Problem.EMPTY) for line in lines)


def test_ten_megabytes_in_one_line_are_one_problem() -> None:
    rows = read(b"A" * 10_000_000 + b"\nBBBB-CCCC\n", Mapping(), size=1 << 18)
    assert refused(rows) == [(1, "too_long")]
    assert found(rows) == [(2, "BBBB-CCCC")]
    reader = LineReader(UTF8)
    for _ in range(40):
        assert reader.feed(b"A" * 262_144) == []
    assert [len(line) for line in reader.feed(b"", final=True)] == [MAX_LINE + 1]


def test_control_signs_and_nuls_are_named_by_line() -> None:
    rows = read(b"AAAA\nB\x00BB\nCC\x1bCC\n\x00\nDDDD\n", Mapping())
    assert found(rows) == [(1, "AAAA"), (5, "DDDD")]
    assert refused(rows) == [(2, "control_signs"), (3, "control_signs"), (4, "control_signs")]


NAUGHTY = [
    "undefined", "null", "NaN", "\\", "\\\\", "'; DROP TABLE vault_code; --", "<script>alert(0)</script>", "${7*7}",
    "$HOME", "%s%s%s%n", "=cmd|' /C calc'!A0", "../../etc/passwd", "社會科學院語學研究所", "ﷺ", "Z̮̞̠͙͔ͅḀ̗̞͈̻̗Ḷ͙͎̯̹̞͓G̻O̭̗̮",
    "🏳0🌈️", "Ω≈ç√∫˜µ≤≥÷", "{{7*7}}",
    "١٢٣", "ثم نفس", "−9223372036854775808/-1", "1;DROP", "¯\\_(ツ)_/¯", "｀ｨ(´∀｀∩",
]  # fmt: skip


def test_naughty_strings_come_out_as_they_went_in() -> None:
    rows = read("\n".join(NAUGHTY).encode(), Mapping())
    assert rows.codes == [clean(text) for text in NAUGHTY]
    assert rows.rejects == []


def test_numbers_that_a_spreadsheet_shortened() -> None:
    rows = read(b"1234567890123456\n1.23457E+15\n", Mapping())
    assert found(rows) == [(1, "1234567890123456")]
    assert refused(rows) == [(2, "lost_digits")]


# -- columns ----------------------------------------------------------------------------


@pytest.mark.parametrize("separator", ["\t", "|", ";", ","])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_table_with_header_in_every_encoding_and_separator(separator: str, encoding: str) -> None:
    lines = ["面值,卡密,备注,有效期", "100,AAAA-1111,first,2027-01-31", "100,BBBB-2222,,"]
    data = "\r\n".join(lines).replace(",", separator).encode(encoding)
    rows = read(data)
    assert found(rows) == [(2, "AAAA-1111"), (3, "BBBB-2222")]
    assert rows.extras == [Extra("first", date(2027, 1, 31)), Extra("", None)]


def test_accounts_and_passwords_are_joined() -> None:
    rows = read(b"a@x.com----pw1----2FA1\nb@x.com ---- pw2 ---- 2FA2\n")
    assert found(rows) == [(1, "a@x.com----pw1----2FA1"), (2, "b@x.com----pw2----2FA2")]
    rows = read("账号,备注,密码\na@x.com,n,pw1\n".encode())
    assert found(rows) == [(2, "a@x.com----pw1")]


def test_a_line_without_all_parts_is_refused() -> None:
    mapping = Mapping(separator="----", width=2, code_columns=(0, 1), joiner=" / ")
    rows = read(b"a@x----pw1\nbroken\nc@x----\nd@x----pw----extra\n----pw\ne@x----pw5\n", mapping)
    assert found(rows) == [(1, "a@x / pw1"), (6, "e@x / pw5")]
    assert refused(rows) == [(2, "too_few_columns"), (3, "empty"), (4, "too_many_columns"), (5, "empty")]


def test_a_chosen_separator_and_other_columns() -> None:
    mapping = Mapping(separator=" :: ", width=3, code_columns=(2, 0), joiner="-")
    assert found(read(b"A :: x :: 1\nB :: y :: 2\n", mapping)) == [(1, "1-A"), (2, "2-B")]


def test_quoted_cells() -> None:
    data = b'code,note\n"AA,11","say ""hi"""\n"BB\n22",x\nCC-33,"two\nlines"\n"open,EE\nDD-44,ok\n'
    mapping = Mapping(separator=",", header=True, width=2, note_column=1)
    for size in (1, 3, 1000):
        rows = read(data, mapping, size=size)
        assert found(rows) == [(2, "AA,11"), (5, "CC-33"), (8, "DD-44")]
        assert rows.extras == [Extra('say "hi"', None), Extra("twolines", None), Extra("ok", None)]
        assert refused(rows) == [(3, "control_signs"), (7, "open_quote")]


def test_a_stray_quote_swallows_nothing() -> None:
    lines = [f"CODE-{n:04},x" for n in range(500)]
    lines[100] = '"CODE-0100,x'
    rows = read("\n".join(lines).encode(), Mapping(separator=",", width=2))
    assert len(rows.codes) == 499
    assert refused(rows) == [(101, "open_quote")]


def test_a_code_with_the_separator_in_it_is_not_cut_silently() -> None:
    rows = read(b"code,price\nAB,CD,5\nEF,5\n", Mapping(separator=",", header=True, width=2))
    assert found(rows) == [(3, "EF")]
    assert refused(rows) == [(2, "too_many_columns")]


def test_numbers_that_a_csv_keeps_as_formulas() -> None:
    rows = read(b'="0012345678901234",5\n"=""00987""",5\n=1+1,5\n="7"x,5\n', Mapping(separator=",", width=2))
    assert rows.codes == ["0012345678901234", "00987", "=1+1", '="7"x']


def test_dates() -> None:
    mapping = Mapping(separator=",", width=2, expiry_column=1)
    data = "A,2027-1-5\nB,2027/12/31 10:00\nC,2027年3月4日\nD,2027-02-30\nE,soon\nF,2026-11-21\nG,2026-11-22\nH,\n"
    rows = read(data.encode(), mapping)
    assert rows.codes == ["A", "B", "C", "G", "H"]
    assert [extra.expires_on for extra in rows.extras or []] == [
        date(2027, 1, 5), date(2027, 12, 31), date(2027, 3, 4), date(2026, 11, 22), None,
    ]  # fmt: skip
    assert refused(rows) == [(4, "bad_date"), (5, "bad_date"), (6, "expired")]


# -- guesses ----------------------------------------------------------------------------


def guessed(text: str, filename: str = "codes.txt") -> Mapping:
    lines = text.split("\n")
    separator = import_layout.guess_separator(lines, filename)
    return import_layout.guess([cells for _, cells in cells_of(lines, "text", separator)], UTF8, separator)


@pytest.mark.parametrize(
    ("text", "separator", "header", "columns"),
    [
        ("AAAA\nBBBB", "", False, (0,)),
        ("AA-AA-1\nBB-BB-2", "", False, (0,)),
        ("a----b\nc----d", "----", False, (0, 1)),
        ("a----b----c\nd----e----f", "----", False, (0, 1, 2)),
        ("a,b|c\nd,e|f", "|", False, (0,)),
        ("Code\nAAAA\nBBBB", "", True, (0,)),
        ("id,code\n1,AAAA\n2,BBBB", ",", True, (1,)),
        ("price;card code;note\n5;AAAA;x\n5;BBBB;y", ";", True, (1,)),
        ("账号\t密码\n a\tb", "\t", True, (0, 1)),
        ("卡号,卡密\n1,2", ",", True, (0, 1)),
        ("100,LONG-CODE-1\n100,LONG-CODE-2\n100,LONG-CODE-3", ",", False, (1,)),
        ("", "", False, (0,)),
        ("序号,兑换码(CDK),状态\n1,AAAA,x\n2,BBBB,x", ",", True, (1,)),
        ("Code*:\nAAAA", "", True, (0,)),
        ("七月到货\nAAAA\nBBBB", "", True, (0,)),
        ("面额,提货密钥\n100,AAAA\n100,BBBB", ",", True, (1,)),
        ("京东卡,AAAA\n京东卡,BBBB", ",", False, (1,)),
        ("微软,AAAA\nOffice,BBBB", ",", False, (0,)),
        ("账号：a 密码：b\n账号：c 密码：d", "", False, (0,)),
        ("卡号,兑换码\n1,AAAA\n2,BBBB", ",", True, (0, 1)),
        ("Serial number;Code\n1;AAAA\n2;BBBB", ";", True, (0, 1)),
    ],
)
def test_what_is_proposed(text: str, separator: str, header: bool, columns: tuple[int, ...]) -> None:
    mapping = guessed(text)
    assert (mapping.separator, mapping.header, mapping.code_columns) == (separator, header, columns)


@pytest.mark.parametrize(
    ("text", "separator", "above", "columns"),
    [
        ("卡密发放表\n卡号,卡密\nA1,AAAA\nA2,BBBB", ",", 1, (0, 1)),
        ("卡密发放表,\n卡号,卡密\nA1,AAAA\nA2,BBBB", ",", 1, (0, 1)),
        ("卡密\n2026-11-01\n \n卡号,卡密\nA1,AAAA", ",", 3, (0, 1)),
        ("发放表：十一月,共 2 张\n卡号,卡密\nA1,AAAA", ",", 1, (0, 1)),
        ("卡密发放表 2026\n卡密\nAAAA\nBBBB", "", 1, (0,)),
        ("Delivery 7\nid;code\n1;AAAA", ";", 1, (1,)),
        ("AAAA\ncode\nBBBB", "", 0, (0,)),
        ("AAAA,1\ncode,price\nBBBB,2", ",", 0, (0,)),
        ("a\nb\nc\nd\ne\nf\nid,code\n1,AAAA", "", 0, (0,)),
    ],
)
def test_lines_above_the_names_are_no_codes(text: str, separator: str, above: int, columns: tuple[int, ...]) -> None:
    mapping = guessed(text)
    assert (mapping.separator, mapping.above, mapping.code_columns) == (separator, above, columns)
    if above:
        rows = read(f"\n{text}\n".encode(), mapping)
        assert rows.codes[0].endswith("AAAA")
        assert rows.lines[0] == above + 3
        assert not rows.rejects


def test_lines_above_the_names_of_a_spreadsheet() -> None:
    lines = ['[1,""]', '["卡密发放表",""]', '["卡号","卡密"]', '["A1","AAAA"]', ""]
    rows = read("\n".join(lines).encode(), Mapping(header=True, above=1, width=2, code_columns=(0, 1)), kind="sheet")
    assert found(rows) == [(4, "A1----AAAA")]


def test_a_csv_with_one_column_is_still_a_csv() -> None:
    assert guessed("AAAA\nBBBB", "codes.CSV").separator == ","


# -- rows from a spreadsheet ------------------------------------------------------------


def test_cells_of_a_spreadsheet() -> None:
    lines = ["[]", '["code","until"]', '["007",["2027-01-31"]]', '[1,""]', '[2,""]', '[["2027-01-01"],""]', '["X",1]']
    data = "\n".join([*lines, '["",""]', '["Y"]', ""]).encode()
    rows = read(data, Mapping(header=True, width=2, expiry_column=1), kind="sheet")
    assert found(rows) == [(3, "007"), (7, "X"), (9, "Y")]
    assert refused(rows) == [(4, "lost_digits"), (5, "not_text"), (6, "not_text")]
    assert rows.extras is not None
    assert rows.extras[0] == Extra("", date(2027, 1, 31))
