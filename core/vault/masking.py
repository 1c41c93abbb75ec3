"""Codes of an order in a text that somebody wrote: found by their fingerprints and their last signs, and masked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from core import db
from core.vault import cipher, keys
from core.vault.code_text import DOTS

MOST_WORDS = 8
"""A code typed in groups, or an account with its password."""

OF_ORDER = """
SELECT code.fingerprint, code.mask FROM vault_code code JOIN orders_line line ON line.id = code.line_id
JOIN orders_order o ON o.id = line.order_id WHERE o.ref = $1 AND o.shop_id = $2 AND code.state = 'delivered'
"""

Span = tuple[int, int]

WORD = re.compile(r"\S+")
ASCII = re.compile(r"[!-~]+")
AROUND = "\"'`()[]{}<>.,:;!?*"
GROUP = re.compile(r"[A-Za-z0-9]+")
SHORTEST = 6
SHORTEST_TAIL = 3
MOST_GROUPS = 32
"""In so many may a code be written; without an end, a text of nothing but groups takes minutes."""


async def hide(shop_id: int, ref: str, text: str) -> str:
    """``text`` with the codes of that order masked."""
    rows = await db.fetch(OF_ORDER, ref, shop_id)
    if not rows or not text:
        return text
    plain = unicodedata.normalize("NFKC", text)
    if len(plain) != len(text):
        plain = text
    found = list(_alike(plain, {row["mask"] for row in rows}))
    if keys.current().is_unlocked():
        by_print = {bytes(row["fingerprint"]): row["mask"] for row in rows}
        found += _known(shop_id, plain, by_print)
    return _masked(text, found)


def _known(shop_id: int, text: str, by_print: dict[bytes, str]) -> list[tuple[Span, str]]:
    spans = sorted(set(_windows(text)))
    prints = cipher.fingerprints(shop_id, [text[start:end] for start, end in spans])
    return [(span, by_print[mark]) for span, mark in zip(spans, prints, strict=True) if mark in by_print]


def _windows(text: str) -> Iterator[Span]:
    """Every piece of a line that may be a whole code: words, several in a row, without the signs around them."""
    start = 0
    for line in text.splitlines(keepends=True):
        for pattern in (WORD, ASCII):
            words = [match.span() for match in pattern.finditer(line)]
            for first in range(len(words)):
                for last in range(first, min(first + MOST_WORDS, len(words))):
                    begin, end = start + words[first][0], start + words[last][1]
                    yield begin, end
                    yield _bare(text, begin, end)
        start += len(line)


def _bare(text: str, begin: int, end: int) -> Span:
    while begin < end and text[begin] in AROUND:
        begin += 1
    while end > begin and text[end - 1] in AROUND:
        end -= 1
    return begin, end


def _alike(text: str, masks: Iterable[str]) -> Iterator[tuple[Span, str]]:
    """Runs that look like a code and end as one of these does, however their groups are joined and written."""
    tails = {_tail(mask): mask for mask in masks}
    lengths = {len(tail) for tail in tails if len(tail) >= SHORTEST_TAIL}
    for begin, end in _runs(text):
        letters = "".join(GROUP.findall(text[begin:end]))
        if len(letters) >= SHORTEST and _codelike(letters):
            ends = (letters[-length:].casefold() for length in lengths)
            yield from (((begin, end), tails[tail]) for tail in ends if tail in tails)


def _tail(mask: str) -> str:
    return "".join(GROUP.findall(mask.removeprefix(DOTS))).casefold()


def _runs(text: str) -> Iterator[Span]:
    """For each group of signs, from where the code that ends with it may have begun."""
    groups = [match.span() for match in GROUP.finditer(text)]
    for last, (_begin, end) in enumerate(groups):
        first = last
        while first and last - first < MOST_GROUPS and _joined(text, groups[first - 1], groups[first]):
            first -= 1
        yield groups[first][0], end


def _joined(text: str, before: Span, after: Span) -> bool:
    between = text[before[1] : after[0]]
    return between in ("-", "_") or (between in (" ", ".") and _codelike(text[before[0] : before[1]]))


def _codelike(letters: str) -> bool:
    return any(sign.isdigit() for sign in letters) or (len(letters) > 1 and letters.isupper())


def _masked(text: str, found: Sequence[tuple[Span, str]]) -> str:
    """The longest first, so that a whole code is one mask."""
    taken: list[tuple[Span, str]] = []
    for span, mask in sorted(found, key=lambda one: one[0][0] - one[0][1]):
        if all(span[1] <= other[0] or span[0] >= other[1] for other, _mask in taken):
            taken.append((span, mask))
    for (begin, end), mask in sorted(taken, reverse=True):
        text = text[:begin] + mask + text[end:]
    return text
