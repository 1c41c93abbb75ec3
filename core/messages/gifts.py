"""Mails to those whom goods were given to."""

from __future__ import annotations

from core import clock
from core.db import Tx
from core.messages.events import GIFT, MAIL
from core.messages.service import SEND, state_now

AT_ONCE = 100

# The message belongs to no order in the outbox: what is sent again about an order goes to its buyer.
DUE = """
WITH due AS (
    SELECT gift.order_id, gift.recipient, o.shop_id, o.locale
    FROM orders_gift gift JOIN orders_order o ON o.id = gift.order_id
    WHERE gift.sent_at IS NULL AND gift.recipient <> '' AND (gift.send_at IS NULL OR gift.send_at <= $1)
      AND o.fulfilment_state = 'delivered' ORDER BY gift.order_id LIMIT $2 FOR UPDATE OF gift SKIP LOCKED
), sent AS (
    UPDATE orders_gift SET sent_at = $1 WHERE order_id IN (SELECT order_id FROM due)
), message AS (
    INSERT INTO messages_message (shop_id, event, channel, recipient, locale, key, state, data)
    SELECT shop_id, $3, $4, recipient, locale, $3 || ':' || $4 || ':' || order_id, $5,
           jsonb_build_object('gift', order_id) FROM due
    ON CONFLICT (key) DO NOTHING RETURNING id
)
INSERT INTO jobs_job (name, args) SELECT $6, jsonb_build_object('message', id) FROM message WHERE $5 = 'queued'
RETURNING id
"""

AGAIN = """
WITH message AS (
    INSERT INTO messages_message (shop_id, event, channel, recipient, locale, key, state, data)
    SELECT o.shop_id, $2, $3, gift.recipient, o.locale, $2 || ':' || $3 || ':' || o.id || ':' || gen_random_uuid(), $4,
           jsonb_build_object('gift', o.id)
    FROM orders_gift gift JOIN orders_order o ON o.id = gift.order_id
    WHERE o.id = $1 AND gift.sent_at IS NOT NULL AND gift.recipient <> '' AND NOT EXISTS (
        SELECT 1 FROM messages_message waiting WHERE waiting.shop_id = o.shop_id
          AND waiting.recipient = gift.recipient AND waiting.event = $2 AND waiting.state IN ('queued', 'held')
          AND waiting.data ->> 'gift' = o.id::text)
    RETURNING id
)
INSERT INTO jobs_job (name, args) SELECT $5, jsonb_build_object('message', id) FROM message WHERE $4 = 'queued'
RETURNING id
"""


async def queue_due(tx: Tx) -> list[int]:
    """Write the mails that are due; gives the jobs to ring for after the commit."""
    rows = await tx.fetch(DUE, clock.now(), AT_ONCE, GIFT.key, MAIL, state_now(MAIL), SEND)
    return [row["id"] for row in rows]


async def queue_again(tx: Tx, order_id: int) -> list[int]:
    """Its link is another one: mail it again to a recipient who was mailed before. A mail that still waits takes the
    link when it goes out."""
    rows = await tx.fetch(AGAIN, order_id, GIFT.key, MAIL, state_now(MAIL), SEND)
    return [row["id"] for row in rows]
