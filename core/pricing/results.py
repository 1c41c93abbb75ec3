"""What a promotion has brought: the orders it was used in, what it took off, and what was left of their money."""

from __future__ import annotations

from dataclasses import dataclass

from core import db
from core.money import Money

# Orders of the shop's own currency; while it only tries things out its test orders, else the real ones.
RESULTS = """
WITH used AS (
    SELECT adjustment.key, adjustment.order_id, -sum(adjustment.amount)::bigint AS discount
    FROM orders_adjustment adjustment JOIN orders_order o ON o.id = adjustment.order_id
    JOIN shops_shop shop ON shop.id = o.shop_id
    WHERE shop.code = $1 AND adjustment.promotion = $2 AND o.currency = shop.currency AND o.test = shop.test_mode
      AND ($3::text[] IS NULL OR adjustment.key = ANY($3))
    GROUP BY adjustment.key, adjustment.order_id
)
SELECT used.key, max(o.currency) AS currency,
       count(*) FILTER (WHERE o.paid_at IS NOT NULL) AS orders,
       count(*) FILTER (WHERE o.payment_state = 'unpaid' AND o.fulfilment_state = 'reserved') AS waiting,
       coalesce(sum(used.discount) FILTER (WHERE o.paid_at IS NOT NULL), 0)::bigint AS discount,
       coalesce(sum(least(kept.amount, o.total)) FILTER (WHERE o.paid_at IS NOT NULL), 0)::bigint AS revenue,
       coalesce(sum(booked.cost), 0)::bigint AS cost
FROM used JOIN orders_order o ON o.id = used.order_id
CROSS JOIN LATERAL (
    SELECT coalesce((SELECT sum(amount - charged_back) FROM payments_event
                     WHERE order_id = o.id AND state = 'paid' AND currency = o.currency), 0)
           - coalesce((SELECT sum(amount) FROM payments_refund
                       WHERE order_id = o.id AND state = 'done' AND currency = o.currency), 0) AS amount
) AS kept
CROSS JOIN LATERAL (
    SELECT sum(CASE account.id WHEN entry.debit_id THEN entry.amount ELSE -entry.amount END) AS cost
    FROM ledger_entry entry JOIN ledger_account account ON account.id IN (entry.debit_id, entry.credit_id)
    WHERE entry.order_id = o.id AND account.code = 'cost' AND account.currency = o.currency
) AS booked
GROUP BY used.key
"""

CODE_USES = """
SELECT adjustment.code, count(DISTINCT o.id) AS orders
FROM orders_adjustment adjustment JOIN orders_order o ON o.id = adjustment.order_id
JOIN shops_shop shop ON shop.id = o.shop_id
WHERE shop.code = $1 AND adjustment.promotion = $2 AND adjustment.key = $3 AND adjustment.code <> ''
  AND (o.paid_at IS NOT NULL OR (o.payment_state = 'unpaid' AND o.fulfilment_state = 'reserved'))
GROUP BY adjustment.code
"""


@dataclass(frozen=True, slots=True)
class PromotionResult:
    """What a promotion has brought. ``orders`` were paid, ``waiting`` hold a use while they wait for their payment.

    All sums are of the paid ones and in the shop's currency: ``discount`` was taken off, as a positive sum; ``revenue``
    is what is left of the money of the paid ones after refunds and chargebacks, ``cost`` what their goods
    cost, those bought from suppliers too.
    """

    orders: int
    waiting: int
    discount: Money
    revenue: Money
    cost: Money

    @property
    def profit(self) -> Money:
        """What is left of the revenue after the cost of the goods."""
        return self.revenue - self.cost


async def promotion_results(shop: str, promotion: str, keys: list[str] | None = None) -> dict[str, PromotionResult]:
    """By the keys of its adjustments, what the promotion has brought in the shop of that code; all keys or these.

    A key that was never used is missing.
    """
    rows = await db.fetch(RESULTS, shop, promotion, keys)
    return {
        row["key"]: PromotionResult(
            orders=row["orders"],
            waiting=row["waiting"],
            discount=Money(row["discount"], row["currency"]),
            revenue=Money(row["revenue"], row["currency"]),
            cost=Money(row["cost"], row["currency"]),
        )
        for row in rows
    }


async def promotion_code_uses(shop: str, promotion: str, key: str) -> dict[str, int]:
    """How many orders each entered code was used in, as buyers typed it; those that ended unpaid do not count."""
    rows = await db.fetch(CODE_USES, shop, promotion, key)
    return {row["code"]: row["orders"] for row in rows}
