"""The whole shop as a program of its own, on the database of a test."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from core.api.testing.engines import SHOP

READY_SECONDS = 60.0


@asynccontextmanager
async def running(database: str, redis_url: str, key: bytes) -> AsyncIterator[httpx.AsyncClient]:
    """``server.py web`` with the plugins that are on in ``database``; gives a browser without JavaScript."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        port = _free_port()
        environment = {
            "VOUCHSAFE_HOME": folder,
            **os.environ,
            "VOUCHSAFE_PORT": str(port),
            "VOUCHSAFE_MASTER_KEY": key.hex(),
            "VOUCHSAFE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
            "DATABASE_URL": database,
            "REDIS_URL": redis_url,
        }
        log = Path(folder, "web.log")
        command = (sys.executable, str(SHOP / "server.py"), "web", "--no-demo")
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=output, stderr=output)
        address = f"http://127.0.0.1:{port}"
        try:
            async with httpx.AsyncClient(base_url=address, headers={"origin": address}, timeout=30) as browser:
                await _ready(browser, process, log)
                yield browser
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _ready(browser: httpx.AsyncClient, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while True:
            assert process.returncode is None, f"the shop does not start: {log.read_text()[-2000:]}"
            try:
                if (await browser.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
