"""Finding orders for staff: filters, pages, counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core import db

SIZES = (20, 50, 100, 200)


@dataclass(frozen=True, slots=True)
class Filters:
    q: str = ""
    payment: str = ""
    fulfilment: str = ""
    sku: str = ""
    page: int = 1
    size: int = 50


FOUND = """
FROM orders_order o
WHERE o.shop_id = $1
  AND ($2 = '' OR o.payment_state = $2)
  AND ($3 = '' OR o.fulfilment_state = $3)
  AND ($4 = '' OR o.ref = upper($4) OR o.contact = lower($4) OR o.id IN (
        SELECT order_id FROM payments_attempt WHERE ref = upper($4) OR gateway_ref = $4))
  AND ($5 = '' OR o.id IN (SELECT order_id FROM orders_line WHERE sku_code = $5))
"""

PAGE = f"""
SELECT o.id, o.ref, o.contact, o.currency, o.total, o.payment_state, o.fulfilment_state, o.test, o.created_at,
       o.paid_at,
       (SELECT json_agg(json_build_object('title', line.product_title, 'sku', line.sku_title, 'quantity', line.quantity)
                        ORDER BY line.id) FROM orders_line line WHERE line.order_id = o.id) AS lines
{FOUND} ORDER BY o.id DESC LIMIT $6 OFFSET $7
"""  # noqa: S608 - put together from constants


async def find(shop_id: int, filters: Filters) -> tuple[list[Any], int]:
    """One page of orders, newest first, and how many there are in all."""
    wanted = (shop_id, filters.payment, filters.fulfilment, filters.q.strip(), filters.sku)
    rows = await db.fetch(PAGE, *wanted, filters.size, (filters.page - 1) * filters.size)
    total = await db.fetchval(f"SELECT count(*) {FOUND}", *wanted)
    return rows, total


async def timeline_of(order_id: int) -> list[dict[str, Any]]:
    """Every step of an order with the time since the step before."""
    rows = await db.fetch(
        "SELECT at, kind, actor, data FROM orders_event WHERE order_id = $1 ORDER BY at, id", order_id
    )
    steps: list[dict[str, Any]] = []
    for row in rows:
        step = dict(row)
        step["after"] = row["at"] - steps[-1]["at"] if steps else None
        steps.append(step)
    return steps
