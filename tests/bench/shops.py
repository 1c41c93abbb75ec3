"""The two shops a bench compares, each a tree of processes over a data folder of its own: ours and the bare program."""

import asyncio
import atexit
import contextlib
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil

from core import embedded, processes, run
from core.config import Config
from tests.bench import bare, seed
from tests.bench.driver import Till

ROOT = Path(__file__).resolve().parents[2]
STOREFRONT = re.compile(r"Storefront +(http://[0-9.:]+)/")
STOP = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))


class Tree:
    """Some processes and all their children."""

    patience = 30.0
    """The longest that is waited for them to become quiet, in seconds."""

    def __init__(self, pids: list[int]) -> None:
        self.roots = [psutil.Process(pid) for pid in pids]

    def __iter__(self) -> Iterator[tuple[str, psutil.Process]]:
        for root in self.roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in [root, *root.children(recursive=True)]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        yield _role(process), process

    def cpu(self) -> dict[str, float]:
        """CPU seconds used so far, by role."""
        used: dict[str, float] = {}
        for role, process in self:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                used[role] = used.get(role, 0.0) + times.user + times.system
        return used

    def memory(self) -> dict[str, float]:
        """Proportional set size in MB, by role."""
        held: dict[str, float] = {}
        for role, process in self:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
                kilobytes = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
                held[role] = held.get(role, 0.0) + kilobytes / 1024
        return held

    async def quiet(self) -> None:
        """Wait until the work left over is done: jobs, vacuum, write-back."""
        end = time.monotonic() + self.patience
        before = sum(self.cpu().values())
        while time.monotonic() < end:
            await asyncio.sleep(0.4)
            now = sum(self.cpu().values())
            if now - before < 0.02:
                return
            before = now


def _role(process: psutil.Process) -> str:
    name = process.name()
    if name == "postgres":
        return "PostgreSQL"
    if name.startswith("valkey"):
        return "Valkey"
    words = process.cmdline()
    return next((word for word in ("worker", "web", "run") if word in words), "web")


class Shop:
    """One of the two; `start()` gives the seconds until its first page."""

    name: str
    till: Till

    def __init__(self, web_processes: int, codes: list[str]) -> None:
        self.web_processes = web_processes
        self.codes = codes
        self.home = Path(tempfile.mkdtemp(prefix=f"vouchsafe-bench-{self.name}-"))
        # root's engines run as another user, who must be able to pass through
        self.home.chmod(0o711)
        self.log = (self.home / "bench.log").open("ab")

    @property
    def tree(self) -> Tree:
        raise NotImplementedError

    def prepare(self) -> None:
        raise NotImplementedError

    def start(self) -> float:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def remove(self) -> None:
        self.stop()
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def last_words(self) -> str:
        return "".join((self.home / "bench.log").read_text(errors="replace").splitlines(keepends=True)[-20:])

    def wait_for_page(self, path: str, program: subprocess.Popen[bytes], seconds: float = 60) -> None:
        def answered() -> bool:
            return program.poll() is not None or b" 200 " in _first_line(self.till.url, path)

        if not processes.wait_until(answered, seconds, every=0.005) or program.poll() is not None:
            raise RuntimeError(f"{self.name} does not answer on {self.till.url}{path}. It says:\n{self.last_words()}")


