"""A product without a picture gets a cover out of its name: always the same one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from zlib import crc32

TONES = (
    ("#0a6b4d", "#12395b"),
    ("#6b2fa0", "#2b2a6f"),
    ("#a8324a", "#5a1f4e"),
    ("#0b6a8c", "#1b3d8f"),
    ("#8a4b08", "#6b1f2f"),
    ("#3d5a1e", "#0e4f4a"),
)
"""From and to of each colour run, dark enough for white letters. ``buying.css`` has the same."""
SHAPES = 3
CHINESE = re.compile(r"[\u3400-\u9fff]")
WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Cover:
    tone: int
    shape: int
    letters: str


def cover_of(slug: str, title: str) -> Cover:
    mark = crc32(slug.encode())
    return Cover(mark % len(TONES), mark // len(TONES) % SHAPES, letters_of(title))


def letters_of(title: str) -> str:
    """Two signs of a Chinese name, else the first letters of two words."""
    chinese = CHINESE.findall(title)
    if chinese:
        return "".join(chinese[:2])
    return "".join(word[0] for word in WORD.findall(title)[:2]).upper()
