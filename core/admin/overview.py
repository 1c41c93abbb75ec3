"""The numbers of the dashboard, each from one statement, and what still has to be done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from core import clock, db
from core.money import Money
from core.shops.service import Shop
from core.vault import low_stock as low_stock_of

RANGES = (1, 7, 30)
LATEST = 8
MOST_LOW = 20

SALES = """
SELECT count(*) FILTER (WHERE paid_at >= $2) AS paid, count(*) FILTER (WHERE paid_at < $2) AS paid_before,
       coalesce(sum(total) FILTER (WHERE paid_at >= $2), 0)::bigint AS revenue,
       coalesce(sum(total) FILTER (WHERE paid_at < $2), 0)::bigint AS revenue_before,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM delivered_at - paid_at))
           FILTER (WHERE paid_at >= $2 AND delivered_at IS NOT NULL) AS seconds_to_code
FROM orders_order WHERE shop_id = $1 AND paid_at >= $3 AND currency = $4
  AND payment_state = 'paid' AND NOT test
"""

FUNNEL = """
SELECT count(*) AS placed, count(*) FILTER (WHERE payment_state = 'paid') AS paid,
       count(*) FILTER (WHERE fulfilment_state = 'delivered') AS delivered
FROM orders_order WHERE shop_id = $1 AND created_at >= $2 AND NOT test
"""

DAYS = """
SELECT day::date AS day, coalesce(sum(o.total), 0)::bigint AS amount, count(o.id) AS orders
FROM generate_series(date_trunc('day', $2::timestamptz AT TIME ZONE $4) - make_interval(days => $5 - 1),
                     date_trunc('day', $2::timestamptz AT TIME ZONE $4), interval '1 day') AS day
LEFT JOIN orders_order o ON o.shop_id = $1 AND o.currency = $3 AND NOT o.test AND o.payment_state = 'paid'
    AND o.paid_at >= day AT TIME ZONE $4 AND o.paid_at < (day + interval '1 day') AT TIME ZONE $4
GROUP BY day ORDER BY day
"""

WAITING = """
SELECT (SELECT count(*) FROM review_item WHERE shop_id = $1 AND state = 'open') AS reviews,
       (SELECT count(*) FROM audit_alarm WHERE seen_at IS NULL
            AND (shop_id = $1 OR (shop_id IS NULL AND $1 = (SELECT min(id) FROM shops_shop)))) AS alarms,
       (SELECT count(*) FROM jobs_job WHERE state = 'failed' AND $1 = (SELECT min(id) FROM shops_shop)) AS failed_jobs,
       (SELECT count(*) FROM messages_message WHERE shop_id = $1 AND state = 'failed') AS failed_messages,
       (SELECT count(*) FROM messages_message WHERE shop_id = $1 AND state = 'held') AS held_messages
"""


@dataclass(frozen=True, slots=True)
class Bar:
    day: datetime
    money: Money
    orders: int
    height: int


async def sales(shop: Shop, days: int) -> dict[str, Any]:
    since = clock.now() - timedelta(days=days)
    row = await db.fetchrow(SALES, shop.id, since, since - timedelta(days=days), shop.currency)
    funnel = await db.fetchrow(FUNNEL, shop.id, since)
    assert row is not None and funnel is not None  # noqa: S101 - aggregates always give a row
    revenue = Money(row["revenue"], shop.currency)
    return {
        "paid": row["paid"],
        "paid_before": row["paid_before"],
        "revenue": revenue,
        "revenue_before": Money(row["revenue_before"], shop.currency),
        "average": Money(row["revenue"] // row["paid"], shop.currency) if row["paid"] else None,
        "seconds_to_code": row["seconds_to_code"],
        "placed": funnel["placed"],
        "paid_of_placed": funnel["paid"] / funnel["placed"] if funnel["placed"] else None,
        "delivered": funnel["delivered"],
    }


async def bars(shop: Shop, days: int) -> list[Bar]:
    """One bar a whole day of the shop's time zone, today's last; its height in hundredths of the highest."""
    rows = await db.fetch(DAYS, shop.id, clock.now(), shop.currency, shop.timezone, days)
    most = max((row["amount"] for row in rows), default=0) or 1
    return [
        Bar(row["day"], Money(row["amount"], shop.currency), row["orders"], row["amount"] * 100 // most) for row in rows
    ]


async def waiting(shop: Shop) -> dict[str, int]:
    row = await db.fetchrow(WAITING, shop.id)
    return dict(row or {})


async def low_stock(shop: Shop) -> list[Any]:
    return (await low_stock_of.now_low(shop.id))[:MOST_LOW]


async def latest_orders(shop: Shop) -> list[dict[str, Any]]:
    rows = await db.fetch("SELECT * FROM orders_order WHERE shop_id = $1 ORDER BY id DESC LIMIT $2", shop.id, LATEST)
    return [{**row, "money": Money(row["total"], row["currency"])} for row in rows]
