"""What somebody should look at now: stock, late orders, payments that cannot begin, suppliers, the queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from core import clock, db
from core.jobs import service as jobs
from core.ledger import chart
from core.money import Money
from core.shops.service import Shop
from core.vault import low_stock

MOST = 8
WAITS_TOO_LONG = timedelta(minutes=10)
LATELY = timedelta(hours=24)
QUEUE_LAGS = timedelta(seconds=30)

COUNTS = """
SELECT (SELECT count(*) FROM review_item WHERE shop_id = $1 AND state = 'open') AS reviews,
       (SELECT min(created_at) FROM review_item WHERE shop_id = $1 AND state = 'open') AS review_since,
       (SELECT count(*) FROM audit_alarm WHERE seen_at IS NULL AND (shop_id = $1 OR (shop_id IS NULL AND $2)))
           AS alarms,
       (SELECT count(*) FROM jobs_job WHERE state = 'failed' AND $2) AS failed_jobs,
       (SELECT count(*) FROM messages_message WHERE shop_id = $1 AND state = 'failed') AS failed_messages,
       (SELECT count(*) FROM messages_message WHERE shop_id = $1 AND state = 'held') AS held_messages
"""

# The condition of the index of unfinished orders, word for word.
WAITING = """
SELECT ref, paid_at, fulfilment_state, count(*) OVER () AS all FROM orders_order
WHERE payment_state = 'paid' AND fulfilment_state NOT IN ('delivered', 'void')
  AND shop_id = $1 AND NOT test AND paid_at < $2
ORDER BY paid_at LIMIT $3
"""

NOT_BEGUN = """
SELECT attempt.method, count(*) AS number, max(attempt.created_at) AS last,
       (array_agg(attempt.error ORDER BY attempt.id DESC))[1] AS error
FROM payments_attempt attempt JOIN orders_order o ON o.id = attempt.order_id
WHERE o.shop_id = $1 AND NOT o.test AND attempt.created_at >= $2 AND attempt.state = 'failed'
GROUP BY 1 ORDER BY 2 DESC
"""

NEEDED = {
    "reviews": "review.read",
    "alarms": "audit.read",
    "failed_jobs": "jobs.read",
    "failed_messages": "messages.read",
    "held_messages": "messages.read",
}
"""The right to see what is counted."""

BALANCES = """
SELECT key, title, balance, currency, balance_at FROM supply_supplier
WHERE low_balance IS NOT NULL AND balance IS NOT NULL AND balance < low_balance ORDER BY key
"""


@dataclass(frozen=True, slots=True)
class LateOrder:
    ref: str
    since: datetime
    state: str


@dataclass(frozen=True, slots=True)
class BadMethod:
    """Payments that failed lately; ``error`` is the newest of them, for the merchant."""

    key: str
    title: str
    number: int
    last: datetime
    error: str


@dataclass(frozen=True, slots=True)
class LowSupplier:
    key: str
    title: dict[str, str]
    balance: Money


@dataclass(frozen=True, slots=True)
class Alerts:
    stock: list[Any]
    stock_more: int
    late: list[LateOrder]
    late_more: int
    methods: list[BadMethod]
    suppliers: list[LowSupplier]
    queue_since: datetime | None
    """The oldest job that should have begun, when it waits for long."""
    counts: dict[str, Any]

    @property
    def any(self) -> bool:
        lists = self.stock or self.late or self.methods or self.suppliers
        return bool(lists or self.queue_since or any(v for k, v in self.counts.items() if k != "review_since"))

    def seen_with(self, may: Callable[[str], bool]) -> Alerts:
        """What of it somebody with these rights may see."""
        return replace(
            self,
            stock=self.stock if may("stock.read") else [],
            stock_more=self.stock_more if may("stock.read") else 0,
            late=self.late if may("orders.read") else [],
            methods=self.methods if may("payments.read") else [],
            suppliers=self.suppliers if may("supply.read") else [],
            queue_since=self.queue_since if may("jobs.read") else None,
            counts={
                name: value if may(NEEDED.get(name, "review.read")) else None for name, value in self.counts.items()
            },
        )


async def of(shop: Shop, *, whole_server: bool) -> Alerts:
    now = clock.now()
    low = await low_stock.now_low(shop.id)
    late = await db.fetch(WAITING, shop.id, now - WAITS_TOO_LONG, MOST)
    counts = await db.fetchrow(COUNTS, shop.id, whole_server)
    return Alerts(
        stock=low[:MOST],
        stock_more=max(0, len(low) - MOST),
        late=[LateOrder(row["ref"], row["paid_at"], row["fulfilment_state"]) for row in late],
        late_more=max(0, late[0]["all"] - MOST) if late else 0,
        methods=[
            BadMethod(row["method"], chart.method_title(row["method"]), row["number"], row["last"], row["error"])
            for row in await db.fetch(NOT_BEGUN, shop.id, now - LATELY)
        ],
        suppliers=await _suppliers() if whole_server else [],
        queue_since=await _queue_since(now) if whole_server else None,
        counts=dict(counts or {}),
    )


async def _suppliers() -> list[LowSupplier]:
    rows = await db.fetch(BALANCES)
    return [LowSupplier(row["key"], row["title"], Money(row["balance"], row["currency"])) for row in rows]


async def _queue_since(now: datetime) -> datetime | None:
    since = (await jobs.health()).waiting_since
    return since if since is not None and now - since > QUEUE_LAGS else None
