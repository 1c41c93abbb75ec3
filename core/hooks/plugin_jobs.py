"""The background work of plugins, as jobs of the shop's own queue: ``<plugin>.<job>``.

While a plugin is off or broken its jobs are not known here, so they wait in the queue until it is back.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from core.hooks.context import PluginContext
from core.hooks.plugin import PluginJob
from core.jobs import Lease, Retry
from core.jobs.registry import Args, Job
from core.tasks import strangers_code

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
WAIT_SECONDS = 30.0

FindContext = Callable[[str], "PluginContext[Any] | None"]
CountFailure = Callable[[str, str, BaseException], None]


class BadJob(Exception):
    """The text says which job, and what is wrong with it."""


def check_jobs(declared: Sequence[PluginJob]) -> None:
    """:raises BadJob: for one that could not be run."""
    names = [job.name for job in declared]
    for job in declared:
        if not NAME.fullmatch(job.name):
            raise BadJob(f"{job.name!r} is not the name of a job (small letters, digits and _)")
        if names.count(job.name) > 1:
            raise BadJob(f"two jobs are called {job.name}")
        if not inspect.iscoroutinefunction(job.run):
            raise BadJob(f"the job {job.name} must be run by an async function")
        if job.tries < 1 or (job.every is not None and job.every < 1):
            raise BadJob(f"the job {job.name} must be tried at least once, and not more often than once a second")


def as_jobs(plugin: str, declared: Sequence[PluginJob], find: FindContext, count_failure: CountFailure) -> list[Job]:
    """What the queue has to know of the jobs of one plugin."""
    return [
        Job(
            f"{plugin}.{job.name}",
            partial(_run, plugin, job, find, count_failure),
            tries=1 if job.every is not None else job.tries,
            timeout_seconds=job.timeout_seconds,
            backoff_seconds=job.backoff_seconds,
            every=job.every,
        )
        for job in declared
    ]


async def _run(
    plugin: str, job: PluginJob, find: FindContext, count_failure: CountFailure, args: Args, lease: Lease
) -> None:
    context = find(plugin)
    if context is None:
        raise Retry(f"{plugin} is not on", after=WAIT_SECONDS)
    try:
        async with strangers_code():
            await job.run(context, args)
    except Exception as error:
        count_failure(plugin, f"job {job.name}", error)
        raise
