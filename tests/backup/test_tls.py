"""A PostgreSQL that is reached over TLS: the programs that dump and restore come without it."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from core.backup import relay
from tests.backup.test_backup import TABLES, name_of
from tests.messages.conftest import certificate  # noqa: F401 - a fixture

PASSWORD = "p@ss/wörd#1?"


class Front:
    """Stands before PostgreSQL and lets nobody in without TLS."""

    def __init__(self, socket_path: str, context) -> None:
        self.path, self.context = socket_path, context
        self.ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        await self.stop.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(8) != relay.ASK_FOR_TLS:
                writer.close()
                return
            writer.write(relay.YES)
            await writer.drain()
            await writer.start_tls(self.context)
            answers, questions = await asyncio.open_unix_connection(self.path)
            await asyncio.gather(self._pass_on(reader, questions), self._pass_on(answers, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while piece := await reader.read(1 << 16):
                writer.write(piece)
                await writer.drain()

    def __enter__(self) -> "Front":
        self.thread.start()
        self.ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join()

    def address(self, database: str) -> str:
        return f"postgresql://vouchsafe:{quote(PASSWORD, '')}@127.0.0.1:{self.port}/{database}?sslmode=require"


@pytest.fixture(scope="module")
def front(engines, certificate) -> Iterator[Front]:  # noqa: F811 - the fixture
    (folder,) = parse_qs(urlsplit(engines.database_url).query)["host"]
    with Front(f"{folder}/.s.PGSQL.5432", certificate[1]) as front:
        yield front


def test_a_backup_and_a_restore_over_tls(front, room, web, engines):
    there = front.address(name_of(web.environ["DATABASE_URL"]))
    file = room.backup("tls.backup", DATABASE_URL=there)
    database = name_of(room.new_database())
    done = room.restore(file, room.folder / "over-tls", front.address(database), "--nothing-sold-since")
    assert done.returncode == 0, done.stderr
    assert int(engines.sql(TABLES, database)) > 50


def test_a_password_reaches_the_programs_as_it_is():
    url, environ = relay.without_password(f"postgresql://shop:{quote(PASSWORD, '')}@db.example.com/shop")
    assert url == "postgresql://shop@db.example.com/shop"
    assert environ == {"PGPASSWORD": PASSWORD}


async def test_a_way_to_sign_in_that_is_bound_to_tls_is_not_offered():
    """PostgreSQL's own programs would take it for a fraud, since they see no TLS."""
    ways = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"
    answers = asyncio.StreamReader()
    answers.feed_data(b"R" + (8 + len(ways)).to_bytes(4) + (10).to_bytes(4) + ways + b"and on")
    answers.feed_eof()
    heard = Heard()
    await relay.answer(answers, heard)
    assert bytes(heard.bytes) == b"R" + (23).to_bytes(4) + (10).to_bytes(4) + b"SCRAM-SHA-256\0\0and on"


class Heard:
    def __init__(self) -> None:
        self.bytes = bytearray()
        self.write = self.bytes.extend

    async def drain(self) -> None: ...

    def close(self) -> None: ...
