"""The text of codes the shop makes itself: Crockford base 32 with a check symbol, so that they survive paper,
telephones and thumbs.

A code is an optional prefix for people, then 19 random symbols and the check symbol: ``GIFT-7K2M9-…``. Only those
20 symbols count; prefix and hyphens may be typed or left out.
"""

from __future__ import annotations

import re
import secrets
import unicodedata

from core.ids import ALPHABET

RANDOM_SYMBOLS = 19
BITS = 5 * RANDOM_SYMBOLS
LENGTH = RANDOM_SYMBOLS + 1
GROUPS = (4, 5)
MAX_PREFIX = 8
MODULUS = 37

PREFIX = re.compile(rf"[A-Z0-9]{{0,{MAX_PREFIX}}}")
BETWEEN = re.compile(r"[\s\-_.\u2010-\u2015\u2212\u00ad\u200b-\u200f\u2060\ufeff]+")
ALIKE = str.maketrans({"O": "0", "I": "1", "L": "1"})
VALUES = {sign: value for value, sign in enumerate(ALPHABET)}
MAX_TYPED = 100


def new_body() -> str:
    """19 random symbols and their check symbol.

    Crockford's check has 37 values for 32 letters; the five it writes as ``*~$=U`` are no good on a telephone, so
    a number that needs one of them is drawn again.
    """
    while True:
        number = secrets.randbits(BITS)
        check = number % MODULUS
        if check < len(ALPHABET):
            return _symbols(number) + ALPHABET[check]


def _symbols(number: int) -> str:
    return "".join([ALPHABET[(number >> shift) & 31] for shift in range(BITS - 5, -1, -5)])


def printed(body: str, prefix: str = "", group: int = 5) -> str:
    groups = [body[at : at + group] for at in range(0, LENGTH, group)]
    return "-".join([prefix, *groups] if prefix else groups)


def compact(typed: str) -> str:
    """What a person typed or a scanner read, without separators, look-alikes made one."""
    text = unicodedata.normalize("NFKC", typed[:MAX_TYPED])
    return BETWEEN.sub("", text).upper().translate(ALIKE)


def read(typed: str) -> str | None:
    """The 20 symbols that count, or None when this cannot be a code of ours: mistyped, or something else."""
    text = compact(typed)
    prefix, body = text[:-LENGTH], text[-LENGTH:]
    if len(body) < LENGTH or len(typed) > MAX_TYPED or not PREFIX.fullmatch(prefix):
        return None
    number = 0
    for sign in body[:-1]:
        value = VALUES.get(sign)
        if value is None:
            return None
        number = number * 32 + value
    return body if number % MODULUS == VALUES.get(body[-1]) else None
