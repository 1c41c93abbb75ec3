"""Processes of `server.py` that need not import the program again: one process imports it and forks each of them.

Nothing is shared but what was imported; each is a process of its own with its own environment, files and end. What a
start itself costs and shows is tried in tests/run, where every process begins from nothing.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import ctypes
import functools
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
SERVER = str(ROOT / "server.py")
LONGEST = 1 << 18
PR_SET_PDEATHSIG = 1


# ── for the tests ────────────────────────────────────────────────────────────────────────────────────────────


class Process:
    """As `subprocess.Popen`: a `server.py` with these arguments."""

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        output: IO[Any],
        errors: IO[Any],
        cwd: Path = ROOT,
        text: str = "",
    ) -> None:
        self.returncode: int | None = None
        self._waiting = threading.Lock()
        with tempfile.TemporaryFile() as given:
            given.write(text.encode())
            given.seek(0)
            self._line = ask(_starter(), arguments, env, cwd, [given.fileno(), output.fileno(), errors.fileno()])
        self.pid = int(self._line.recv(16))

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        with self._waiting:
            if self.returncode is None:
                self._line.settimeout(timeout if timeout != 0 else 0.0001)
                try:
                    self.returncode = int(self._line.recv(16))
                except TimeoutError:
                    raise subprocess.TimeoutExpired("server.py", timeout or 0) from None
                self._line.close()
            return self.returncode

    def send_signal(self, sign: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, sign)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(*arguments: str, env: Mapping[str, str], cwd: Path = ROOT, text: str = "") -> subprocess.CompletedProcess[str]:
    """One command of `server.py` to its end, with what it said."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        code = Process(arguments, env, output, errors, cwd, text).wait()
        said = [file.read().decode() for file in (output, errors) if file.seek(0) == 0]
    return subprocess.CompletedProcess(arguments, code, *said)


@functools.cache
def _starter() -> str:
    """The address of the process that forks the others; it goes when this process is gone."""
    address = f"{tempfile.mkdtemp(prefix='warm-')}/socket"
    process = subprocess.Popen(
        [sys.executable, __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdin and process.stdout
    assert process.stdout.readline() == b"ready\n"

    def end() -> None:
        with process:
            process.stdin.close()

    atexit.register(end)
    return address


def ask(
    address: str, arguments: Sequence[str], env: Mapping[str, str], folder: Path, files: list[int]
) -> socket.socket:
    """The line to the starter: it says the new process's id, and later how it ended."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LONGEST)
    line.connect(address)
    said = json.dumps([list(arguments), dict(env), str(folder)]).encode()
    line.sendmsg([said], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))])
    return line


# ── the starter ──────────────────────────────────────────────────────────────────────────────────────────────


def start_others(address: str) -> int:
    """In the starter this ends when nobody asks any more; in each process that it forked, as `server.py` does."""
    sys.path[0] = str(ROOT)
    import server

    server.COMMAND[:] = [sys.executable, "-S", "-E", __file__, address]
    _import_all()
    starter = Starter(address)
    print("ready", flush=True)
    asked = starter.serve()
    if asked is None:
        return 0
    asked.take_over()
    return server.main()


def _import_all() -> None:
    import gc

    import uvicorn  # noqa: F401

    from core import app, run  # noqa: F401
    from core.admin import commands, demo, doctor  # noqa: F401
    from core.backup import command  # noqa: F401
    from core.hooks import commands as of_plugins  # noqa: F401
    from core.jobs import registry, worker  # noqa: F401
    from core.people import setup, staff  # noqa: F401
    from core.vault import import_command, rotate  # noqa: F401

    app.core_features(app.FEATURES)
    registry.import_core()
    gc.collect()
    gc.freeze()


@dataclass
class Asked:
    """What a process was asked to be, once it was forked."""

    arguments: list[str]
    environ: dict[str, str]
    folder: str
    files: list[int]

    def take_over(self) -> None:
        from core import crash_point

        # nothing of the tests outlives them
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for number, file in enumerate(self.files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environ)
        importlib.reload(crash_point)
        sys.argv = [SERVER, *self.arguments]


class Starter:
    def __init__(self, address: str) -> None:
        self.lines: dict[int, socket.socket] = {}
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.door.bind(address)
        self.door.listen(100)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def serve(self) -> Asked | None:
        """Gives what is asked in the process forked for it, and nothing in the starter itself, at its end."""
        ended, woken = socket.socketpair()
        woken.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_caught: None)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        with self.door, ended, woken, selectors.DefaultSelector() as selector:
            for place in (self.door, ended, sys.stdin):
                selector.register(place, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _events in selector.select()}
                if sys.stdin in ready:
                    self._end_all()
                    return None
                if ended in ready:
                    ended.recv(1000)
                    self._tell_ends()
                if self.door in ready and (asked := self._start()):
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    signal.signal(signal.SIGINT, signal.default_int_handler)
                    return asked

    def _end_all(self) -> None:
        for pid in self.lines:
            os.kill(pid, signal.SIGKILL)

    def _tell_ends(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                with self.lines.pop(found[0]) as line, contextlib.suppress(OSError):
                    line.send(str(os.waitstatus_to_exitcode(found[1])).encode())

    def _start(self) -> Asked | None:
        line = self.door.accept()[0]
        said, files, _flags, _from = socket.recv_fds(line, LONGEST, 3)
        pid = os.fork()
        if pid == 0:
            for one in (line, *self.lines.values()):
                one.close()
            return Asked(*json.loads(said), files)
        self.lines[pid] = line
        line.send(str(pid).encode())
        for file in files:
            os.close(file)
        return None


def call(address: str, arguments: list[str]) -> int:
    """The command that the shop's own processes call for `server.py`: also forked by the starter."""
    line = ask(address, arguments, os.environ, Path.cwd(), [0, 1, 2])
    line.recv(16)
    return int(line.recv(16))


if __name__ == "__main__":
    sys.exit(call(sys.argv[1], sys.argv[2:]) if sys.argv[2:] else start_others(sys.argv[1]))
