"""The text of a code: what is kept of it, what is wrong with it, what tells two apart, what may be shown."""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

from core.db import storable as storable

MAX_CODE = 4096
DOTS = "••••"

# Signs that cannot be seen: zero width, soft hyphen, direction marks, byte order mark.
INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
PARTS = re.compile(r"[|,;:\s]|-{4}")
LETTER = re.compile(r"\w")
# How Excel writes a long number: 1.23457E+15. The digits behind are gone.
SHORTENED = re.compile(r"\d(?:[.,]\d+)?[eE]\+\d+")
UNREADABLE = "\ufffd"

# What suppliers send in place of a code: an excuse, or a page of their web server.
EXCUSE = re.compile(
    "抱歉|对不起|不好意思|库存不足|缺货|暂无货|没货|断货|售罄|发货失败|发货中|待发货"
    r"|\b(?:sorry|out of stock|sold out|internal server error|being delivered)\b"
    r"|<!doctype|<(?:html|head|body|script)\b",
    re.IGNORECASE,
)
EXCUSE_OR_HINT = re.compile(
    r"处理中|繁忙|维护中|请稍[后候]|\b(?:not available|unavailable|try again|contact|please wait)\b", re.IGNORECASE
)
"""Beside a code it may be a hint to the buyer."""
LIKE_A_CODE = re.compile(r"(?=[A-Za-z-]*\d)[A-Za-z\d-]{6,}")
SENTENCE = re.compile(r"[A-Za-z']+[,;:]?(?: [A-Za-z']+[,;:]?){2,}[.!?]")
CHINESE = re.compile("[\u3400-\u9fff]")
ONLY_WORDS = 6
"""So many Chinese signs beside no letter and no digit are something said."""


class Problem(StrEnum):
    """Why a line is not taken."""

    DUPLICATE_IN_FILE = "duplicate_in_file"
    DUPLICATE_IN_STOCK = "duplicate_in_stock"
    ALREADY_SOLD = "already_sold"
    EMPTY = "empty"
    TOO_FEW_COLUMNS = "too_few_columns"
    TOO_MANY_COLUMNS = "too_many_columns"
    TOO_LONG = "too_long"
    CONTROL_SIGNS = "control_signs"
    UNREADABLE = "unreadable"
    OPEN_QUOTE = "open_quote"
    LOST_DIGITS = "lost_digits"
    NOT_TEXT = "not_text"
    BAD_DATE = "bad_date"
    EXPIRED = "expired"


DUPLICATES = (Problem.DUPLICATE_IN_FILE, Problem.DUPLICATE_IN_STOCK, Problem.ALREADY_SOLD)


def clean(text: str) -> str:
    """A code as it is sealed and later handed out: no blanks around it, nothing invisible inside."""
    if text.isascii():
        return text.strip()
    return INVISIBLE.sub("", text).strip()


def problem(code: str) -> Problem | None:
    """What keeps a cleaned code from being stored, if anything."""
    if not code:
        return Problem.EMPTY
    if len(code) > MAX_CODE:
        return Problem.TOO_LONG
    if not code.isascii():
        if UNREADABLE in code:
            return Problem.UNREADABLE
        if not code.isprintable() and any(map(_is_control, code)):
            return Problem.CONTROL_SIGNS
    elif not code.isprintable():
        return Problem.CONTROL_SIGNS
    if "+" in code and SHORTENED.fullmatch(code):
        return Problem.LOST_DIGITS
    return None


def _is_control(sign: str) -> bool:
    return unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")


def is_said(code: str) -> bool:
    """Whether it is something said and no code: only a guess, for what no person has looked at."""
    if EXCUSE.search(code) or SENTENCE.fullmatch(code):
        return True
    if EXCUSE_OR_HINT.search(code) and not LIKE_A_CODE.search(code):
        return True
    has_code_signs = any(sign.isascii() and sign.isalnum() for sign in code)
    return not has_code_signs and len(CHINESE.findall(code)) >= ONLY_WORDS


def normalise(text: str) -> str:
    """What the fingerprint is made over, version 1. Two codes with the same result are one code."""
    if text.isascii():
        return text.strip()
    return unicodedata.normalize("NFKC", INVISIBLE.sub("", text)).strip()


def mask(code: str) -> str:
    """At most a quarter and at most four signs of the end; of "account----password" only of the account."""
    first = PARTS.split(code, maxsplit=1)[0]
    shown = min(4, len(first) // 4)
    return DOTS + first[len(first) - shown :]


def masks(codes: list[str]) -> list[str]:
    """The mask of each code; looking for separators in all of them at once is three times faster."""
    whole = "".join(codes)
    if not (whole.isascii() and whole.isprintable()) or any(sign in whole for sign in ("----", *"|,;: ")):
        return [mask(code) for code in codes]
    return [DOTS + code[-4:] if len(code) >= 16 else mask(code) for code in codes]


def mask_line(line: str) -> str:
    """A whole refused line, masked; it may hold signs that no file or page should be given."""
    return "".join(sign if sign.isprintable() else "?" for sign in mask(line[:MAX_CODE].strip()))


def outline(cell: str) -> str:
    """A cell of an uploaded table so that its owner knows the column, without showing what is in it."""
    shown = min(4, len(cell) // 4)
    return cell[:shown] + LETTER.sub("•", cell[shown:80])
