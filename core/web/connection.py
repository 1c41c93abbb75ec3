"""A connection of the web process: uvicorn's, with ends to what one visitor may take of it. uvicorn keeps in memory
whatever arrives of a request's head, waits for the rest for ever, and takes connections while there is a file
descriptor left."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections import Counter
from functools import lru_cache
from ipaddress import ip_address

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from core.web.headers import NO_STORE, security_headers
from core.web.proxies import plain, visitor

MOST_HEAD = 65_536
"""Bytes. One read of the socket may go beyond it, by 256 KB."""
HEAD_SECONDS = 20.0
LEAST_BODY = 10_000
"""Bytes of a body that must come in each `BODY_SECONDS`: ten times less than the slowest of telephones sends."""
BODY_SECONDS = 20.0
STOP_SECONDS = 1.0
"""So long a process that stops waits for the rest of a body."""
MOST_FILES = 8192
MOST_OF_ONE = 1024
"""Connections of one address that is somebody's alone; what a proxy at hand passes on is the proxy's to limit."""

logger = logging.getLogger("vouchsafe.web")
_open: Counter[str] = Counter()
"""Connections of this process, by visitor."""


def make_room() -> None:
    """A process usually begins with 1,024 file descriptors, which is not even as many buyers: take what it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@lru_cache(maxsize=4096)
def counted(peer: str) -> str:
    """Whose connections are counted together; nobody's (empty) those of a machine at hand: it is a proxy, for many."""
    address = plain(peer)
    try:
        return visitor(address) if ip_address(address).is_global else ""
    except ValueError:
        return ""


class Answer:
    """What an answer is written to. To close a line on which a body still comes would reset it, and the answer, such as
    that a file is too large, be lost on its way: a proxy then says 502."""

    def __init__(self, connection: Connection) -> None:
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing
        self.close = connection.end


class Connection(HttpToolsProtocol):
    _visitor = ""
    _held = 0
    """Bytes that came since the last head or piece of a body was whole."""
    _late: asyncio.TimerHandle | None = None
    _in_body = False
    _came = 0
    """Bytes of the body since it was last looked at."""
    _look: asyncio.TimerHandle | None = None
    _ending = False
    """The answer is given, and the line is closed when the rest of the body has come."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_the_rest()
        self._visitor = counted(self.client[0] if self.client else "")
        if self._visitor:
            self._count()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_it_all()
        self._look_no_more()
        if self._visitor:
            _open[self._visitor] -= 1
            if not _open[self._visitor]:
                del _open[self._visitor]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._held += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_body and self._look is None:
            self._look_later()
        if self._held > MOST_HEAD:
            logger.warning("A request was refused: its head goes on after %d bytes.", MOST_HEAD)
            self._refuse(431, "The headers of this request are too long.")
        elif self._held and self._late is None:
            self._expect_the_rest()

    def on_headers_complete(self) -> None:
        self._have_it_all()
        self._in_body = True
        super().on_headers_complete()
        self.cycle.transport = Answer(self)

    def on_body(self, body: bytes) -> None:
        self._have_it_all()
        self._came += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._have_it_all()
        self._look_no_more()
        super().on_message_complete()
        if self._ending:
            self.transport.close()

    def end(self) -> None:
        self._ending = self._in_body and self.cycle.response_complete
        if not self._ending:
            self.transport.close()

    def shutdown(self) -> None:
        """When the process stops: what never ends is not waited for, and its page asks the next process."""
        super().shutdown()
        visit = self.cycle.scope["state"].get("visit") if self.cycle else None
        if visit and visit.endless:
            self.transport.close()
        elif self._in_body:
            self.loop.call_later(STOP_SECONDS, self._wait_no_more)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def _count(self) -> None:
        _open[self._visitor] += 1
        if _open[self._visitor] > MOST_OF_ONE:
            logger.warning("%s holds %d connections and gets no more.", self._visitor, MOST_OF_ONE)
            self.transport.abort()

    def _expect_the_rest(self) -> None:
        self._late = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _have_it_all(self) -> None:
        self._held = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _look_later(self) -> None:
        self._came = 0
        self._look = self.loop.call_later(BODY_SECONDS, self._look_at_the_body)

    def _look_at_the_body(self) -> None:
        # While reading is paused it is we who are slow.
        if self._came >= LEAST_BODY or self.flow.read_paused:
            self._look_later()
        else:
            logger.warning("A request was cut off: %d bytes of its body came in %d s.", self._came, BODY_SECONDS)
            self.transport.abort()

    def _wait_no_more(self) -> None:
        if self._in_body:
            self.transport.abort()

    def _look_no_more(self) -> None:
        self._in_body = False
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _refuse(self, status: int, text: str) -> None:
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(text)),
            (b"connection", b"close"),
            NO_STORE,
            *security_headers(https=False),
        ]
        lines = [STATUS_LINE[status], *(b"%b: %b\r\n" % header for header in headers), b"\r\n", text.encode("ascii")]
        self.transport.write(b"".join(lines))
        self.transport.close()
