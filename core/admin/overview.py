"""The newest orders, for the first page of the console; its figures come from ``core.insight``."""

from __future__ import annotations

from typing import Any

from core import db
from core.money import Money
from core.shops.service import Shop

LATEST = 8


async def latest_orders(shop: Shop) -> list[dict[str, Any]]:
    rows = await db.fetch("SELECT * FROM orders_order WHERE shop_id = $1 ORDER BY id DESC LIMIT $2", shop.id, LATEST)
    return [{**row, "money": Money(row["total"], row["currency"])} for row in rows]
