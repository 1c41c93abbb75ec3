"""Ending asyncio tasks for certain."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
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


def _log_errors(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()):
            log.info("a task ended with %s", type(error).__name__)
