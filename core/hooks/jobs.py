"""Facts on their way to plugins: one job tells all who listen, one more each that failed; tried again by itself."""

from __future__ import annotations

from core.hooks import runtime, telling
from core.jobs import Lease, job
from core.jobs.registry import Args


@job(telling.TELL, tries=10, backoff_seconds=5, timeout_seconds=120)
async def tell(args: Args, lease: Lease) -> None:
    await telling.tell_all(args, lease)


@job(runtime.FACT, tries=10, backoff_seconds=20, timeout_seconds=60)
async def tell_again(args: Args, lease: Lease) -> None:
    await telling.tell_again(args)
