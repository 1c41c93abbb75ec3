"""Ending asyncio tasks for certain, and telling who ended one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger("vouchsafe.tasks")

AGAIN_SECONDS = 0.2


async def end(*tasks: asyncio.Task[Any], within: float | None = None) -> None:
    """Cancel ``tasks`` until they hear it, for ``within`` seconds at most; their errors are logged.

    Once is not enough: ``asyncio.wait_for`` and some clients lose a cancellation that comes with their result.
    """
    going = {task for task in tasks if not task.done()}
    until = None if within is None else time.monotonic() + within
    while going and (until is None or time.monotonic() < until):
        for task in going:
            task.cancel()
        _, going = await asyncio.wait(going, timeout=AGAIN_SECONDS)
    _log_errors(tasks)


class CancelledItself(Exception):
    """What was awaited ended as if this task had been cancelled, and nobody has cancelled it."""

    def __init__(self) -> None:
        super().__init__("it cancelled itself")


@contextmanager
def cancelled_by_others_only() -> Iterator[None]:
    """Around the code of strangers: a cancellation out of it, of a task of its own say, is a mistake like any other.

    :raises CancelledItself: instead of such a cancellation.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise CancelledItself from error


def _log_errors(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()):
            log.info("a task ended with %s", type(error).__name__)
