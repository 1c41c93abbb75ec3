"""A backup: the database as it was at one moment and the files beside it, in one sealed file.

Inside is a tar stream, made while it is read: ``manifest.json`` first, then the dump of the database in pieces, then
the files of the data folder. The keys of the vault and the engines' own files are never in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import asyncpg

from core import clock, engine_place, processes
from core.backup import relay
from core.config import Config, SetupProblem
from core.crash_point import crash_point
from core.vault import sealed_file
from core.vault.cipher import Secret
from core.web.i18n import _

FORMAT = 1
PIECE = 1 << 20
BLOCK = 512
MANIFEST = "manifest.json"
DATABASE = "database/"
FILES = "files/"
FOLDER = "backups"
# What the shop makes again by itself, and what must not lie beside the sealed codes.
LEFT_OUT = {"engines", "cache", FOLDER}
ONE_AT_A_TIME = 0x766F7562
OWN_SESSION = {
    "application_name": "vouchsafe backup",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "timezone": "UTC",
}


class BackupFailed(SetupProblem):
    """No backup was made; nothing was left behind."""


class AlreadyRunning(BackupFailed):
    def __init__(self) -> None:
        super().__init__(_("Another backup of this shop is being made now."))


@dataclass(frozen=True, slots=True)
class Made:
    file: Path
    size: int
    seconds: float
    taken_at: datetime
    manifest: dict[str, Any]


def default_file(config: Config) -> Path:
    folder = config.home / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"vouchsafe-{clock.now():%Y%m%d-%H%M%S}.backup"


async def make(config: Config, file: Path, to: str | Secret) -> Made:
    """Back the shop up while it sells. The file appears by one rename when it is whole.

    :raises BackupFailed: with the reason.
    """
    _check_new(file)
    began = time.monotonic()
    connection = await asyncpg.connect(config.database_url, server_settings=OWN_SESSION)
    try:
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", ONE_AT_A_TIME):
            raise AlreadyRunning
        _remove_leftovers(file.parent)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            manifest = await _manifest(connection)
            snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
            async with relay.for_programs(connection, config.database_url or "") as url:
                with _dump(url, snapshot) as dump:
                    stream = Stream(_entries(manifest, dump, config))
                    await asyncio.to_thread(write, file, stream, to)
    except (OSError, asyncpg.PostgresError) as error:
        raise BackupFailed(_("The backup could not be made: %(why)s", why=error)) from None
    finally:
        await connection.close()
    taken_at = datetime.fromisoformat(manifest["taken_at"])
    return Made(file, _size(file), time.monotonic() - began, taken_at, manifest)


def _size(file: Path) -> int:
    return file.stat().st_size


def _check_new(file: Path) -> None:
    if file.exists():
        raise BackupFailed(_("%(file)s is there already; a backup never replaces another.", file=file))
    if not file.parent.is_dir():
        raise BackupFailed(_("There is no folder %(folder)s.", folder=file.parent))


# -- what it says about itself ----------------------------------------------------------


async def _manifest(connection: asyncpg.Connection) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "taken_at": clock.now().isoformat(),
        "postgres": await connection.fetchval("SHOW server_version"),
        "migrations": await migrations(connection),
        **await figures(connection),
    }


async def migrations(connection: asyncpg.Connection) -> list[list[str]]:
    rows = await connection.fetch("SELECT app_name, name FROM migration ORDER BY app_name, name")
    return [[row["app_name"], row["name"]] for row in rows]


async def figures(connection: asyncpg.Connection) -> dict[str, Any]:
    """What a restored shop must agree with: rows of every table, the books, the stock."""
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    rows = {
        name: await connection.fetchval(f'SELECT count(*) FROM "{name}"')  # noqa: S608 - a name from the catalogue
        for name in (row["tablename"] for row in tables)
    }
    books = await connection.fetch(
        "SELECT account.shop_id || ':' || account.code || ':' || account.currency AS account,"
        " sum(posting.amount)::bigint AS balance FROM ledger_posting posting"
        " JOIN ledger_account account ON account.id = posting.account_id GROUP BY 1 ORDER BY 1"
    )
    stock = await connection.fetch("SELECT state, count(*) AS codes FROM vault_code GROUP BY 1 ORDER BY 1")
    return {
        "rows": rows,
        "books": {row["account"]: row["balance"] for row in books},
        "stock": {row["state"]: row["codes"] for row in stock},
    }


# -- the stream -------------------------------------------------------------------------


class Stream:
    """Reads pieces of any size as a file would give them."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""
        self.failure: BackupFailed | None = None

    def read(self, size: int = -1, /) -> bytes:
        while not self._left:
            piece = self._next()
            if piece is None:
                return b""
            self._left = piece
        size = len(self._left) if size < 0 else size
        given, self._left = self._left[:size], self._left[size:]
        return given

    def _next(self) -> bytes | None:
        try:
            return next(self._pieces, None)
        except BackupFailed as failure:
            self.failure = failure
            raise


