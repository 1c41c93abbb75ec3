"""Child processes that never outlive their parent, and finding those an earlier crash left behind."""

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def spawn(
    args: Sequence[str | os.PathLike[str]],
    *,
    user: pwd.struct_passwd | None = None,
    on_parent_death: signal.Signals = signal.SIGKILL,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a child that gets `on_parent_death` the moment this thread's process is gone, even by kill -9.

    Linux ties the signal to the thread that forks: call this from the main thread.
    """
    return subprocess.Popen(
        args,
        stdin=subprocess.DEVNULL,
        preexec_fn=_tied_to_parent(on_parent_death),
        process_group=0,
        **as_user(user),
        **options,
    )


def as_user(user: pwd.struct_passwd | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"}


def _tied_to_parent(on_death: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _libc.prctl(_PR_SET_PDEATHSIG, int(on_death), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def stop(process: subprocess.Popen[bytes], steps: Iterable[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn, waiting its seconds, until the process has ended."""
    for sign, seconds in steps:
        if process.poll() is not None:
            return
        process.send_signal(sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


def working_in(folder: Path) -> set[int]:
    """Ids of running processes whose working folder is `folder`."""
    wanted = str(folder.resolve())
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.readlink(entry / "cwd") == wanted:
                    found.add(int(entry.name))
    return found


def end_all_in(folder: Path, steps: Iterable[tuple[signal.Signals, float]], first: Callable[[], int | None]) -> None:
    """End every process an earlier crash left working in `folder`; `first()` is the one that leads the others."""
    for sign, seconds in steps:
        left = working_in(folder)
        if not left:
            return
        leader = first()
        for pid in [leader] if leader in left and sign is not signal.SIGKILL else left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
        wait_until(lambda: not working_in(folder), seconds)


def wait_until(ready: Callable[[], bool], seconds: float, every: float = 0.01) -> bool:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True
