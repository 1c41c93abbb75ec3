"""How the lines of an uploaded file become codes: separator, header, which column is what."""

from __future__ import annotations

import csv
import re
from collections import Counter
from typing import Annotated

import msgspec

from core.vault.import_text import UTF8

SEPARATORS = ("----", "\t", "|", ";", ",")
# In these a field may stand in quotes, as spreadsheets write them.
QUOTED = ("\t", ";", ",", "|")
MAX_COLUMNS = 100
# A title, a date, a remark: what people write above the names of the columns.
MAX_ABOVE = 5

CODE_WORDS = {
    "code", "codes", "card code", "card", "cdkey", "cdk", "key", "license", "license key", "serial", "serial number",
    "voucher", "redeem code", "activation code", "secret", "pin", "卡密", "卡号", "激活码", "兑换码", "序列号", "密钥",
    "券码", "卡券", "充值码", "礼品码",
}  # fmt: skip
ACCOUNT_WORDS = {
    "account", "user", "username", "user name", "login", "email", "e-mail", "账号", "帐号", "账户", "用户名", "邮箱",
}  # fmt: skip
PASSWORD_WORDS = {"password", "pass", "pwd", "密码", "口令", "卡密码"}
EXPIRY_WORDS = {
    "expiry", "expires", "expires on", "expiry date", "valid until",
    "有效期", "到期", "到期时间", "过期时间", "失效日期",
}  # fmt: skip
NOTE_WORDS = {"note", "notes", "remark", "remarks", "comment", "备注", "说明"}
# Printed on the card for everybody to see: without the secret beside it, it is worth nothing.
NUMBER_WORDS = {"卡号", "card", "card number", "serial", "serial number", "序列号"}
ALL_WORDS = CODE_WORDS | ACCOUNT_WORDS | PASSWORD_WORDS | EXPIRY_WORDS | NOTE_WORDS

HAN = re.compile("[\u4e00-\u9fff]")
HAN_NAME = re.compile(f"[^a-z0-9ａ-ｚ０-９]*{HAN.pattern}[^a-z0-9ａ-ｚ０-９]*")
ASIDE = re.compile(r"\(.*?\)|（.*?）|[*:：]")
# How programs keep the zeros of a number in a CSV: ="00123".
GUARDED = re.compile(r'\A="([^"]*)"\Z')