def _entries(manifest: dict[str, Any], dump: Dump, config: Config) -> Iterator[bytes]:
    yield from _entry(MANIFEST, json.dumps(manifest, ensure_ascii=False).encode())
    number = 0
    while piece := dump.output.read(PIECE):
        number += 1
        yield from _entry(f"{DATABASE}{number:08d}", piece)
        crash_point("backup.half")
    dump.check()
    for path in _files(config):
        yield from _file(f"{FILES}{path.relative_to(config.home)}", path)
    yield bytes(2 * BLOCK)


def _entry(name: str, data: bytes) -> Iterator[bytes]:
    yield _head(name, len(data))
    yield data
    yield bytes(-len(data) % BLOCK)


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.PAX_FORMAT)


def _files(config: Config) -> Iterator[Path]:
    """Real files only: a link would lead out of the folder, hidden ones are drafts."""
    for folder, folders, names in os.walk(config.home):
        if Path(folder) == config.home:
            folders[:] = [name for name in folders if name not in LEFT_OUT]
        for path in (Path(folder, name) for name in sorted(names)):
            if path.is_file() and not path.is_symlink() and not path.name.startswith(".") and not _is_key(path, config):
                yield path


def _is_key(path: Path, config: Config) -> bool:
    return path in (config.master_key_file, config.home / "master.key")


def _file(name: str, path: Path) -> Iterator[bytes]:
    """As long as it is now; what is added meanwhile is for the next backup."""
    with path.open("rb") as file:
        size = left = os.fstat(file.fileno()).st_size
        yield _head(name, size)
        while left:
            piece = file.read(min(PIECE, left))
            if not piece:
                raise BackupFailed(_("%(path)s became shorter while it was read. Try again.", path=path))
            left -= len(piece)
            yield piece
        yield bytes(-size % BLOCK)


# -- the dump ---------------------------------------------------------------------------


class Dump:
    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self.process, self._errors = process, errors
        assert process.stdout is not None  # noqa: S101 - it was asked for
        self.output = process.stdout

    def check(self) -> None:
        """:raises BackupFailed: pg_dump ended with an error: what it gave is not the whole database."""
        if self.process.wait() != 0:
            self._errors.seek(0)
            raise BackupFailed(f"pg_dump: {self._errors.read(2000).decode(errors='replace').strip()}")


@contextlib.contextmanager
def _dump(database_url: str, snapshot: str) -> Iterator[Dump]:
    """Codes and pictures do not compress, and the rest is small: the quickest level is enough."""
    url, password = relay.without_password(database_url)
    options = [
        "--format=custom",
        "--compress=gzip:1",
        "--no-owner",
        "--no-acl",
        f"--snapshot={snapshot}",
        f"--dbname={url}",
    ]
    with tempfile.TemporaryFile() as errors:
        process = processes.spawn(
            [engine_place.postgres_program("pg_dump"), *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **password},
        )
        try:
            yield Dump(process, errors)
        finally:
            process.kill()
            process.communicate()


# -- the file ---------------------------------------------------------------------------


def write(file: Path, stream: Stream, to: str | Secret) -> None:
    """Seal the stream into a new file.

    :raises BackupFailed: with the reason of the stream where that broke.
    """
    with appearing_whole(file) as draft:
        try:
            sealed_file.seal(stream, draft, to)
        except sealed_file.CannotSeal as error:
            raise stream.failure or BackupFailed(str(error)) from None


@contextlib.contextmanager
def appearing_whole(file: Path) -> Iterator[IO[bytes]]:
    """A file that has its name only when it is complete and on the disk."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as output:
            yield output
            output.flush()
            os.fsync(output.fileno())
        crash_point("backup.before_name")
        draft.rename(file)
        _keep(file.parent)
    finally:
        draft.unlink(missing_ok=True)


def _keep(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_leftovers(folder: Path) -> None:
    """What a killed backup left: this one alone may write now."""
    for draft in folder.glob(".*.backup.*.part"):
        draft.unlink(missing_ok=True)
