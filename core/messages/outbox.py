"""Looking at what was and will be sent."""

from __future__ import annotations

from typing import Any

from core import db


async def counts(shop_id: int) -> dict[str, int]:
    rows = await db.fetch(
        "SELECT state, count(*) AS number FROM messages_message WHERE shop_id = $1 GROUP BY state", shop_id
    )
    return {row["state"]: row["number"] for row in rows}


async def one(shop_id: int, message_id: int) -> Any:
    return await db.fetchrow(
        "SELECT message.*, o.ref AS order_ref FROM messages_message message"
        " LEFT JOIN orders_order o ON o.id = message.order_id WHERE message.shop_id = $1 AND message.id = $2",
        shop_id,
        message_id,
    )
