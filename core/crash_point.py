"""Named places where a fault test may kill the process. Off unless VOUCHSAFE_CRASH_AT names one."""

from __future__ import annotations

import os
import signal

CRASH_AT = os.environ.get("VOUCHSAFE_CRASH_AT")


def crash_point(name: str) -> None:
    if CRASH_AT is not None and name == CRASH_AT:
        os.kill(os.getpid(), signal.SIGKILL)
