"""One PostgreSQL and one Valkey for the whole run; a fresh, migrated database for every module."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from core import embedded

ROOT = Path(__file__).resolve().parent.parent
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
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


class _Owner:
    """Owns the engines of the run; with pytest-xdist this is the controller, whose workers only get addresses."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self._engines: TestEngines | None = None

    def engines(self) -> TestEngines:
        if self._engines is None:
            self._engines = self._start()
        return self._engines

    def _start(self) -> TestEngines:
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
        subprocess.run([sys.executable, "-c", MIGRATE], cwd=ROOT, env=environment, check=True)
        return running

    def stop(self) -> None:
        self._open.close()


_OWNER = pytest.StashKey[_Owner]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_OWNER] = _Owner()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_OWNER].stop()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["engines"] = asdict(node.config.stash[_OWNER].engines())


@pytest.fixture(scope="session")
def engines(request: pytest.FixtureRequest) -> TestEngines:
    given = getattr(request.config, "workerinput", {}).get("engines")
    return TestEngines(**given) if given else request.config.stash[_OWNER].engines()


_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def database(engines: TestEngines) -> Iterator[str]:
    """The address of a database of this module's own, migrated and empty."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    engines.sql(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield engines.url_of(name)
    # FORCE may not end an autovacuum worker, a plain DROP may; so only our own connections are ended by hand.
    ours = f"datname = '{name}' AND usename = user"
    engines.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE " + ours)
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
    with redis.from_url(url) as client:
        client.flushdb()
    return url


# ── the real server as a child ───────────────────────────────────────────────────────────────────────────────


@dataclass
class Child:
    """A running `server.py` command. `url` is where its shop is (empty for a worker)."""

    process: subprocess.Popen[bytes]
    url: str
    home: Path
    log: Path
    environ: dict[str, str]

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, words: str, seconds: float = 60) -> str:
        deadline = time.monotonic() + seconds
        while words not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)
        return self.output

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sign)
        return self.process.wait(30)


Start = Callable[..., Child]


@pytest.fixture(scope="module")
def start(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """`start("web")`, `start("worker")` or `start("run")` on the module's database and one data folder, ready
    when it returns; more arguments go to the command, keywords to its environment. All end with the module."""
    home = tmp_path_factory.mktemp("home")
    children: list[Child] = []

    def start_child(command: str, *arguments: str, **environ: str) -> Child:
        port = "" if command == "worker" else str(free_port())
        environment = {
            **os.environ,
            "VOUCHSAFE_HOME": str(home),
            "VOUCHSAFE_PORT": port,
            "DATABASE_URL": database,
            "REDIS_URL": redis_url,
            **environ,
        }
        log = home / f"{command}-{len(children)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(ROOT / "server.py"), command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
            )
        child = Child(process, f"http://127.0.0.1:{port}" if port else "", home, log, environment)
        children.append(child)
        _wait_until_ready(child)
        return child

    yield start_child
    for child in children:
        child.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_until_ready(child: Child) -> None:
    if not child.url:
        child.wait_for("is ready")
        return
    deadline = time.monotonic() + 60
    while not _answers(child):
        assert child.process.poll() is None, child.output
        assert time.monotonic() < deadline, child.output
        time.sleep(0.02)


def _answers(child: Child) -> bool:
    port = int(child.environ["VOUCHSAFE_PORT"])
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        line.sendall(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % port)
        return line.recv(64).startswith(b"HTTP/1.1 200")
    return False


@pytest.fixture(scope="module")
def server(start: Start) -> Child:
    """The real shop, empty, on a free port."""
    return start("web", "--no-demo")


@pytest.fixture(scope="module")
def worker(server: Child, start: Start) -> Child:
    """A real worker beside the real shop."""
    return start("worker")
