"""A mark in a page that becomes a fresh random key each time the page is handed out, cached or not."""

from __future__ import annotations

import secrets

MARK = "once-" + secrets.token_hex(16)
SIZE = len(MARK)


def once() -> str:
    """For templates: an idempotency key of this copy of the page."""
    return MARK


def fresh() -> str:
    """As long as the mark, so that lengths stay the same."""
    return secrets.token_urlsafe(SIZE)[:SIZE]


def filled(text: str) -> str:
    first, *rest = text.split(MARK)
    return first + "".join(fresh() + part for part in rest)
