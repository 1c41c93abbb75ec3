"""What one visitor may take of the connections: a head without an end, one that never comes, a body in drops, all."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest
import uvicorn
from uvicorn.server import ServerState

from core.web import connection
from core.web.connection import MOST_FILES, MOST_HEAD, Connection, counted
from tests.conftest import COLD, Start

from .test_headers import CSP

PIECE = b"a" * 65_536
GOES_ON = {
    "one header": (b"GET /sample HTTP/1.1\r\nHost: x\r\nX-A: ", PIECE),
    "many headers": (b"GET /sample HTTP/1.1\r\nHost: x\r\n", b"X-A: a\r\n" * 8192),
    "an address": (b"GET /", PIECE),
    "a trailer": (
        b"POST /sample/json HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX-A: ",
        PIECE,
    ),
}
MOST_TAKEN = 8_000_000
"""What two sockets hold on their own, with much to spare."""


@asynccontextmanager
async def line(site: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = site.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    yield reader, writer
    writer.close()


async def everything(reader: asyncio.StreamReader) -> bytes:
    """Until the other side ends the connection."""
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionError:
        return b""


@pytest.mark.parametrize("begins, goes_on", GOES_ON.values(), ids=GOES_ON.keys())
async def test_a_head_without_an_end_is_cut_off(site: str, begins: bytes, goes_on: bytes) -> None:
    sent = 0
    async with line(site) as (reader, writer):
        writer.write(begins)
        while sent < MOST_TAKEN and not reader.at_eof() and not writer.is_closing():
            writer.write(goes_on)
            sent += len(goes_on)
            try:
                await writer.drain()
            except ConnectionError:
                break
        assert sent < MOST_TAKEN
        await everything(reader)


async def test_who_stops_at_the_limit_is_told_why(site: str) -> None:
    async with line(site) as (reader, writer):
        writer.write(b"GET /sample HTTP/1.1\r\nHost: x\r\nX-A: ")
        writer.write(b"a" * MOST_HEAD)
        head, _, body = (await everything(reader)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ") and b"connection: close" in head
    assert f"content-security-policy: {CSP}".encode() in head
    assert body == b"The headers of this request are too long."


async def test_what_is_no_request_is_refused_with_our_headers(site: str) -> None:
    async with line(site) as (reader, writer):
        writer.write(b"\x16\x03\x01 is it https?\r\n\r\n")
        answer = await everything(reader)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert f"content-security-policy: {CSP}".encode() in answer


async def test_a_long_head_that_ends_is_a_request_as_any_other(site: str) -> None:
    async with line(site) as (reader, writer):
        for _ in range(2):  # the second in the same connection
            writer.write(b"GET /sample HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * (MOST_HEAD - 100) + b"\r\n\r\n")
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
            length = 0
            while (header := (await reader.readuntil(b"\r\n")).strip()) != b"":
                if header.startswith(b"content-length: "):
                    length = int(header.partition(b" ")[2])
            await reader.readexactly(length)


@pytest.mark.parametrize("path", [b"/sample", b"/nowhere"])
async def test_a_question_for_the_head_alone_leaves_the_connection_open(site: str, path: bytes) -> None:
    async with line(site) as (reader, writer):
        for _ in range(2):
            writer.write(b"HEAD " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"\r\ncontent-length: 0\r\n" not in head and b"\r\ncontent-length: " in head
        writer.write(b"GET /sample HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await everything(reader)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("begun", [b"", b"GET /sample HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a head"])
async def test_a_head_that_does_not_come_is_not_waited_for_but_a_body_is(site: str, begun: bytes, monkeypatch) -> None:
    async with line(site) as (reader, writer):
        body = b'{"sku": "A", "quantity": 2}'
        writer.write(b"POST /sample/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
        writer.write(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(body[:3])
        await writer.drain()
        monkeypatch.setattr(connection, "HEAD_SECONDS", 0.1)
        async with line(site) as (late_reader, late_writer):
            late_writer.write(begun)
            assert await everything(late_reader) == b""
        writer.write(body[3:])
        answer = await everything(reader)
    assert answer.startswith(b"HTTP/1.1 201 ") and answer.endswith(b'{"sku":"A","quantity":2}')


@pytest.mark.parametrize("begun", [b"", b'{"sku"'], ids=["nothing", "a part"])
async def test_a_body_in_drops_is_cut_off(site: str, begun: bytes, monkeypatch) -> None:
    monkeypatch.setattr(connection, "LEAST_BODY", 5)
    monkeypatch.setattr(connection, "BODY_SECONDS", 0.1)
    async with line(site) as (reader, writer):
        writer.write(b"POST /sample/json HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n")
        writer.write(b"Content-Type: application/json\r\n\r\n" + begun)
        assert await everything(reader) == b""


async def test_what_is_too_large_is_heard_out_so_that_the_answer_arrives(site: str) -> None:
    """nginx sends all of a body before it reads, and ends each connection."""
    async with line(site) as (reader, writer):
        writer.write(b"POST /sample/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
        writer.write(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (80 * len(PIECE)))
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413 ")
        for _ in range(80):
            writer.write(PIECE)
            await writer.drain()
        assert b"\r\nconnection: close\r\n" in await everything(reader)


async def test_a_process_that_stops_waits_for_a_body_a_moment_only(site: str, monkeypatch) -> None:
    connections = []
    begin = Connection.connection_made

    def noted(self: Connection, transport: asyncio.Transport) -> None:
        connections.append(self)
        begin(self, transport)

    monkeypatch.setattr(Connection, "connection_made", noted)
    monkeypatch.setattr(connection, "STOP_SECONDS", 0)
    monkeypatch.setattr(connection, "BODY_SECONDS", 1000)
    async with line(site) as (reader, writer):
        writer.write(b"POST /sample/json HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\nExpect: 100-continue\r\n")
        writer.write(b"Content-Type: application/json\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"  # waits for the body
        connections[-1].shutdown()
        assert await everything(reader) == b""


class Wire(asyncio.Transport):
    """The server's end of a connection from an address that this machine does not have."""

    def __init__(self, peer: str) -> None:
        super().__init__({"peername": (peer, 50_000), "sockname": ("203.0.113.1", 80)})
        self.cut = False

    def abort(self) -> None:
        self.cut = True

    def close(self) -> None:
        self.abort()

    def is_closing(self) -> bool:
        return self.cut