Above = Annotated[int, msgspec.Meta(ge=0, le=MAX_ABOVE)]
Column = Annotated[int, msgspec.Meta(ge=0, lt=MAX_COLUMNS)]


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What staff may choose before an import. An empty separator means that each line is one code.

    ``above`` lines come before the names of the columns, where there are such.
    """

    encoding: str = UTF8
    separator: Annotated[str, msgspec.Meta(max_length=10)] = ""
    header: bool = False
    above: Above = 0
    width: Annotated[int, msgspec.Meta(ge=1, le=MAX_COLUMNS)] = 1
    code_columns: tuple[Column, ...] = (0,)
    joiner: Annotated[str, msgspec.Meta(max_length=10)] = "----"
    expiry_column: Column | None = None
    note_column: Column | None = None

    @property
    def lines_before(self) -> int:
        """Lines that are no codes; empty ones do not count."""
        return self.above + 1 if self.header else 0

    def columns(self) -> list[int]:
        return [*self.code_columns, *(c for c in (self.expiry_column, self.note_column) if c is not None)]


def split(line: str, separator: str) -> list[str]:
    """The cells of one line. Quotes count only where a cell begins with one."""
    if not separator:
        return [line]
    if separator in QUOTED and '"' in line:
        return [GUARDED.sub(r"\1", cell) for cell in next(csv.reader([line], delimiter=separator))]
    return line.split(separator)


def guess_separator(lines: list[str], filename: str) -> str:
    """The separator that cuts nearly every line into the same number of cells, the most telling one first."""
    filled = [line for line in lines if line.strip()]
    for separator in SEPARATORS:
        rows = [split(line, separator) for line in filled]
        rows = rows[_above(rows) :]
        widths = Counter(map(len, rows))
        width, times = widths.most_common(1)[0] if widths else (1, 0)
        if width > 1 and times * 10 >= len(rows) * 9:
            return separator
    return "," if filename.lower().endswith(".csv") else ""


def guess(rows: list[list[str]], encoding: str, separator: str) -> Mapping:
    """The mapping we propose for these first rows."""
    filled = [row for row in rows if any(row)]
    above = _above(filled)
    filled = filled[above:]
    if not filled:
        return Mapping(encoding=encoding, separator=separator)
    names = [_plain(cell) for cell in filled[0]]
    header = any(name in ALL_WORDS for name in names) or _is_in_words(names, filled[1:])
    body = filled[1:] if header else filled
    width = len(filled[0]) if header else Counter(map(len, filled)).most_common(1)[0][0]
    width = min(width, MAX_COLUMNS)
    columns = _named(names[:width]) if header else None
    if not columns:
        columns = tuple(range(width)) if separator == "----" else (_most_telling(body, width),)
    return Mapping(
        encoding=encoding,
        separator=separator,
        header=header,
        above=above,
        width=width,
        code_columns=columns,
        expiry_column=_first(names[:width], EXPIRY_WORDS) if header else None,
        note_column=_first(names[:width], NOTE_WORDS) if header else None,
    )


def _above(rows: list[list[str]]) -> int:
    """How many rows stand above the one with the names we know."""
    known = [sum(_plain(cell) in ALL_WORDS for cell in row) for row in rows[: MAX_ABOVE + 1]]
    most = max(known, default=0)
    at = known.index(most) if most else 0
    names = len(_filled(rows[at])) if at else 0
    return at if all(_is_title(row, names) for row in rows[:at]) else 0


def _is_title(row: list[str], names: int) -> bool:
    """Not a code: it fills fewer cells than there are names, or it is Chinese."""
    filled = _filled(row)
    return len(filled) < names or all(map(HAN.search, filled))


def _filled(row: list[str]) -> list[str]:
    return [cell for cell in row if cell.strip()]


def _is_in_words(names: list[str], body: list[list[str]]) -> bool:
    """Names we do not know: nothing but Chinese in the first row, and below one of them none."""
    named = [at for at, name in enumerate(names) if name]
    return all(map(HAN_NAME.fullmatch, filter(None, names))) and any(
        not any(HAN.search(row[at]) for row in body if at < len(row)) for at in named if body
    )


def names_code(names: list[str]) -> bool:
    """Whether a header says which columns make the code."""
    return bool(_named([_plain(name) for name in names]))


def _plain(cell: str) -> str:
    return " ".join(ASIDE.sub("", cell).replace("_", " ").strip("\ufeff \t").lower().split())


def _first(names: list[str], words: set[str]) -> int | None:
    return next((at for at, name in enumerate(names) if name in words), None)


def _named(names: list[str]) -> tuple[int, ...]:
    """Account and password belong together, so do a number and its secret; else the one column that is named a code."""
    found = [_first(names, words) for words in (ACCOUNT_WORDS, PASSWORD_WORDS)]
    if None not in found:
        return tuple(at for at in found if at is not None)
    number = _first(names, NUMBER_WORDS)
    secret = _first(names, (CODE_WORDS | PASSWORD_WORDS) - NUMBER_WORDS)
    if number is not None and secret is not None:
        return (number, secret)
    code = _first(names, CODE_WORDS)
    if code is None:
        code = _first(names, PASSWORD_WORDS | ACCOUNT_WORDS)
    return () if code is None else (code,)


def _most_telling(rows: list[list[str]], width: int) -> int:
    """The column whose cells differ most, the longest of equals: prices and names repeat, codes do not."""

    def weight(column: int) -> tuple[int, int]:
        cells = [row[column] for row in rows if column < len(row)]
        return len(set(cells)), sum(map(len, cells))

    return max(range(width), key=lambda column: (*weight(column), -column))
