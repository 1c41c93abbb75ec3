"""What the jobs are called and how each wants to be run."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.db import Tx
    from core.jobs.lease import Lease

Args = dict[str, Any]
Run = Callable[[Args, "Lease"], Awaitable[None]]
PeriodicRun = Callable[["Lease"], Awaitable[None]]
OnFailed = Callable[["Tx", Args, str], Awaitable[None]]

LONGEST_PAUSE = 3600.0


@dataclass(frozen=True)
class Job:
    name: str
    run: Run
    tries: int = 5
    lease_seconds: float = 30
    timeout_seconds: float = 300
    backoff_seconds: float = 5
    on_failed: OnFailed | None = None
    every: float | None = None

    def pause_after(self, tries: int) -> float:
        """Seconds until the next try: doubled each time, never above an hour."""
        return min(self.backoff_seconds * 2.0 ** min(tries - 1, 20), LONGEST_PAUSE)


class TwoJobsOneName(ValueError):
    pass


_jobs: dict[str, Job] = {}
_of_plugins: dict[str, Job] = {}


def job(
    name: str,
    *,
    tries: int = 5,
    lease_seconds: float = 30,
    timeout_seconds: float = 300,
    backoff_seconds: float = 5,
    on_failed: OnFailed | None = None,
) -> Callable[[Run], Run]:
    """Register ``async def run(args, lease)`` as the job ``name``.

    A job may run twice (a worker can die after the work and before the note of it), so its effect must be
    harmless the second time, or written through ``lease.write``. ``on_failed(tx, args, error)`` runs in the
    transaction that gives the job up, for example to put a question before a person.
    """

    def register(run: Run) -> Run:
        _add(Job(name, run, tries, lease_seconds, timeout_seconds, backoff_seconds, on_failed))
        return run

    return register


def every(
    seconds: float, name: str, *, lease_seconds: float = 30, timeout_seconds: float = 300
) -> Callable[[PeriodicRun], PeriodicRun]:
    """Register ``async def run(lease)`` to be run again and again, ``seconds`` apart, by one worker at a time."""

    def register(run: PeriodicRun) -> PeriodicRun:
        async def run_without_args(_: Args, lease: Lease) -> None:
            await run(lease)

        _add(Job(name, run_without_args, 1, lease_seconds, timeout_seconds, seconds, every=seconds))
        return run

    return register


def _add(new: Job) -> None:
    old = _jobs.get(new.name)
    if old is not None and old.run.__qualname__ != new.run.__qualname__:
        raise TwoJobsOneName(f"two jobs are called {new.name!r}")
    _jobs[new.name] = new


def of_plugins(jobs: Iterable[Job]) -> None:
    """From now on these jobs are known beside those that stand in the code."""
    global _of_plugins
    _of_plugins = {one.name: one for one in jobs}


def find(name: str) -> Job | None:
    return _jobs.get(name) or _of_plugins.get(name)


def names() -> list[str]:
    return [*_jobs, *_of_plugins]


def leases() -> dict[str, float]:
    """Seconds of lease for each name, for the statement that takes a job."""
    return {one.name: one.lease_seconds for one in (*_jobs.values(), *_of_plugins.values())}


def periodic() -> list[Job]:
    return [one for one in (*_jobs.values(), *_of_plugins.values()) if one.every is not None]


def import_core() -> None:
    """Make the jobs of every core feature known: they stand in ``core.<feature>.jobs``."""
    import core

    for feature in pkgutil.iter_modules(core.__path__):
        if feature.ispkg and importlib.util.find_spec(f"core.{feature.name}.jobs"):
            importlib.import_module(f"core.{feature.name}.jobs")
