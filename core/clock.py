"""The one source of time. Always UTC; a test may put another clock in its place.

Hosts whose clocks differ would not agree on what is over. So every process goes by the clock of the database:
``core.db`` measures how far this host's is away from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

_away = timedelta(0)


def host() -> datetime:
    """What this host's own clock says."""
    return datetime.now(UTC)


def set_by(away: timedelta) -> None:
    """From now on ``now()`` is so much later than this host's clock."""
    global _away
    _away = away


def away() -> timedelta:
    return _away


def _system() -> datetime:
    return host() + _away


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
