"""The one source of time. Always UTC; a test may put another clock in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime


def _system() -> datetime:
    return datetime.now(UTC)


_current: Callable[[], datetime] = _system


def now() -> datetime:
    return _current()


@contextmanager
def use(source: Callable[[], datetime]) -> Iterator[None]:
    """Let ``now()`` ask ``source`` for as long as the block lasts."""
    global _current
    before, _current = _current, source
    try:
        yield
    finally:
        _current = before
