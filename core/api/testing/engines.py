"""One PostgreSQL and one Valkey for a whole run of pytest; a fresh, migrated database for every test module.

Switched on by ``-p core.api.testing.engines`` in the options of pytest.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

import core

SHOP = Path(core.__file__).resolve().parent.parent
"""The folder of the shop itself, wherever the tests are."""

TEMPLATE = "migrated"
MIGRATE = """
import asyncio, os
from core import db
async def main():
    await db.open_pool(os.environ["DATABASE_URL"], size=2)
    await db.migrate()
    await db.close_pool()
asyncio.run(main())
"""


@dataclass(frozen=True)
class TestEngines:
    """The addresses of the engines of this test run, and its programs (psql, pg_dump and so on)."""

    __test__ = False

    database_url: str
    redis_url: str
    programs: str

    def url_of(self, database: str) -> str:
        return urlunsplit(urlsplit(self.database_url)._replace(path=f"/{database}"))

    def sql(self, statement: str, database: str = "vouchsafe") -> str:
        """Run one statement from outside the program under test; gives the rows as text."""
        psql = [f"{self.programs}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", self.url_of(database), "-c", statement]
        done = subprocess.run(psql, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()


MEMORY = Path("/dev/shm")  # noqa: S108 - each run makes a folder of its own there
ROOM = 3 << 30


@contextlib.contextmanager
def _files_in_memory() -> Iterator[None]:
    """A run makes a hundred thousand small files and throws them away: where there is room, no disk sees them."""
    if "TMPDIR" in os.environ or not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM:
        yield
        return
    for left in MEMORY.glob("vouchsafe-*"):
        with contextlib.suppress(OSError), _held(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="vouchsafe-", dir=MEMORY))
    folder.chmod(0o755)
    with _held(folder):
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
        yield
        del os.environ["TMPDIR"]
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Nobody else may hold `folder` as long as this run lives, however it ends."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(opened)


class _Owner:
    """Owns the engines of the run; with pytest-xdist this is the controller, whose workers only get addresses."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self._open.enter_context(_files_in_memory())
        self._engines: TestEngines | None = None

    def engines(self) -> TestEngines:
        if self._engines is None:
            self._engines = self._start()
        return self._engines

    def _start(self) -> TestEngines:
        from core import embedded

        home = Path(tempfile.mkdtemp(prefix="vouchsafe-tests-"))
        home.chmod(0o711)
        self._open.callback(shutil.rmtree, home)
        owned = embedded.Engines(home)
        owned.start()
        self._open.callback(owned.stop)
        place = owned.place
        running = TestEngines(place.database_url, place.redis_url, str(place.postgres_bin))
        running.sql(f"CREATE DATABASE {TEMPLATE}")
        environment = {**os.environ, "DATABASE_URL": running.url_of(TEMPLATE)}
        subprocess.run([sys.executable, "-c", MIGRATE], cwd=SHOP, env=environment, check=True)
        return running

    def stop(self) -> None:
        self._open.close()


_OWNER = pytest.StashKey[_Owner]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engines", metavar="FILE", help="use the engines of another run: their addresses as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_OWNER] = _Owner()
    config.addinivalue_line("markers", "contract: what every plugin of a kind must keep; `check-plugin` looks at these")


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_OWNER].stop()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    if not node.config.getoption("--engines"):
        node.workerinput["engines"] = asdict(node.config.stash[_OWNER].engines())


@pytest.fixture(scope="session")
def engines(request: pytest.FixtureRequest) -> TestEngines:
    given = getattr(request.config, "workerinput", {}).get("engines")
    if file := request.config.getoption("--engines"):
        given = json.loads(Path(file).read_text())
    return TestEngines(**given) if given else request.config.stash[_OWNER].engines()


_numbers = itertools.count(1)


def _scope_of_databases(fixture_name: str, config: pytest.Config) -> Any:
    """Whoever borrows engines wants to be quick, and tries plugins that keep out of each other's way."""
    return "session" if config.getoption("--engines") else "module"


@pytest.fixture(scope=_scope_of_databases)
def database(engines: TestEngines) -> Iterator[str]:
    """The address of a database of this module's own, migrated and empty."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    engines.sql(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
    yield engines.url_of(name)
    # FORCE may not end an autovacuum worker, a plain DROP may; so only our own connections are ended by hand.
    ours = f"datname = '{name}' AND usename = user"
    engines.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE " + ours)  # noqa: S608
    engines.sql(f"DROP DATABASE {name}")


@pytest.fixture(scope="module")
async def pool(database: str) -> AsyncIterator[None]:
    """`core.db` of this process opened on the module's database."""
    from core import db
    from core.shops import service as shops

    # what this process remembers of the database of another module
    shops.forget()
    await db.open_pool(database, size=16)
    yield
    await db.close_pool()


@pytest.fixture(scope="module")
def redis_url(engines: TestEngines) -> str:
    """An empty Valkey database that no test running at the same time uses."""
    import redis

    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
    url = f"{engines.redis_url}?db={number}"
    with redis.from_url(url) as client:  # type: ignore[no-untyped-call]
        client.flushdb()
    return url
