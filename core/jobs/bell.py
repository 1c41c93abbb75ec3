"""Telling open pages that something changed, over Valkey's publish and subscribe. Best effort by design:
with Valkey away there is silence, never an error, so a page also looks by itself from time to time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from core import tasks
from core.jobs import line

log = logging.getLogger("vouchsafe.jobs")

PREFIX = "vouchsafe:"
LONGEST_WAIT = 2.0
MOST_UNREAD = 100


class _Subscriber:
    """One connection for all listeners of this process; it comes back by itself when Valkey does."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_connect_timeout=1, health_check_interval=15)
        self._listeners: dict[str, set[asyncio.Queue[str]]] = {}
        self._pubsub: PubSub | None = None
        self._reader = line.kept(self._read_for_ever())

    async def join(self, channel: str, queue: asyncio.Queue[str]) -> None:
        self._listeners.setdefault(channel, set()).add(queue)
        if self._pubsub is not None:
            with contextlib.suppress(*line.AWAY):
                await self._pubsub.subscribe(PREFIX + channel)

    async def leave(self, channel: str, queue: asyncio.Queue[str]) -> None:
        queues = self._listeners[channel]
        queues.discard(queue)
        if not queues:
            del self._listeners[channel]
            if self._pubsub is not None:
                with contextlib.suppress(*line.AWAY):
                    await self._pubsub.unsubscribe(PREFIX + channel)

    async def close(self) -> None:
        await tasks.end(self._reader)
        await self._redis.aclose()

    async def _read_for_ever(self) -> None:
        wait = 0.1
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    # a channel of our own keeps the subscription open while nobody listens
                    await pubsub.subscribe(PREFIX, *(PREFIX + channel for channel in self._listeners))
                    self._pubsub, wait = pubsub, 0.1
                    await self._read(pubsub)
            except line.AWAY:
                self._pubsub = None
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)

    async def _read(self, pubsub: PubSub) -> None:
        while True:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=10)
            if message is not None:
                channel = message["channel"].decode().removeprefix(PREFIX)
                self._hand_out(channel, message["data"].decode())

    def _hand_out(self, channel: str, text: str) -> None:
        for queue in self._listeners.get(channel, ()):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(text)


_subscriber: _Subscriber | None = None


def open(redis_url: str) -> None:
    """Connect this process to Valkey; done once at its start. Without it all bells are silent."""
    line.open_line(redis_url)


async def close() -> None:
    global _subscriber
    leaving, _subscriber = _subscriber, None
    if leaving is not None:
        await leaving.close()
    await line.close_line()


async def ring(channel: str, text: str = "") -> None:
    """Tell everyone who listens to ``channel``, in all processes. ``text`` is an id or a word, never a secret."""
    open_line = line.current()
    if open_line is not None:
        open_line.post(("PUBLISH", PREFIX + channel, text))


async def listen(channel: str) -> AsyncIterator[str]:
    """Texts rung on ``channel`` from now on. Ends only when the caller stops asking."""
    subscriber = _the_subscriber()
    if subscriber is None:
        await asyncio.Event().wait()
        return
    queue: asyncio.Queue[str] = asyncio.Queue(MOST_UNREAD)
    try:
        await subscriber.join(channel, queue)
        while True:
            yield await queue.get()
    finally:
        await subscriber.leave(channel, queue)


def _the_subscriber() -> _Subscriber | None:
    global _subscriber
    open_line = line.current()
    if _subscriber is None and open_line is not None:
        _subscriber = _Subscriber(open_line.url)
    return _subscriber
