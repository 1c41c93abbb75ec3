"""Facts on their way to plugins: one job for each fact and plugin, tried again by itself."""

from __future__ import annotations

from core.hooks import runtime
from core.jobs import Lease, job
from core.jobs.registry import Args


@job(runtime.FACT, tries=10, backoff_seconds=10, timeout_seconds=60)
async def tell(args: Args, lease: Lease) -> None:
    await runtime.current().tell(args["hook"], args["plugin"], args["views"])
