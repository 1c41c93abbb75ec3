"""Limits are counted in fixed windows; a test that counts must not run across the edge of one."""

from contextlib import AbstractContextManager

from core import clock


def one_window() -> AbstractContextManager[None]:
    """Time stands still, so that no window of a limit ends meanwhile."""
    now = clock.now()
    return clock.use(lambda: now)
