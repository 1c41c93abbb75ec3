"""What was sold in a stretch of time, by day, week, month, product, SKU, category or payment method.

An order counts on the day it was paid, with what followed from it whenever that came: money given back, cost of goods,
fees. Of an order with several products these are divided by the prices of its lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core import db
from core.insight.figures import SOLD
from core.insight.span import Span
from core.ledger import chart
from core.money import Money
from core.shops.service import Shop
from core.web.i18n import Text, _

BY: dict[str, Text] = {
    "day": _("Day"),
    "week": _("Week"),
    "month": _("Month"),
    "product": _("Product"),
    "sku": _("SKU"),
    "category": _("Category"),
    "method": _("Payment method"),
}
TIMES = ("day", "week", "month")
MOST = 5000

KEYS = {
    **{unit: f"to_char(date_trunc('{unit}', sold.local), 'YYYY-MM-DD')" for unit in TIMES},
    "product": "line.product_id::text",
    "sku": "line.sku_code",
    "category": "coalesce((SELECT category_id FROM catalog_product WHERE id = line.product_id), 0)::text",
    "method": "coalesce(paid_by.method, '')",
}

# The share of a line in its order is exactly 1 where there is one line.
SQL = """
WITH sold AS MATERIALIZED (
    SELECT id, paid_at AT TIME ZONE $4::text AS local, currency, total, refunded FROM orders_order
    WHERE shop_id = $1 AND NOT test AND payment_state = ANY($5) AND paid_at >= $2 AND paid_at < $3
), account AS (
    SELECT array_agg(id) FILTER (WHERE code = 'cost') AS cost, array_agg(id) FILTER (WHERE code = 'fees') AS fees
    FROM ledger_account WHERE shop_id = $1 AND code IN ('cost', 'fees')
), booked AS (
    SELECT entry.order_id, entry.currency,
           sum(CASE WHEN entry.debit_id = ANY(account.cost) THEN amount
                    WHEN entry.credit_id = ANY(account.cost) THEN -amount END) AS cost,
           sum(CASE WHEN entry.debit_id = ANY(account.fees) THEN amount
                    WHEN entry.credit_id = ANY(account.fees) THEN -amount END) AS fees
    FROM ledger_entry entry, account
    WHERE entry.at >= $2 AND entry.order_id IS NOT NULL
      AND (entry.debit_id = ANY(account.cost || account.fees) OR entry.credit_id = ANY(account.cost || account.fees))
    GROUP BY 1, 2
), line AS (
    SELECT line.*, CASE WHEN sum(total) OVER of_order > 0 THEN total::float8 / (sum(total) OVER of_order)::float8
                        ELSE 1.0 / count(*) OVER of_order END AS share
    FROM orders_line line WHERE line.order_id IN (SELECT id FROM sold)
    WINDOW of_order AS (PARTITION BY line.order_id)
)
SELECT {key} AS key, sold.currency, (array_agg(line.product_title ORDER BY line.id DESC))[1] AS product_title,
       (array_agg(line.sku_title ORDER BY line.id DESC))[1] AS sku_title,
       count(DISTINCT sold.id) AS orders, sum(line.quantity) AS units,
       round(sum(sold.total * line.share)::numeric)::bigint AS sales,
       round(sum(sold.refunded * line.share)::numeric)::bigint AS refunded,
       round(coalesce(sum(booked.cost * line.share), 0)::numeric)::bigint AS cost,
       round(coalesce(sum(booked.fees * line.share), 0)::numeric)::bigint AS fees
FROM sold JOIN line ON line.order_id = sold.id
LEFT JOIN booked ON booked.order_id = sold.id AND booked.currency = sold.currency
{more}
GROUP BY 1, 2 ORDER BY {order} LIMIT $6
"""

PAID_BY = """LEFT JOIN (
    SELECT order_id, min(method) AS method FROM payments_attempt WHERE state = 'paid' GROUP BY order_id
) AS paid_by ON paid_by.order_id = sold.id"""


@dataclass(frozen=True, slots=True)
class Row:
    """``name`` is what the group is called: by locale, or a text that needs no language."""

    key: str
    name: dict[str, str] | str
    note: dict[str, str] | str
    orders: int
    units: int
    sales: Money
    refunded: Money
    cost: Money
    fees: Money

    @property
    def profit(self) -> Money:
        return self.sales - self.refunded - self.cost - self.fees

    @property
    def margin(self) -> float | None:
        kept = self.sales.amount - self.refunded.amount
        return self.profit.amount / kept if kept else None


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one currency, and their sum. An order with two products stands in two rows and counts once."""

    currency: str
    rows: list[Row]
    total: Row


async def of(shop: Shop, span: Span, by: str) -> list[Table]:
    """One table for each currency something was sold in, the shop's own first."""
    sql = SQL.format(
        key=KEYS[by], more=PAID_BY if by == "method" else "", order="key" if by in TIMES else "sales DESC, key"
    )
    found = await db.fetch(sql, shop.id, span.start, span.end, shop.timezone, list(SOLD), MOST)
    orders = await db.fetch(ORDERS, shop.id, span.start, span.end, list(SOLD))
    counted = {row["currency"]: row["orders"] for row in orders}
    names = await _names(shop.id, by)
    currencies = sorted(counted, key=lambda one: (one != shop.currency, one))
    return [
        _table(currency, [_row(row, by, names) for row in found if row["currency"] == currency], counted[currency])
        for currency in currencies
    ]


ORDERS = """
SELECT currency, count(*) AS orders FROM orders_order
WHERE shop_id = $1 AND NOT test AND payment_state = ANY($4) AND paid_at >= $2 AND paid_at < $3 GROUP BY 1
"""


async def _names(shop_id: int, by: str) -> dict[str, dict[str, str]]:
    if by != "category":
        return {}
    rows = await db.fetch("SELECT id::text AS id, title FROM catalog_category WHERE shop_id = $1", shop_id)
    return {row["id"]: row["title"] for row in rows}


def _row(row: Any, by: str, names: dict[str, dict[str, str]]) -> Row:
    name: dict[str, str] | str = row["key"]
    note: dict[str, str] | str = ""
    if by == "product":
        name = row["product_title"]
    elif by == "sku":
        name, note = row["product_title"], row["sku_title"]
    elif by == "category":
        name = names.get(row["key"], "")
    elif by == "method":
        name = chart.method_title(row["key"]) if row["key"] else ""
    money = (Money(row[column], row["currency"]) for column in ("sales", "refunded", "cost", "fees"))
    return Row(row["key"], name, note, row["orders"], row["units"], *money)


def _table(currency: str, rows: Sequence[Row], orders: int) -> Table:
    sums = (Money(sum(getattr(row, name).amount for row in rows), currency) for name in MONEY)
    return Table(currency, list(rows), Row("", "", "", orders, sum(row.units for row in rows), *sums))


MONEY = ("sales", "refunded", "cost", "fees")
