"""The application behind a real web server, with a small feature of sample pages."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from litestar import Litestar

from core.app import create_app
from core.config import Config

from .sample import feature as sample


@asynccontextmanager
async def served(app: Litestar) -> AsyncIterator[str]:
    """The address of ``app`` on a port of its own."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, lifespan="on", proxy_headers=False, server_header=False, log_config=None, access_log=False)
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        assert not task.done(), task.exception()
        await asyncio.sleep(0)
    yield "http://{}:{}".format(*listener.getsockname())
    server.should_exit = True
    await task
    listener.close()


MakeSite = Callable[..., Awaitable[str]]


@pytest.fixture(scope="module")
def config(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Config:
    home = tmp_path_factory.mktemp("home")
    return Config.from_env({"VOUCHSAFE_HOME": str(home), "DATABASE_URL": database, "REDIS_URL": redis_url})


@pytest.fixture(scope="module")
def app(config: Config) -> Litestar:
    return create_app(config, names=(), extra_features=[sample])


@pytest.fixture(scope="module")
async def site(app: Litestar) -> AsyncIterator[str]:
    async with served(app) as address:
        yield address


@pytest.fixture
async def client(site: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=site, headers={"accept-language": "en"}) as browser:
        yield browser


@pytest.fixture
def home(config: Config) -> Path:
    return config.home


def html_headers(**more: str) -> dict[str, Any]:
    return {"sec-fetch-site": "same-origin", **more}
