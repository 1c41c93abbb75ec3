"""`server.py run`: engines, web processes and a worker in one process tree that keeps itself alive.

The supervisor imports neither the web framework nor the database layer: it must start at once and stay small.
"""

import contextlib
import fcntl
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from core import embedded, engine_place, processes
from core.config import Config, SetupProblem, own_address
from core.embedded import StopAsked
from core.terminal import _

PROGRAM_STOP = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
READY_SECONDS = 60.0
# a part that lived this long has recovered: its next death is restarted at once
HEALTHY_SECONDS = 30.0
LONGEST_PAUSE = 30.0
# To try costs little while a part cannot even be started, and once there is room on a full disk nobody is to wait long.
LONGEST_PUT_OFF = 5.0


def say(text: str) -> None:
    print(text, flush=True)


# ── the parts ────────────────────────────────────────────────────────────────────────────────────────────────


class Part(Protocol):
    name: str

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def alive(self) -> bool: ...


class Program:
    """One of our own commands as a child process."""

    def __init__(
        self, name: str, command: Sequence[str], environment: dict[str, str], inherited: Sequence[int] = ()
    ) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.inherited = inherited
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = processes.spawn(self.command, env=self.environment, pass_fds=self.inherited)

    def ask_to_stop(self) -> None:
        if self.process:
            self.process.terminate()

    def stop(self) -> None:
        if self.process:
            processes.stop(self.process, PROGRAM_STOP)

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass
class Kept:
    """A part and when it may be started again."""

    part: Part
    started: float = field(default_factory=time.monotonic)
    pause: float = 0.0
    down: bool = False
    quiet_until: float = 0.0

    def note_death(self) -> None:
        self.down = True
        quick = time.monotonic() - self.started < HEALTHY_SECONDS
        self.pause = self._longer() if quick else 0.0
        self.started = time.monotonic()
        if self.pause:
            pause = f"{self.pause:g}"
            say(_("%(part)s ended unexpectedly; starting it again in %(pause)s s.", part=self.part.name, pause=pause))
        else:
            say(_("%(part)s ended unexpectedly; starting it again.", part=self.part.name))

    def start_again(self) -> None:
        self.started = time.monotonic()
        try:
            self.part.start()
        except SetupProblem as problem:
            self._put_off(str(problem))
            return
        except OSError as error:  # such as a full disk
            self._put_off(f"{self.part.name}: {error}")
            return
        self.down, self.quiet_until = False, 0.0
        say(_("%(part)s runs again.", part=self.part.name))

    def _put_off(self, why: str) -> None:
        self.pause = min(self._longer(), LONGEST_PUT_OFF)
        if time.monotonic() >= self.quiet_until:
            self.quiet_until = time.monotonic() + LONGEST_PAUSE
            say(why)

    def _longer(self) -> float:
        return min(max(0.5, self.pause * 2), LONGEST_PAUSE)


