"""An application on a port of its own, in the process of the test."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from litestar import Litestar

from core.web.connection import Connection


@contextmanager
def own_port(host: str = "127.0.0.1") -> Iterator[tuple[socket.socket, str]]:
    """A listening socket and the address of what will answer there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, because asyncio sends at once only on sockets that say so; others wait 40 ms for each answer.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind((host, 0))
        yield listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


def furnished(home: Path) -> Path:
    """The data folder, with what the shops in the folders beside it compiled of their templates."""
    compiled = home.parent / "compiled-templates"
    compiled.mkdir(mode=0o700, exist_ok=True)
    (home / "cache").mkdir(exist_ok=True)
    if not (home / "cache" / "templates").exists():
        (home / "cache" / "templates").symlink_to(compiled)
    return home


@asynccontextmanager
async def serving(app: Litestar, listener: socket.socket) -> AsyncIterator[None]:
    settings = uvicorn.Config(
        app,
        http=Connection,
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    settings.load()
    server = uvicorn.Server(settings)
    server.lifespan = settings.lifespan_class(settings)
    await server.startup(sockets=[listener])
    # `serve()` would go on ticking, and look only ten times a second whether it is to end.
    await server.on_tick(0)
    yield
    await server.shutdown(sockets=[listener])
