"""The real server as a child of the tests. Its engines and databases are those of `core.api.testing.engines`."""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings

from core.api.testing.engines import TEMPLATE, TestEngines
from tests import warm
from tests.served import furnished

__all__ = ["TEMPLATE", "TestEngines"]

# Each client would read the certificates of all the world anew: 30 ms, two thousand times, to ask its own machine.
httpx._transports.default.create_ssl_context = functools.cache(httpx.create_ssl_context)

# What programs say is read in English, also at a desk where they speak Chinese.
os.environ["LC_ALL"] = "C.UTF-8"

ROOT = Path(__file__).resolve().parent.parent

# Whoever draws the first text in a fresh checkout waits a second for the tables of Unicode.
settings.register_profile("suite", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# Two files run at a time; those that take longest begin, so that at the end nobody waits long for the other.
LONGEST = (
    "quality/test_every_page",
    "journeys/test_demo_shop",
    "run/test_run",
    "bench/test_bench",
    "machine/test_machine",
    "storefront/test_phone",
    "journeys/test_first_sale",
    "journeys/test_first_day",
    "web/test_all_routes",
    "run/test_commands",
    "faults/test_squeezed",
    "backup/test_backup",
    "journeys/test_support_case",
    "faults/test_crashes",
    "kit/test_check",
    "kit/test_kit",
    "web/test_browser",
    "storefront/test_budgets",
    "console/test_roles",
    "faults/test_clocks",
    "people/test_in_the_browser",
    "journeys/test_refund_queue",
    "redemption/test_phone",
    "console/test_shops",
    "web/test_theme_check",
    "bridges/test_two_shops",
    "supply/test_fulu_sale",
    "vault/test_import_crash",
    "kit/test_repository",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {f"tests/{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(LONGEST)))


@dataclass
class Child:
    """A running `server.py` command. `url` is where its shop is (empty for a worker)."""

    process: subprocess.Popen[bytes] | warm.Process
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
COLD = (str(ROOT / "server.py"),)


@pytest.fixture(scope="module")
def start(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """`start("web")`, `start("worker")` or `start("run")` on the module's database and one data folder, ready
    when it returns; more arguments go to the command, keywords to its environment. All end with the module.
    With `program` that is called instead of `server.py`, by a Python that begins from nothing."""
    home = furnished(tmp_path_factory.mktemp("home"))
    children: list[Child] = []

    def start_child(command: str, *arguments: str, program: Sequence[str] = (), **environ: str) -> Child:
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
            process = (
                subprocess.Popen(
                    [sys.executable, *program, command, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environment,
                )
                if program
                else warm.Process([command, *arguments], environment, output, output)
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
