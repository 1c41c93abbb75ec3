"""Ending asyncio tasks for certain, and telling who ended one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
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


class Misbehaved(Exception):
    """What was awaited ended in a way that would have ended more than itself."""


@asynccontextmanager
async def strangers_code(seconds: float | None = None) -> AsyncIterator[asyncio.Timeout]:
    """Around the code of plugins: whatever it does within ``seconds`` is a mistake like any other.

    :raises Misbehaved: instead of SystemExit, which would end the process, and of a cancellation by nobody, such as of
        a task of its own.
    """
    try:
        async with asyncio.timeout(seconds) as limit:
            yield limit
    except SystemExit as error:
        raise Misbehaved(f"it tried to end the program (exit {error.code})") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Misbehaved("it cancelled itself") from error


def _log_errors(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()):
            log.info("a task ended with %s", type(error).__name__)
