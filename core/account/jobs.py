"""Mails the link that opens an account in a browser."""

from __future__ import annotations

from core import db
from core.account import MAIL_LINK
from core.db import Tx
from core.jobs import Lease, job, ring
from core.jobs.registry import Args
from core.messages import service as messages
from core.messages.events import ACCOUNT_LINK

ONCE_IN_SECONDS = 300

KNOWN = """
SELECT EXISTS (SELECT 1 FROM orders_order WHERE shop_id = $1 AND contact = $2 AND contact_kind = 'email')
    OR EXISTS (SELECT 1 FROM ledger_balance WHERE shop_id = $1 AND contact = $2)
"""


@job(MAIL_LINK)
async def mail_link(args: Args, lease: Lease) -> None:
    """To an address that ordered here or has a balance, at most once in five minutes; else nothing happens."""
    await ring(*await db.transaction(write, args["shop_id"], args["contact"], args["locale"]))


async def write(tx: Tx, shop_id: int, contact: str, locale: str) -> list[int]:
    if not await tx.fetchval(KNOWN, shop_id, contact):
        return []
    window = await tx.fetchval("SELECT floor(extract(epoch FROM now()) / $1::int)::bigint", ONCE_IN_SECONDS)
    return await messages.queue(tx, shop_id, None, ACCOUNT_LINK.key, contact, locale, f"{shop_id}:{contact}:{window}")
