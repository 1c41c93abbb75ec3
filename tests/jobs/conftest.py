import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core import db

ROOT = Path(__file__).resolve().parents[2]


class Workers:
    """Worker programs of one test module, on one database and one Valkey."""

    def __init__(self, database_url: str, redis_url: str, log: Path) -> None:
        self.environment = {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url}
        self.log = log
        self.running: list[subprocess.Popen[bytes]] = []

    async def start(self, module: str = "tests.jobs.work") -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        self.running.append(process)
        name = f"%-{process.pid}"
        await until(lambda: db.fetchval("SELECT count(*) = 1 FROM jobs_worker WHERE name LIKE $1", name), seconds=30)
        return process

    def stop(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        self.running.clear()


async def until(met: Callable[[], Awaitable[Any]], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not await met():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def workers(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    workers = Workers(database, redis_url, tmp_path_factory.mktemp("workers") / "log")
    yield workers
    workers.stop()


@pytest.fixture(scope="module")
async def traces(pool: None) -> AsyncIterator[None]:
    """The tables in which the test jobs leave their traces."""
    from tests.jobs import work

    await db.execute(work.TABLES)
    yield
