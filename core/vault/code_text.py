"""The text of a code: what is kept of it, what tells two codes apart, what may be shown."""

from __future__ import annotations

import re
import unicodedata

MAX_CODE = 4096
DOTS = "••••"

# Signs that cannot be seen: zero width, soft hyphen, direction marks, byte order mark.
INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
PARTS = re.compile(r"-{4}|[|,;:\s]")
LETTER = re.compile(r"\w")


def clean(text: str) -> str:
    """A code as it is sealed and later handed out: no blanks around it, nothing invisible inside."""
    if text.isascii():
        return text.strip()
    return INVISIBLE.sub("", text).strip()


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


def outline(cell: str) -> str:
    """A cell of an uploaded table so that its owner knows the column, without showing what is in it."""
    shown = min(4, len(cell) // 4)
    return cell[:shown] + LETTER.sub("•", cell[shown:80])
