"""What the clock sets going: unpaid orders end, silent payments are asked about, stuck orders reach a person."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from core import db
from core.checkout import partner_news
from core.checkout.ask import ask_about
from core.checkout.selling import TELL_SALE
from core.config import Config
from core.db import Tx
from core.fulfilment import service as fulfilment
from core.jobs import Lease, bell, every, job, ring
from core.jobs.registry import Args
from core.messages import gifts
from core.orders import service as orders
from core.payments import service as payments

log = logging.getLogger("vouchsafe.checkout")

ASKED_AT_ONCE = 8
STUCK_AFTER = timedelta(minutes=2)


@every(5, "checkout.expire")
async def expire(lease: Lease) -> None:
    for ref in await orders.expire_due():
        await bell.ring(f"order:{ref}", "expired")


@every(3, "checkout.ask_gateways")
async def ask_gateways(lease: Lease) -> None:
    """Settle what a gateway knows as paid although its callback never came."""
    at_once = asyncio.Semaphore(ASKED_AT_ONCE)

    async def one(attempt: payments.StoredAttempt) -> None:
        async with at_once:
            try:
                await ask_about(attempt)
            except db.AWAY:
                raise
            except Exception:
                # What one gateway says must not keep the payments of all others from being found.
                log.exception("what is known of attempt %s cannot be taken", attempt.view.ref)

    async with asyncio.TaskGroup() as asking:
        for attempt in await payments.attempts_to_query(Config.from_env().base_url):
            asking.create_task(one(attempt))


@every(10, "checkout.send_gifts")
async def send_gifts(lease: Lease) -> None:
    """Mail whom goods were given to, once these are there and their day has come."""
    await ring(*await db.transaction(gifts.queue_due))


@every(30, "checkout.finish_stuck")
async def finish_stuck(lease: Lease) -> None:
    """A paid order never hangs: deliver it, or put it before a person."""
    rows = await db.fetch(
        "SELECT id, ref FROM orders_order WHERE payment_state = 'paid' AND fulfilment_state IN ('reserved', 'released')"
        " AND paid_at < now() - $1::interval LIMIT 50",
        STUCK_AFTER,
    )
    for row in rows:
        log.warning("order %s was paid but not delivered; delivering it now", row["ref"])
        await ring(*await db.transaction(_finish, row["id"]))
        await bell.ring(f"order:{row['ref']}", "finished")


async def _finish(tx: Tx, order_id: int) -> list[int]:
    order = await tx.fetchrow("SELECT * FROM orders_order WHERE id = $1 FOR UPDATE", order_id)
    if order is None or order["payment_state"] != "paid" or order["fulfilment_state"] not in ("reserved", "released"):
        return []
    return (await fulfilment.fulfil(tx, order, "out_of_stock")).jobs


# -- what partners are told -------------------------------------------------------------


@every(3, "checkout.look_for_partner_news")
async def look_for_partner_news(lease: Lease) -> None:
    """Orders of partners that are over although nobody was told, and SKUs whose price or stock changed."""
    await ring(*await db.transaction(partner_news.orders_to_tell))
    await ring(*await db.transaction(partner_news.stands_to_tell))


@job(TELL_SALE, tries=14, backoff_seconds=5)
async def tell_sale(args: Args, lease: Lease) -> None:
    await partner_news.tell_sale(args["order"])


@job(partner_news.TELL_STAND, tries=3, backoff_seconds=5)
async def tell_stand(args: Args, lease: Lease) -> None:
    await partner_news.tell_stand(args["partner"], args["skus"])
