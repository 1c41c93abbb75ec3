"""Acts on many rows and large exports in the background."""

from __future__ import annotations

from typing import Any

from core.jobs import GiveUp, Lease, every, job
from core.lists import runs
from core.web.i18n import speaking

Args = dict[str, Any]


@job("lists.run", tries=3, timeout_seconds=3600)
async def run(args: Args, lease: Lease) -> None:
    found = await runs.load(args["run"])
    if found is None:
        raise GiveUp("the run is gone, or the person it was for may not sign in any more")
    if found.row["state"] != "running":
        return

    async def progress(done: int, total: int) -> None:
        await lease.progress(done=done, total=total)

    with speaking(found.row["locale"]):
        if found.is_export:
            await runs.carry_out_export(found, progress)
        else:
            await runs.carry_out(found, progress)


@every(3600, "lists.forget")
async def forget(_lease: Lease) -> None:
    await runs.forget_old()