class Supervisor:
    """Starts parts, brings back those that die, stops all of them."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        signal.pthread_sigmask(signal.SIG_BLOCK, embedded.STOP_SIGNALS | {signal.SIGCHLD})

    def start(self, part: Part) -> None:
        self.kept.append(Kept(part))
        part.start()

    def pause(self, seconds: float) -> None:
        """Sleep until a child ends or the time is over."""
        caught = signal.sigtimedwait(embedded.STOP_SIGNALS | {signal.SIGCHLD}, seconds)
        if caught is not None and caught.si_signo != signal.SIGCHLD:
            raise StopAsked

    def run_once(self, command: Sequence[str], environment: dict[str, str]) -> bytes:
        """Run one of our commands to its end; gives what it printed."""
        child = processes.spawn(command, env=environment, stdout=subprocess.PIPE)
        try:
            while child.poll() is None:
                self.pause(0.5)
            output = child.stdout.read() if child.stdout else b""
        finally:
            processes.stop(child, PROGRAM_STOP)
        if child.returncode != 0:
            raise SetupProblem(_("The shop could not be prepared; the reason is above."))
        return output

    def watch(self) -> None:
        while True:
            for kept in self.kept:
                self._look_after(kept)
            self.pause(0.25 if any(kept.down for kept in self.kept) else 5.0)

    def _look_after(self, kept: Kept) -> None:
        if not kept.down and not kept.part.alive():
            kept.note_death()
        if kept.down and time.monotonic() >= kept.started + kept.pause:
            kept.start_again()

    def stop(self) -> None:
        """Programs first, all at once; the engines when nobody needs them any more."""
        parts = [kept.part for kept in reversed(self.kept)]
        programs = [part for part in parts if isinstance(part, Program)]
        for program in programs:
            program.ask_to_stop()
        for part in [*programs, *(part for part in parts if part not in programs)]:
            part.stop()


# ── the commands ─────────────────────────────────────────────────────────────────────────────────────────────


def run(config: Config, command: Sequence[str], *, demo: bool = True) -> int:
    """Everything, until Ctrl-C. `command` is how our own commands are called, `[python, server.py]`."""
    began = time.monotonic()
    with _only_run_in(config.home), listen(config) as listener:
        config = with_port_of(listener, config)
        supervisor = Supervisor()
        missing = embedded.missing(config)
        engines = embedded.Engines(config.home, missing, say) if missing else None
        if engines:
            config = embedded.with_engines(config, engines.place)
        try:
            facts = _start(supervisor, engines.parts if engines else [], config, command, listener, demo)
            greet(config, facts)
            say(_("Ready after %(time)s s. Ctrl-C stops everything.", time=f"{time.monotonic() - began:.1f}"))
            supervisor.watch()
        except StopAsked:
            say(_("Stopping."))
        finally:
            supervisor.stop()
    return 0


def _start(
    supervisor: Supervisor,
    engines: Sequence[Part],
    config: Config,
    command: Sequence[str],
    listener: socket.socket,
    demo: bool,
) -> dict[str, Any]:
    """The web processes import their code while engines start and tables are brought up to date, then go."""
    environment = environment_of(config)
    go, starter = os.pipe()
    inherited = (go, listener.fileno())
    serve = [*command, "web", "--go", str(go), "--listener", str(listener.fileno())]
    programs = [Program(f"web {number + 1}", serve, environment, inherited) for number in range(config.web_processes)]
    for part in (*programs, *engines):
        supervisor.start(part)
    facts = json.loads(supervisor.run_once([*command, "prepare", *([] if demo else ["--no-demo"])], environment))
    os.close(starter)
    programs.append(Program("worker", [*command, "worker"], environment))
    supervisor.start(programs[-1])
    _wait_until_ready(supervisor, programs, config)
    return dict(facts)


def wait_for_go(go: int | None) -> None:
    """The supervisor closes the other end of this pipe when the shop is prepared."""
    if go is not None:
        os.read(go, 1)


def _wait_until_ready(supervisor: Supervisor, programs: list[Program], config: Config) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not answers(config):
        for program in programs:
            if not program.alive():
                raise SetupProblem(
                    _("The %(part)s process ended while starting; the reason is above.", part=program.name)
                )
        if time.monotonic() > deadline:
            address = own_address(config.host, config.port)
            raise SetupProblem(_("The shop does not answer on %(address)s.", address=address))
        supervisor.pause(0.02)


def answers(config: Config) -> bool:
    """Does /readyz say 200?"""
    address = urlsplit(own_address(config.host, config.port))
    host = urlsplit(config.base_url).netloc
    with contextlib.suppress(OSError), socket.create_connection((address.hostname, config.port), timeout=5) as line:
        line.sendall(f"GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return line.recv(64).startswith(b"HTTP/1.1 200")
    return False


def greet(config: Config, facts: dict[str, Any]) -> None:
    storefront, admin = _("Storefront"), _("Admin")
    width = max(len(storefront), len(admin))
    say(f"\n  {storefront:{width}}  {config.base_url}/\n  {admin:{width}}  {config.base_url}/admin")
    if facts.get("setup_link"):
        say("\n  " + _("No administrator yet. Open this link within 30 minutes, it works once:"))
        say(f"  {facts['setup_link']}")
    if facts.get("key_made"):
        say("\n  !!! " + _("BACK UP %(file)s NOW, in another place than the database.", file=config.master_key_file))
        say("  !!! " + _("Without this key no stored card code can ever be read again."))
    if facts.get("key_problem"):
        say("\n  !!! " + _("The vault has no key: %(why)s.", why=facts["key_problem"]))
        say("  !!! " + _("No code is shown until it is back."))
    say("")


@contextlib.contextmanager
def _only_run_in(home: Path) -> Iterator[None]:
    engine_place.make_home(home)
    with (home / "run.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupProblem(
                _("A shop already runs with the data folder %(home)s. Stop it first, or set VOUCHSAFE_HOME.", home=home)
            ) from None
        yield


def listen(config: Config) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise SetupProblem(
            _("Cannot listen on %(place)s (%(why)s).", place=f"{config.host}:{config.port}", why=error.strerror)
            + " "
            + _("Stop what uses it, or set VOUCHSAFE_PORT (or VOUCHSAFE_HOST).")
        ) from None
    return listener


def with_port_of(listener: socket.socket, config: Config) -> Config:
    """Port 0 asks the system for any free port; from here on the real one counts."""
    if config.port != 0:
        return config
    port = listener.getsockname()[1]
    guessed = config.base_url == own_address(config.host, 0)
    return replace(config, port=port, base_url=own_address(config.host, port) if guessed else config.base_url)


def environment_of(config: Config) -> dict[str, str]:
    """The environment in which a child reads the same configuration."""
    return {
        **os.environ,
        "VOUCHSAFE_HOME": str(config.home),
        "VOUCHSAFE_HOST": config.host,
        "VOUCHSAFE_PORT": str(config.port),
        "VOUCHSAFE_BASE_URL": config.base_url,
        "DATABASE_URL": config.database_url or "",
        "REDIS_URL": config.redis_url or "",
    }


def web(
    config: Config, command: Sequence[str], app: Callable[[], Any], *, listener: int | None = None, demo: bool = True
) -> int:
    """One web process. With `listener` (an inherited socket) the supervisor has prepared everything already."""
    if listener is not None:
        return _serve(app, socket.socket(fileno=listener))
    with listen(config) as own, embedded.addresses(with_port_of(own, config), say) as config:
        environment = environment_of(config)
        done = subprocess.run(
            [*command, "prepare", *([] if demo else ["--no-demo"])], env=environment, stdout=subprocess.PIPE
        )
        if done.returncode != 0:
            return 1
        os.environ.update(environment)
        greet(config, json.loads(done.stdout))
        return _serve(app, own)


def _serve(app: Callable[[], Any], listener: socket.socket) -> int:
    import uvicorn

    from core.web.connection import Connection, make_room

    log_to_stderr()
    make_room()
    server = uvicorn.Server(
        uvicorn.Config(
            lambda: _kept_for_good(app()),
            factory=True,
            loop="uvloop",
            http=Connection,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
    )
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _kept_for_good(app: Any) -> Any:
    """The garbage collector never goes over what is loaded by now: under load that held up everybody for 0.1 s."""
    gc.collect()
    gc.freeze()
    return app


def worker(config: Config, work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    import asyncio

    with embedded.addresses(config, say) as config:
        os.environ.update(environment_of(config))
        log_to_stderr()
        asyncio.run(work())
    return 0


def log_to_stderr() -> None:
    import logging

    from core.web.logs import OneLine

    # what no line of ours shows: to look it up takes most of the time of a line
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    # httpx would write whole addresses, with the tokens in them
    for name in ("httpx", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
