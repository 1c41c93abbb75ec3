"""Mails the link that opens a balance in a browser."""

from __future__ import annotations

from core import db
from core.balances import MAIL_LINK
from core.db import Tx
from core.jobs import Lease, job, ring
from core.jobs.registry import Args
from core.messages import service as messages
from core.messages.events import BALANCE_LINK

ONCE_IN_SECONDS = 300

KNOWN = """
SELECT EXISTS (SELECT 1 FROM ledger_balance WHERE shop_id = $1 AND contact = $2)
    OR EXISTS (SELECT 1 FROM orders_order WHERE shop_id = $1 AND contact = $2 AND contact_kind = 'email'
               AND payment_state NOT IN ('unpaid', 'cancelled', 'expired'))
"""


@job(MAIL_LINK)
async def mail_link(args: Args, lease: Lease) -> None:
    """To an address that has a balance or bought here, at most once in five minutes; else nothing happens."""
    await ring(*await db.transaction(_write, args["shop_id"], args["contact"], args["locale"]))


async def _write(tx: Tx, shop_id: int, contact: str, locale: str) -> list[int]:
    if not await tx.fetchval(KNOWN, shop_id, contact):
        return []
    window = await tx.fetchval("SELECT floor(extract(epoch FROM now()) / $1::int)::bigint", ONCE_IN_SECONDS)
    return await messages.queue(tx, shop_id, None, BALANCE_LINK.key, contact, locale, f"{shop_id}:{contact}:{window}")
