"""One worker process: arq listens for the bell, the sweeper for what nobody rang for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import arq.worker
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from core import db, tasks
from core.config import Config
from core.jobs import bell, registry, sweeper
from core.jobs.queue import ARQ_FUNCTION, DAY_MS, to_json
from core.jobs.runner import DATABASE_AWAY, MOST_WAITING, Runner
from core.outage import Outage

log = logging.getLogger("vouchsafe.jobs")

SLOTS = 10
POLL_SECONDS = 0.05
LONGEST_WAIT = 2.0

Prepare = Callable[[Config], AbstractAsyncContextManager[Any]]


@contextlib.asynccontextmanager
async def core_jobs(config: Config) -> AsyncIterator[None]:
    registry.import_core()
    yield


async def main(config: Config | None = None, *, prepare: Prepare = core_jobs) -> None:
    """Run jobs until SIGTERM or SIGINT; then let those that run finish, for a few seconds at most.

    ``prepare`` makes the jobs and what they need known, once the database pool is open.
    """
    config = config or Config.from_env()
    if not config.database_url:
        raise RuntimeError("a worker needs DATABASE_URL")
    stop = _stop_asked()
    logging.getLogger("arq").setLevel(logging.WARNING)
    try:
        await db.open_pool(config.database_url, size=SLOTS + 6)
    except db.CANNOT_OPEN as error:
        raise db.cannot_open(error) from None
    try:
        async with prepare(config), _bell(config.redis_url):
            await _work(config.redis_url, stop)
    finally:
        await db.close_pool()


@contextlib.asynccontextmanager
async def _bell(redis_url: str | None) -> AsyncIterator[None]:
    if redis_url:
        bell.open(redis_url)
    try:
        yield
    finally:
        await bell.close()


def _stop_asked() -> asyncio.Event:
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    return stop


async def _work(redis_url: str | None, stop: asyncio.Event) -> None:
    runner = Runner(SLOTS)
    name = f"{socket.gethostname()}-{os.getpid()}"
    keep = [asyncio.create_task(runner.beat_for_ever()), asyncio.create_task(sweeper.show_alive_for_ever(name))]
    find = [asyncio.create_task(sweeper.sweep_for_ever(runner))]
    if redis_url:
        find.append(asyncio.create_task(_answer_bell_for_ever(redis_url, runner)))
    stopped = asyncio.create_task(stop.wait())
    log.info("worker %s is ready", name)
    ended, _ = await asyncio.wait({stopped, *keep, *find}, return_when=asyncio.FIRST_COMPLETED)
    await tasks.end(*find)
    await runner.stop()
    await tasks.end(*keep, stopped)
    with contextlib.suppress(*DATABASE_AWAY):
        await db.execute("DELETE FROM jobs_worker WHERE name = $1", name)
    for task in ended - {stopped}:
        task.result()
    log.info("worker %s has stopped", name)


async def _answer_bell_for_ever(redis_url: str, runner: Runner) -> None:
    """arq's worker ends when Valkey goes away; begin again until it is back."""
    wait = 0.1
    outage = Outage(log, "no bell for now, the sweeper goes on", "the bell is heard again")
    while True:
        try:
            await _answer_bell(redis_url, runner, outage)
        except (RedisError, OSError) as error:
            outage.goes_on(error)
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)


async def _answer_bell(redis_url: str, runner: Runner, outage: Outage) -> None:
    async def run(_: dict[Any, Any], job_id: int) -> None:
        await asyncio.shield(await runner.start(job_id))

    async def heard(_: dict[Any, Any]) -> None:
        outage.is_over()

    redis = ArqRedis(
        ConnectionPool.from_url(redis_url, socket_timeout=5, socket_connect_timeout=1),
        job_serializer=to_json,
        job_deserializer=json.loads,
        expires_extra_ms=DAY_MS,
    )
    # Tries, results and time limits are ours; arq keeps nothing but the fact that somebody rang.
    worker = arq.worker.Worker(
        [arq.worker.func(run, name=ARQ_FUNCTION, keep_result=0, timeout=DAY_MS / 1000, max_tries=1)],
        redis_pool=redis,
        on_startup=heard,
        handle_signals=False,
        max_jobs=2 * SLOTS + MOST_WAITING,
        poll_delay=POLL_SECONDS,
        retry_jobs=False,
        keep_result=0,
        log_results=False,
        job_serializer=to_json,
        job_deserializer=json.loads,
    )
    try:
        await worker.main()
    finally:
        _leave(worker, redis)


_leaving: set[asyncio.Task[Any]] = set()


def _leave(worker: arq.worker.Worker, redis: ArqRedis) -> None:
    """Drop arq's own notes; the jobs themselves run in the runner and are not touched."""

    async def leave() -> None:
        await tasks.end(*worker.tasks.values())
        await redis.aclose()

    task = asyncio.create_task(leave())
    _leaving.add(task)
    task.add_done_callback(_leaving.discard)
