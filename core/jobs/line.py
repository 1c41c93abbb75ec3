"""The line to Valkey: commands are posted without waiting, sent together, and dropped when nobody answers.

Nothing depends on a command arriving. PostgreSQL holds every job; the sweeper finds what was not rung for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from core import tasks
from core.outage import Outage

log = logging.getLogger("vouchsafe.jobs")

Command = tuple[Any, ...]

ANSWER_SECONDS = 1.0
REST_SECONDS = 0.5
MOST_WAITING = 10_000
AWAY = (RedisError, OSError, RuntimeError, AttributeError)
"""What is raised while Valkey is away. The last two come from uvloop and redis-py about a connection that broke in the
same moment: "the handler is closed", "another coroutine is already waiting", an attribute of None."""


def kept(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that is to last as long as the process: its unforeseen end is a mistake and is logged as one."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("a part of the line to Valkey broke", exc_info=task.exception())

    task = asyncio.create_task(work)
    task.add_done_callback(ended)
    return task


class Line:
    def __init__(self, url: str) -> None:
        self.url = url
        self._redis = Redis.from_url(url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS)
        self._waiting: list[Command] = []
        self._wake = asyncio.Event()
        self._down_until = 0.0
        self._outage = Outage(log, "Valkey does not answer, jobs go on from PostgreSQL", "Valkey answers again")
        self._sender = kept(self._send_for_ever())

    def post(self, *commands: Command) -> None:
        """Send soon, all that came together in one go; dropped when Valkey is away."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.extend(commands)
            self._wake.set()

    async def deliver(self, commands: list[Command]) -> bool:
        """Send now and say whether Valkey took them."""
        if time.monotonic() < self._down_until:
            return False
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._redis.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                await pipe.execute()
        except AWAY as error:
            self._down_until = time.monotonic() + REST_SECONDS
            self._outage.goes_on(error)
            return False
        self._outage.is_over()
        return True

    async def close(self) -> None:
        await tasks.end(self._sender)
        if self._waiting:
            await self.deliver(self._waiting)
        await self._redis.aclose()

    async def _send_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            commands, self._waiting = self._waiting, []
            await self.deliver(commands)


_line: Line | None = None


def open_line(url: str) -> Line:
    global _line
    if _line is not None:
        raise RuntimeError("the line to Valkey is open already")
    _line = Line(url)
    return _line


async def close_line() -> None:
    global _line
    closing, _line = _line, None
    if closing is not None:
        await closing.close()


def current() -> Line | None:
    return _line