class Floor(Shop):
    name = "floor"

    def prepare(self) -> None:
        self.engines = embedded.Engines(self.home, ("postgres",), lambda text: None)
        self.programs: list[subprocess.Popen[bytes]] = []
        self.engines.start()
        asyncio.run(bare.prepare(self.engines.place.database_url, self.codes))
        self.engines.stop()
        self.till = Till(self.name, "", bare.SKU, set(self.codes), bare.PAYEE, bare.PAYEE_KEY)

    def start(self) -> float:
        began = time.perf_counter()
        self.engines = embedded.Engines(self.home, ("postgres",), lambda text: None)
        self.engines.start()
        listener = run.listen(replace(Config.from_env({}), port=0))
        self.till.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        environment = {**os.environ, "DATABASE_URL": self.engines.place.database_url}
        for _ in range(self.web_processes):
            self.programs.append(
                processes.spawn(
                    [sys.executable, bare.__file__, str(listener.fileno())],
                    env=environment,
                    pass_fds=(listener.fileno(),),
                    stdout=self.log,
                    stderr=self.log,
                )
            )
        listener.close()
        self.wait_for_page(self.till.product, self.programs[0])
        return time.perf_counter() - began

    def stop(self) -> None:
        for program in self.programs:
            processes.stop(program, STOP)
        self.programs = []
        self.engines.stop()

    @property
    def tree(self) -> Tree:
        postgres = self.engines.parts[0].process
        return Tree([program.pid for program in self.programs] + ([postgres.pid] if postgres else []))


class Ours(Shop):
    name = "ours"

    def __init__(self, web_processes: int, codes: list[str]) -> None:
        super().__init__(web_processes, codes)
        self.program: subprocess.Popen[bytes] | None = None
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("VOUCHSAFE_")},
            "VOUCHSAFE_HOME": str(self.home),
            "VOUCHSAFE_PORT": "0",
            "VOUCHSAFE_WEB_PROCESSES": str(web_processes),
            "LC_ALL": "C.UTF-8",
        }
        for name in ("DATABASE_URL", "REDIS_URL"):
            self.environment.pop(name, None)
        self.till = Till(self.name, "", seed.SKU, set(codes), seed.PAYEE, seed.PAYEE_KEY)

    def prepare(self) -> None:
        self.open()
        self.stop()

    def open(self) -> None:
        """Start it, with the product, the payment method and the codes in it."""
        subprocess.run(["cp", "--archive", f"{_furnished().home}/.", self.home], check=True)
        self.start()
        stock = self.home / "codes.txt"
        stock.write_text("\n".join(self.codes) + "\n")
        self.command([sys.executable, "server.py", "import-codes", str(stock), "--sku", seed.SKU])
        stock.unlink()

    def command(self, words: list[str]) -> None:
        done = subprocess.run(words, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words[1:])} failed:\n{done.stdout}{done.stderr}")

    def start(self) -> float:
        began = time.perf_counter()
        before = self.log.seek(0, os.SEEK_END)
        self.program = processes.spawn(
            [sys.executable, "server.py", "run"],
            on_parent_death=signal.SIGTERM,
            cwd=ROOT,
            env=self.environment,
            stdout=self.log,
            stderr=self.log,
        )
        self.till.url = self._address(self.program, before)
        self.wait_for_page("/", self.program)
        return time.perf_counter() - began

    def _address(self, program: subprocess.Popen[bytes], before: int) -> str:
        """Where it says that it is: a port chosen for it could be somebody else's by the time it starts."""

        def told() -> re.Match[str] | None:
            return STOREFRONT.search((self.home / "bench.log").read_bytes()[before:].decode(errors="replace"))

        processes.wait_until(lambda: program.poll() is not None or told() is not None, 60, every=0.005)
        found = told()
        if found is None:
            raise RuntimeError(f"{self.name} did not start. It says:\n{self.last_words()}")
        return found[1]

    def stop(self) -> None:
        if self.program:
            processes.stop(self.program, STOP)

    @property
    def tree(self) -> Tree:
        return Tree([self.program.pid] if self.program else [])


@functools.cache
def _furnished() -> Ours:
    """A closed shop with everything but codes, which the others begin as copies of."""
    shop = Ours(1, [])
    atexit.register(shop.remove)
    shop.start()
    shop.command([sys.executable, seed.__file__])
    shop.stop()
    (shop.home / "bench.log").unlink()
    return shop


def _first_line(url: str, path: str) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        return line.recv(64)
    return b""
