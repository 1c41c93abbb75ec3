"""Start the real supervisor as a child, watch it from outside, and leave nothing behind."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from core import embedded

ROOT = Path(__file__).resolve().parents[2]


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.02)


@dataclass
class Run:
    """A `run` command as a user sees it."""

    process: subprocess.Popen[bytes]
    log: Path
    home: Path

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, words: str, seconds: float = 60) -> str:
        until(lambda: words in self.output or self.process.poll() is not None, seconds)
        assert words in self.output, self.output
        return self.output

    def ready(self) -> "Run":
        self.wait_for("Ready after")
        return self

    @property
    def address(self) -> str:
        line = next(line for line in self.output.splitlines() if "Storefront" in line)
        return line.split()[1]

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.address.rstrip("/") + path, timeout=5) as answer:
            return str(answer.read().decode())

    def wait_for_page(self, path: str, seconds: float = 30) -> None:
        def comes() -> bool:
            try:
                return bool(self.get(path))
            except OSError:
                return False

        until(comes, seconds)

    def end(self, sign: signal.Signals) -> int:
        self.process.send_signal(sign)
        return self.process.wait(30)

    def processes(self, program: str = "") -> set[int]:
        """Ids of everything that runs for this home, or of those whose command line holds `program`."""
        running = belonging_to(self.home)
        if not program:
            return set(running)
        # PostgreSQL's children are called as it is, until they say what they are
        named = {pid for pid, command in running.items() if program in command}
        return {pid for pid in named if running.get(parent_of(pid)) != running[pid]}


def parent_of(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def belonging_to(home: Path) -> dict[int, str]:
    engines = str((home / "engines").resolve())
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
            inside = os.readlink(entry / "cwd").startswith(engines)
            if inside or engines in command or f"VOUCHSAFE_HOME={home}" in environment:
                found[int(entry.name)] = command
    return found


class Runner:
    """Starts shops; every one it started is gone when the test ends."""

    def __init__(self, command: list[str], user: pwd.struct_passwd | None, folder: Path) -> None:
        self.command = command
        self.user = user
        self.folder = folder
        self.python_path = ""
        self.runs: list[Run] = []

    def start(self, home: Path, arguments: list[str] | None = None, **environ: str) -> Run:
        log = self.folder / f"{len(self.runs)}.log"
        environment = {
            **clean_environment(),
            "VOUCHSAFE_HOME": str(home),
            "VOUCHSAFE_PORT": "0",
            "PYTHONPATH": self.python_path,
            **environ,
        }
        who = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*self.command, *(arguments or ["run"])],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd="/",
                **who,
            )
        run = Run(process, log, home)
        self.runs.append(run)
        return run

    def clean(self) -> None:
        for run in self.runs:
            if run.process.poll() is None:
                run.end(signal.SIGTERM)
        for run in self.runs:
            until(lambda home=run.home: not belonging_to(home))


def clean_environment() -> dict[str, str]:
    given = ("DATABASE_URL", "REDIS_URL", "PYTHONPATH")
    return {key: value for key, value in os.environ.items() if not key.startswith("VOUCHSAFE_") and key not in given}


@pytest.fixture
def home() -> Iterator[Path]:
    """A data folder that does not exist yet, in a folder everybody may enter."""
    folder = Path(tempfile.mkdtemp(prefix="vouchsafe-run-"))
    folder.chmod(0o755)
    yield folder / "data"
    forget(folder)


@pytest.fixture(scope="session")
def made_home() -> Iterator[Path]:
    """A data folder whose engines ran once and stopped."""
    folder = Path(tempfile.mkdtemp(prefix="vouchsafe-made-"))
    folder.chmod(0o755)
    engines = embedded.Engines(folder / "data")
    engines.start()
    engines.stop()
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture
def used_home(home: Path, made_home: Path) -> Path:
    """`home` as an earlier run left it; spares the test the making of a cluster."""
    subprocess.run(["cp", "-a", str(made_home), str(home)], check=True)
    return home


def forget(folder: Path) -> None:
    """Remove data folders with what root keeps of them elsewhere."""
    for link in folder.rglob("engines"):
        if link.is_symlink():
            shutil.rmtree(os.readlink(link), ignore_errors=True)
    shutil.rmtree(folder)


@pytest.fixture
def tiny(home: Path) -> Iterator[Runner]:
    """The supervisor around a shop of a few lines, as the user who runs the tests."""
    runner = Runner([sys.executable, str(ROOT / "tests/run/tiny_shop.py")], None, home.parent)
    yield runner
    runner.clean()


@pytest.fixture
def plain_user() -> Iterator[pwd.struct_passwd | None]:
    """Root tests as a fresh system user; anybody else is a plain user already (None)."""
    if os.geteuid() != 0:
        yield None
        return
    name = f"vs-test-{os.getpid()}"
    subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name], check=True)
    yield pwd.getpwnam(name)
    subprocess.run(["userdel", name], check=True)


@pytest.fixture
def plain(home: Path, plain_user: pwd.struct_passwd | None) -> Iterator[Runner]:
    """The same as `tiny`, as a plain user with a copy of the program he may read."""
    if plain_user is None:
        runner = Runner([sys.executable, str(ROOT / "tests/run/tiny_shop.py")], None, home.parent)
    else:
        copy = home.parent / "program"
        for folder in ("core", "tests/run"):
            shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
        runner = Runner([python_for(plain_user), str(copy / "tests/run/tiny_shop.py")], plain_user, home.parent)
        runner.python_path = str(packages_for(plain_user, home.parent))
        os.chown(home.parent, plain_user.pw_uid, plain_user.pw_gid)
    yield runner
    runner.clean()


def can(user: pwd.struct_passwd, *command: str) -> bool:
    done = subprocess.run(command, user=user.pw_uid, group=user.pw_gid, extra_groups=[], capture_output=True, cwd="/")
    return done.returncode == 0


def python_for(user: pwd.struct_passwd) -> str:
    """A Python of our version that this user may run: ours may lie below /root."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    places = [sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"]
    found = next((place for place in places if can(user, "/bin/sh", "-c", 'exec "$0" -V', place)), None)
    if found is None:
        pytest.skip(f"{sys.executable} is closed to plain users, and there is no other {version}")
    return found


def packages_for(user: pwd.struct_passwd, folder: Path) -> Path:
    installed = Path(pytest.__file__).parent.parent
    if can(user, "/bin/ls", str(installed)):
        return installed
    copy = folder / "packages"
    unneeded = shutil.ignore_patterns("playwright", "mypy*", "ruff*", "pginstall")
    shutil.copytree(installed, copy, ignore=unneeded, copy_function=_link, symlinks=True)
    return copy


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
