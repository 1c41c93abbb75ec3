"""Making own codes, and forgetting the looks that changed nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from core import clock, db
from core.jobs import Lease, every, job
from core.redemption import issue

HALF_AN_HOUR = 1800
DAY = 86400
LOOKS_KEPT = timedelta(days=180)


@job(issue.JOB, tries=5, timeout_seconds=HALF_AN_HOUR)
async def issue_codes(args: dict[str, Any], lease: Lease) -> None:
    progress = None
    while progress is None or not progress.over:
        progress = await lease.write(issue.make_piece, args["batch_id"])
        await lease.progress(done=progress.made, total=progress.wanted)


@every(DAY, "redemption.forget_looks")
async def forget_looks(lease: Lease) -> None:
    """Redemptions and voids are kept: their request ids must be answered alike for ever."""
    await db.execute("DELETE FROM redemption_try WHERE act = 'verify' AND at < $1", clock.now() - LOOKS_KEPT)
