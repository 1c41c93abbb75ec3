"""The programs of PostgreSQL that come along speak no TLS. Where the shop's own connection does, they get a socket in a
folder of ours, and what they say goes on to the same server over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import asyncpg

PIECE = 1 << 16
ASK_FOR_TLS = bytes.fromhex("0000000804d2162f")
YES = b"S"
BOUND_TO_TLS = b"SCRAM-SHA-256-PLUS\0"


@contextlib.asynccontextmanager
async def for_programs(connection: asyncpg.Connection[Any], url: str) -> AsyncIterator[str]:
    """The address at which pg_dump and pg_restore reach what ``connection`` reaches by ``url``."""
    transport = connection._transport
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if tls is None:
        yield url
        return
    place = transport.get_extra_info("peername")[:2]

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            answers, questions = await _connect(place, tls)
            with contextlib.closing(questions):
                await asyncio.gather(_pass_on(reader, questions), answer(answers, writer))

    user, database = await connection.fetchrow("SELECT session_user::text, current_database()::text")
    password = without_password(url)[1].get("PGPASSWORD", "")
    who = f"{quote(user, '')}:{quote(password, '')}" if password else quote(user, "")
    with tempfile.TemporaryDirectory(prefix="vouchsafe-") as folder:
        server = await asyncio.start_unix_server(relay, f"{folder}/.s.PGSQL.5432")
        try:
            yield f"postgresql://{who}@/{quote(database, '')}?host={quote(folder, '')}&port=5432"
        finally:
            server.close()


async def _connect(place: tuple[str, int], tls: ssl.SSLObject) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    line = await asyncio.to_thread(socket.create_connection, place, 30)
    line.setblocking(False)
    await loop.sock_sendall(line, ASK_FOR_TLS)
    if await loop.sock_recv(line, 1) != YES:
        line.close()
        raise OSError("the server speaks no TLS any more")
    return await asyncio.open_connection(sock=line, ssl=tls.context, server_hostname=tls.server_hostname or "")


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The first message names the ways to sign in; that one is bound to TLS, and who sees none takes it for a fraud."""
    with contextlib.suppress(asyncio.IncompleteReadError):
        kind, size = await reader.readexactly(1), await reader.readexactly(4)
        body = await reader.readexactly(int.from_bytes(size) - 4)
        body = body.replace(BOUND_TO_TLS, b"") if kind == b"R" else body
        writer.write(kind + (len(body) + 4).to_bytes(4) + body)
    await _pass_on(reader, writer)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()


def without_password(url: str) -> tuple[str, dict[str, str]]:
    """For the command line of another program: everybody on the machine can read that, but not its environment."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    password = query.pop("password", None) or unquote(parts.password or "")
    user, _, host = parts.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}@{host}" if user else host
    bare = urlunsplit(parts._replace(netloc=netloc, query=urlencode(query, quote_via=quote)))
    return bare, {"PGPASSWORD": password} if password else {}
