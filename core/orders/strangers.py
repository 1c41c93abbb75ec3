"""Sessions that ask for codes they may not see. Each leaves one alarm for an order, however often it asks."""

from __future__ import annotations

from core import db
from core.audit import service as audit
from core.web import limits

ALARM_ONCE = """
INSERT INTO orders_stranger (order_id, session_hash) SELECT id, $2 FROM orders_order WHERE ref = $1
ON CONFLICT DO NOTHING RETURNING order_id
"""


async def asked(kind: str, ref: str, session_hash: bytes, *, shop_id: int, ip: str, request_id: str) -> None:
    """Leave an alarm of that kind, once for a session and an order; many from one address are counted, not written."""
    if await limits.below("stranger", ip):
        await db.transaction(_asked, kind, ref, session_hash, shop_id, ip, request_id)


async def _asked(tx: db.Tx, kind: str, ref: str, session_hash: bytes, shop_id: int, ip: str, request_id: str) -> None:
    if await tx.fetchval(ALARM_ONCE, ref, session_hash) is not None:
        await audit.alarm(tx, kind, f"order:{ref}", "", {"request": request_id}, shop_id=shop_id, ip=ip)
