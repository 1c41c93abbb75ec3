"""Suppliers are looked at by the clock, and when somebody asks for it."""

from __future__ import annotations

from core import clock, db
from core.hooks.http import HttpError
from core.jobs import Lease, Retry, every, job, ring
from core.jobs.registry import Args
from core.supply import sync
from core.supply.supplier import SupplierRefused, SupplierUnavailable


@every(5, "supply.sync_due")
async def sync_due(lease: Lease) -> None:
    await ring(*await sync.begin_due())


@job(sync.SYNC, tries=3, backoff_seconds=20, timeout_seconds=1800)
async def look(args: Args, lease: Lease) -> None:
    try:
        await sync.look(args["supplier"], args["items"], whole=args["whole"])
    except (SupplierUnavailable, SupplierRefused, HttpError, TimeoutError) as error:
        raise Retry(str(error) or "the supplier did not answer in time") from None


@every(86_400, "supply.forget_answers")
async def forget_answers(lease: Lease) -> None:
    """What suppliers answered is evidence for half a year; the codes themselves lie in the vault."""
    await db.execute(
        "DELETE FROM supply_answer WHERE id IN (SELECT id FROM supply_answer"
        " WHERE at < $1::timestamptz - interval '180 days' LIMIT 50000)",
        clock.now(),
    )
