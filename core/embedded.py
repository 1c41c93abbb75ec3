"""A real PostgreSQL and a real Valkey, started from the programs inside their wheels, for one data folder.

Both listen on unix sockets in a 0700 folder only. Run by root they drop to the system user `vouchsafe`.
"""

import argparse
import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from core import processes
from core.config import Config
from core.engine_place import POSTGRES_MAJOR, EngineError, Place, own_folder, prepare_place
from core.terminal import _

POSTGRES_SETTINGS = """\
listen_addresses = ''
unix_socket_directories = '{sockets}'
hba_file = '{folder}/pg_hba.conf'
ident_file = '{folder}/pg_ident.conf'
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 64MB
effective_cache_size = 512MB
max_wal_size = 512MB
random_page_cost = 1.1
io_method = sync
jit = off
timezone = 'UTC'
lc_messages = 'C'
default_text_search_config = 'pg_catalog.simple'
# short-lived queue and session rows: vacuum early. But each time a table was vacuumed or analysed, every connection
# plans its statements anew, which costs a young, busy shop more than it gains.
autovacuum_vacuum_threshold = 500
autovacuum_vacuum_scale_factor = 0.05
autovacuum_analyze_threshold = 1000
autovacuum_analyze_scale_factor = 0.2
# one file per weekday, and never a value of a buyer in it
logging_collector = on
log_directory = '{folder}/logs'
log_filename = 'postgres-%a.log'
log_rotation_age = 1d
log_rotation_size = 0
log_truncate_on_rotation = on
log_timezone = 'UTC'
log_checkpoints = off
log_error_verbosity = terse
log_min_error_statement = panic
log_min_duration_statement = -1
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
"""

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
POSTGRES_STOP = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
VALKEY_STOP = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))


class AlreadyRunning(EngineError):
    """Another living process owns the engines of this data folder."""


class StopAsked(Exception):
    """Ctrl-C, or SIGTERM or SIGHUP from the system."""


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────────────────


class Postgres:
    name = "PostgreSQL"
    # After a crash it first goes over what was written last, which takes a slow disk minutes and must not begin anew.
    start_seconds = 1800.0

    def __init__(self, place: Place) -> None:
        self.place = place
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        cluster = self.place.cluster
        for folder in (cluster.with_name("postgres.new"), cluster):
            processes.end_all_in(folder, POSTGRES_STOP, lambda: _postmaster(folder).pid)  # noqa: B023 - called at once
        if not cluster.exists():
            self._create()
        self._check_version()
        self._configure()
        if not processes.working_in(cluster):
            self._forget_the_dead()
        self._launch()

    def stop(self) -> None:
        if self.process:
            processes.stop(self.process, POSTGRES_STOP)

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def _forget_the_dead(self) -> None:
        """PostgreSQL would take a stranger who now has the old process id for itself and refuse to start."""
        for stale in (self.place.cluster / "postmaster.pid", self.place.sockets / ".s.PGSQL.5432.lock"):
            stale.unlink(missing_ok=True)

    def _create(self) -> None:
        """A finished cluster appears by one rename, so a crash in the middle leaves nothing half made."""
        new = self.place.cluster.with_name("postgres.new")
        shutil.rmtree(new, ignore_errors=True)
        own_folder(new, self.place.user)
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        self._run(
            "initdb",
            "-D",
            str(new),
            "--username=postgres",
            "--auth=peer",
            "--data-checksums",
            "--no-instructions",
            *locale,
        )
        self._run(
            "postgres",
            "--single",
            "-D",
            str(new),
            "postgres",
            text=b"CREATE ROLE vouchsafe LOGIN CREATEDB;\nCREATE DATABASE vouchsafe OWNER vouchsafe;\n",
        )
        new.rename(self.place.cluster)

    def _run(self, program: str, *args: str, text: bytes = b"") -> None:
        command = [str(self.place.postgres_bin / program), *args]
        done = subprocess.run(
            command, input=text, capture_output=True, env=_plain_environment(), **processes.as_user(self.place.user)
        )
        if done.returncode != 0:
            raise EngineError(
                _("%(program)s failed: %(why)s", program=program, why=done.stderr.decode(errors="replace").strip())
            )

    def _check_version(self) -> None:
        found = (self.place.cluster / "PG_VERSION").read_text().strip()
        if found != POSTGRES_MAJOR:
            raise EngineError(
                _(
                    "%(folder)s was made by PostgreSQL %(found)s, this program has %(major)s."
                    " Move the data with pg_dump.",
                    folder=self.place.cluster,
                    found=found,
                    major=POSTGRES_MAJOR,
                )
            )

    def _configure(self) -> None:
        me = pwd.getpwuid(os.geteuid()).pw_name
        names = {me, self.place.user.pw_name} if self.place.user else {me}
        idents = "".join(f"shop {name} {role}\n" for name in sorted(names) for role in ("vouchsafe", "postgres"))
        settings = POSTGRES_SETTINGS.format(sockets=_quoted(self.place.sockets), folder=_quoted(self.place.folder))
        for name, text in (
            ("postgresql.conf", settings),
            ("pg_hba.conf", "local all all peer map=shop\n"),
            ("pg_ident.conf", idents),
        ):
            # in our own folder, not in the cluster: root must not write where its engine's user may put links
            (self.place.folder / name).write_text(text)
            (self.place.folder / name).chmod(0o644)

    def _launch(self) -> None:
        log = self.place.folder / "postgres-start.log"
        with log.open("wb") as output:
            self.process = processes.spawn(
                [
                    self.place.postgres_bin / "postgres",
                    *("-D", self.place.cluster, "-c", f"config_file={self.place.folder}/postgresql.conf"),
                ],
                user=self.place.user,
                on_parent_death=signal.SIGINT,
                stdout=output,
                stderr=output,
                env=_plain_environment(),
            )
        pid = self.process.pid
        _wait_for(self, lambda: _postmaster(self.place.cluster) == Postmaster(pid, True), log)