async def connected(peer: str) -> tuple[Connection, Wire]:
    settings = uvicorn.Config(lambda scope, receive, send: None, http=Connection, log_config=None)
    settings.load()
    one, wire = Connection(settings, ServerState(), {}), Wire(peer)
    one.connection_made(wire)
    return one, wire


async def test_one_address_does_not_get_all_connections(monkeypatch, caplog) -> None:
    monkeypatch.setattr(connection, "MOST_OF_ONE", 2)
    held = [await connected("198.18.0.1") for _ in range(4)]
    assert [wire.cut for _, wire in held] == [False] * 4  # not anybody's in the net: a proxy at hand
    first, second, third = [await connected("9.9.9.9") for _ in range(3)]
    other = await connected("9.9.9.10")
    assert [wire.cut for _, wire in (first, second, third, other)] == [False, False, True, False]
    assert "9.9.9.9 holds 2 connections and gets no more." in caplog.text

    third[0].connection_lost(None)
    fourth = await connected("9.9.9.9")
    assert fourth[1].cut
    for one in (fourth, second):
        one[0].connection_lost(None)
    fifth = await connected("9.9.9.9")
    assert not fifth[1].cut
    for connection_, _ in (*held, first, other, fifth):
        connection_.connection_lost(None)
    assert not connection._open


@pytest.mark.parametrize(
    "peer, who",
    [
        ("9.9.9.9", "9.9.9.9"),
        ("::ffff:9.9.9.9", "9.9.9.9"),
        ("2606:4700::6810:84e5", "2606:4700::/64"),
        ("2606:4700::1", "2606:4700::/64"),
        ("127.0.0.1", ""),
        ("172.17.0.1", ""),
        ("fe80::1%eth0", ""),
        ("", ""),
    ],
)
def test_who_is_one_visitor(peer: str, who: str) -> None:
    assert counted(peer) == who


def test_a_web_process_takes_the_file_descriptors_it_may_have(start: Start) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        web = start("web", program=COLD)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    may_have = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    assert psutil.Process(web.process.pid).rlimit(psutil.RLIMIT_NOFILE) == (max(1024, may_have), hard)
