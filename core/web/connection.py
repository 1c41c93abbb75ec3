"""A connection of the web process: uvicorn's, with an end to how long a request's head may be and how late it may
come. uvicorn keeps in memory whatever arrives of a head, and waits for the rest for ever."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from core.web.headers import NO_STORE, security_headers

MOST_HEAD = 65_536
"""Bytes. One read of the socket may go beyond it, by 256 KB."""
HEAD_SECONDS = 20.0


class Connection(HttpToolsProtocol):
    _held = 0
    """Bytes that came since the last head or piece of a body was whole."""
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_the_rest()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_it_all()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._held += len(data)
        super().data_received(data)
        if not self._held or self.transport.is_closing():
            return
        if self._held > MOST_HEAD:
            self.logger.warning("A request was refused: its head goes on after %d bytes.", MOST_HEAD)
            self._refuse(431, "The headers of this request are too long.")
        elif self._late is None:
            self._expect_the_rest()

    def on_headers_complete(self) -> None:
        self._have_it_all()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._have_it_all()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._have_it_all()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def _expect_the_rest(self) -> None:
        self._late = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _have_it_all(self) -> None:
        self._held = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

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
