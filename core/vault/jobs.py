"""The vault's work behind the pages: dry runs, imports, and tidying up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from core import clock, db, tasks
from core.config import Config
from core.jobs import Cancelled, GiveUp, Lease, LeaseLost, every, job
from core.vault import burn, import_run, rotate, stock
from core.vault.cipher import DecryptError
from core.vault.import_run import BatchFacts, Meter
from core.vault.import_staging import UploadError

log = logging.getLogger("vouchsafe.vault")

HALF_AN_HOUR = 1800
TELL_SECONDS = 0.3

FORGET_UPLOADS = "DELETE FROM vault_import WHERE state <> 'done' AND updated_at < now() - interval '24 hours'"
FORGET_REJECTS = """
DELETE FROM vault_import_reject USING vault_import i
WHERE i.id = import_id AND i.updated_at < now() - interval '30 days'
"""


@job("vault.check_import", tries=3, timeout_seconds=HALF_AN_HOUR)
async def check_import(args: dict[str, Any], lease: Lease) -> None:
    async with _metered(lease) as meter:
        await _through(import_run.run_check, args["import_id"], meter, lease.check)


@job("vault.import", tries=5, timeout_seconds=HALF_AN_HOUR)
async def import_codes(args: dict[str, Any], lease: Lease) -> None:
    facts = msgspec.convert(args["facts"], BatchFacts)
    async with _metered(lease) as meter:
        await _through(import_run.run_import, args["import_id"], facts, args["staff_id"], meter, lease.check)


async def _through(work: Callable[..., Awaitable[None]], *args: Any) -> None:
    """An upload that cannot be read will not be readable later either."""
    try:
        await db.transaction(work, *args)
    except UploadError as error:
        raise GiveUp(error.reason) from None
    except DecryptError as error:
        raise GiveUp(str(error)) from None


@asynccontextmanager
async def _metered(lease: Lease) -> AsyncIterator[Meter]:
    meter = Meter()
    telling = asyncio.create_task(_tell(lease, meter))
    try:
        yield meter
    finally:
        await tasks.end(telling)
    await lease.progress(done=meter.total, total=meter.total)


async def _tell(lease: Lease, meter: Meter) -> None:
    """Progress goes out beside the transaction, through a connection of its own."""
    try:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            await lease.progress(done=meter.done, total=meter.total)
    except (Cancelled, LeaseLost) as stop:
        meter.stop = stop


@every(600, "vault.tidy")
async def tidy(lease: Lease) -> None:
    """Uploads nobody imported go after a day, reject files after a month; codes near their end leave the shelf."""
    await db.execute(FORGET_UPLOADS)
    await db.execute(FORGET_REJECTS)
    await stock.set_aside_ending()


@every(60, "vault.burn")
async def burn_due(lease: Lease) -> None:
    """Erase shown codes past their window, a few at a time, so that no buyer waits for a long transaction."""
    while await lease.write(burn.burn_due, clock.now()) == burn.AT_ONCE:
        pass


@every(600, "vault.keys", timeout_seconds=HALF_AN_HOUR)
async def tend_keys(lease: Lease) -> None:
    """Finish a rotation that was killed, begin one before a key has sealed too much, forget keys nothing needs."""
    await rotate.tend(Config.from_env(), log.info)