@dataclass(frozen=True)
class Postmaster:
    pid: int | None
    ready: bool


def _postmaster(cluster: Path) -> Postmaster:
    """What postmaster.pid says; its eighth line is the server's state."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        return Postmaster(int(lines[0]), len(lines) > 7 and lines[7].strip() == "ready")
    except (FileNotFoundError, IndexError, ValueError):
        return Postmaster(None, False)


def _plain_environment() -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


# ── Valkey ───────────────────────────────────────────────────────────────────────────────────────────────────


class Valkey:
    name = "Valkey"
    start_seconds = 60.0

    def __init__(self, place: Place) -> None:
        self.place = place
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        processes.end_all_in(self.place.folder / "valkey", VALKEY_STOP, lambda: None)
        log = self.place.folder / "valkey.log"
        with log.open("ab") as output:
            self.process = processes.spawn(
                self._command(), user=self.place.user, stdout=output, stderr=output, env=_plain_environment()
            )
        _wait_for(self, lambda: _answers_ping(self.place.valkey_socket), log)

    def stop(self) -> None:
        if self.process:
            processes.stop(self.process, VALKEY_STOP)

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def _command(self) -> list[str | Path]:
        return [
            self.place.valkey_server,
            *("--port", "0", "--unixsocket", self.place.valkey_socket, "--unixsocketperm", "700"),
            *("--save", "", "--appendonly", "no", "--dir", self.place.folder / "valkey"),
            *("--maxmemory", "128mb", "--maxmemory-policy", "noeviction", "--loglevel", "warning"),
        ]


def _answers_ping(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(1)
        line.connect(str(path))
        line.sendall(b"PING\r\n")
        return line.recv(16) == b"+PONG\r\n"
    return False


def _wait_for(engine: Postgres | Valkey, ready: Callable[[], bool], log: Path) -> None:
    processes.wait_until(lambda: ready() or not engine.alive() or _stop_asked(), engine.start_seconds, every=0.01)
    if _stop_asked():
        raise StopAsked
    if not ready() or not engine.alive():
        engine.stop()
        last = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-3:]).strip()
        raise EngineError(
            _("%(name)s did not start. %(log)s ends with: %(last)s", name=engine.name, log=log, last=last)
        )


def _stop_asked() -> bool:
    """Whether a signal waits that is blocked, as the supervisor blocks them."""
    return bool(signal.sigpending() & STOP_SIGNALS)


# ── both ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Engines:
    """The engines of one data folder, owned by this process until `stop()` or its end."""

    def __init__(
        self, home: Path, names: Collection[str] = ("postgres", "valkey"), say: Callable[[str], None] = print
    ) -> None:
        self.place = prepare_place(home, say)
        self._lock = _lock(self.place.folder)
        kinds: dict[str, type[Postgres | Valkey]] = {"postgres": Postgres, "valkey": Valkey}
        self.parts = [kinds[name](self.place) for name in names]

    def start(self) -> None:
        try:
            for part in self.parts:
                part.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        for part in reversed(self.parts):
            part.stop()
        self._lock.close()


def _lock(folder: Path) -> IO[bytes]:
    lock = (folder / "lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise AlreadyRunning(
            _("The engines in %(folder)s already run for another process. Stop that one first.", folder=folder)
        ) from None
    return lock


def missing(config: Config) -> list[str]:
    """The engines this installation must bring itself."""
    given = {"postgres": config.database_url, "valkey": config.redis_url}
    return [name for name, url in given.items() if url is None]


@contextlib.contextmanager
def addresses(config: Config, say: Callable[[str], None] = print) -> Iterator[Config]:
    """`config` with both addresses: given ones, those of a shop that runs, or of engines of our own for this block."""
    names = missing(config)
    if not names:
        yield config
        return
    try:
        ours = Engines(config.home, names, say)
    except AlreadyRunning:
        yield with_engines(config, _running(prepare_place(config.home, say), names))
        return
    ours.start()
    try:
        yield with_engines(config, ours.place)
    finally:
        ours.stop()


def with_engines(config: Config, place: Place) -> Config:
    return replace(
        config,
        database_url=config.database_url or place.database_url,
        redis_url=config.redis_url or place.redis_url,
    )


def _running(place: Place, names: Collection[str]) -> Place:
    def answer() -> bool:
        return ("postgres" not in names or _postmaster(place.cluster).ready) and (
            "valkey" not in names or _answers_ping(place.valkey_socket)
        )

    if not processes.wait_until(answer, 30):
        raise EngineError(
            _(
                "Another process holds the engines in %(folder)s but they do not answer. Is the disk full? "
                "If not, stop that process and start again.",
                folder=place.folder,
            )
        )
    return place


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m core.embedded", description="Start both engines and keep them until Ctrl-C."
    )
    parser.add_argument("--home", type=Path, required=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        owned = Engines(parser.parse_args().home.absolute())
        owned.start()
    except EngineError as error:
        sys.exit(str(error))
    except StopAsked:
        return
    print(f"export DATABASE_URL='{owned.place.database_url}'\nexport REDIS_URL='{owned.place.redis_url}'", flush=True)
    signal.sigwait(STOP_SIGNALS)
    owned.stop()


if __name__ == "__main__":
    main()
