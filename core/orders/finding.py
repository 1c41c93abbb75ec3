"""Finding orders again: those of this browser, and links by mail for everyone else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core import db
from core.catalog.service import Words
from core.jobs import enqueue, ring
from core.money import Money

SHOWN = 20

OF_SESSION = """
SELECT o.ref, o.created_at, o.currency, o.total, o.payment_state, o.fulfilment_state,
       (SELECT line.product_title FROM orders_line line WHERE line.order_id = o.id ORDER BY line.id LIMIT 1) AS title
FROM orders_access access JOIN orders_order o ON o.id = access.order_id
WHERE access.session_hash = $1 ORDER BY o.id DESC LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class Found:
    ref: str
    title: Words
    total: Money
    created_at: datetime
    payment_state: str
    fulfilment_state: str


async def of_session(session_hash: bytes) -> list[Found]:
    """The newest orders this browser may open."""
    return [
        Found(
            ref=row["ref"],
            title=row["title"] or {},
            total=Money(row["total"], row["currency"]),
            created_at=row["created_at"],
            payment_state=row["payment_state"],
            fulfilment_state=row["fulfilment_state"],
        )
        for row in await db.fetch(OF_SESSION, session_hash, SHOWN)
    ]


async def mail_links_later(shop_id: int, contact: str, ref: str, locale: str) -> None:
    """Let a job look and mail. The one who asked waits equally long whether there is an order or not."""
    args = {"shop_id": shop_id, "contact": contact, "ref": ref.strip().upper()[:40], "locale": locale}
    await ring(await db.transaction(_enqueue, args))


async def _enqueue(tx: db.Tx, args: dict[str, Any]) -> int:
    return await enqueue(tx, "orders.mail_links", args)
