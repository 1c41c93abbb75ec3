"""Sessions that ask for codes they may not see. Each leaves one alarm for an order, however often it asks."""

from __future__ import annotations

from core import clock, db
from core.audit import service as audit

MOST_IN_AN_HOUR = 30
"""From one address: the first thirty alarms say enough."""

ALARM_ONCE = f"""
INSERT INTO orders_stranger (order_id, session_hash, ip, at) SELECT id, $2, $3, $4 FROM orders_order
WHERE ref = $1 AND {MOST_IN_AN_HOUR} > (
    SELECT count(*) FROM orders_stranger WHERE ip = $3 AND at > $4::timestamptz - interval '1 hour')
ON CONFLICT DO NOTHING RETURNING order_id
"""  # noqa: S608 - put together from constants


async def asked(kind: str, ref: str, session_hash: bytes, *, shop_id: int, ip: str, request_id: str) -> None:
    """Leave an alarm of that kind, once for a session and an order."""
    await db.transaction(_asked, kind, ref, session_hash, shop_id, ip, request_id)


async def _asked(tx: db.Tx, kind: str, ref: str, session_hash: bytes, shop_id: int, ip: str, request_id: str) -> None:
    if await tx.fetchval(ALARM_ONCE, ref, session_hash, ip, clock.now()) is not None:
        await audit.alarm(tx, kind, f"order:{ref}", "", {"request": request_id}, shop_id=shop_id, ip=ip)
