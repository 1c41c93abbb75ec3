"""What was sold in a stretch of time, by day, week, month, product, SKU, category or payment method.

An order counts on the day it was paid, with what followed from it whenever that came: money given back, cost of goods,
fees. Of an order with several products these are divided by the prices of its lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core import db
from core.insight.figures import EARNED, SOLD
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

# The share of a line in its order is exactly 1 where there is one line. Sums of bigint would be numeric, which is slow;
# a float is exact far beyond what a shop sells.
SQL = """
WITH sold AS MATERIALIZED (
    SELECT id, paid_at AT TIME ZONE $4::text AS local, currency, earned.amount AS total,
           -- what came too much and went back took nothing from the sale
           least(back.amount, greatest(0, earned.amount - (paid - back.amount))) AS refunded
    FROM orders_order o CROSS JOIN LATERAL (SELECT {earned} AS amount) AS earned CROSS JOIN LATERAL (
        SELECT refunded + CASE WHEN payment_state = 'charged_back' THEN (
            SELECT sum(charged_back)::bigint FROM payments_event WHERE order_id = o.id AND state = 'paid')
            ELSE 0 END AS amount
    ) AS back
    WHERE shop_id = $1 AND NOT test AND payment_state = ANY($5) AND paid_at >= $2 AND paid_at < $3
), account AS (
    SELECT array_agg(id) FILTER (WHERE code = 'cost') AS cost, array_agg(id) FILTER (WHERE code = 'fees') AS fees,
           array_agg(id) FILTER (WHERE code = 'revenue') AS revenue,
           array_agg(id) FILTER (WHERE code IN ('cost', 'fees')) AS ids
    FROM ledger_account WHERE shop_id = $1 AND code IN ('cost', 'fees', 'revenue')
), booked AS (
    -- a value card costs what it puts into a balance: with that money other goods are bought
    SELECT entry.order_id, entry.currency,
           sum(CASE WHEN debit_id = ANY(cost || revenue) THEN amount
                    WHEN credit_id = ANY(cost) THEN -amount END::float8) AS cost,
           sum(CASE WHEN debit_id = ANY(fees) THEN amount WHEN credit_id = ANY(fees) THEN -amount END::float8) AS fees
    FROM ledger_entry entry, account
    WHERE entry.at >= $2 AND entry.order_id IS NOT NULL
      AND (debit_id = ANY(ids) OR credit_id = ANY(ids) OR debit_id = ANY(revenue) AND entry.kind = 'balance_card')
    GROUP BY 1, 2
), line AS (
    SELECT id, order_id, product_id, sku_code, quantity,
           coalesce(total / nullif(sum(total::float8) OVER of_order, 0), 1.0 / count(*) OVER of_order) AS share
    FROM orders_line WHERE order_id IN (SELECT id FROM sold) WINDOW of_order AS (PARTITION BY order_id)
), piece AS (
    SELECT sold.id, {key} AS key, sold.currency, sold.total, sold.refunded, max(line.id) AS newest,
           sum(line.quantity) AS units, sum(line.share)::float8 AS share
    FROM sold JOIN line ON line.order_id = sold.id {more}
    GROUP BY 1, 2, 3, 4, 5
), part AS (
    -- from where to where a piece goes in its order: rounded there, the pieces of an amount are that amount again
    SELECT *, low + share AS high FROM (SELECT *, {low} AS low FROM piece) AS piece
)
SELECT key, part.currency, max(newest) AS newest, count(*) AS orders, sum(units)::bigint AS units,
       sum(round(total * high) - round(total * low))::bigint AS sales,
       sum(round(refunded * high) - round(refunded * low))::bigint AS refunded,
       coalesce(sum(round(booked.cost * high) - round(booked.cost * low)), 0)::bigint AS cost,
       coalesce(sum(round(booked.fees * high) - round(booked.fees * low)), 0)::bigint AS fees
FROM part LEFT JOIN booked ON booked.order_id = part.id AND booked.currency = part.currency
GROUP BY 1, 2 ORDER BY {order} LIMIT $6
"""

WHOLE = "0::float8"
BEFORE_IT = """coalesce(sum(share) OVER (
    PARTITION BY id ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)"""

TITLES = "SELECT id, product_title, sku_title FROM orders_line WHERE id = ANY($1)"

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
        earned=EARNED,
        key=KEYS[by],
        low=BEFORE_IT if by in ("product", "sku", "category") else WHOLE,
        more=PAID_BY if by == "method" else "",
        order="key" if by in TIMES else "sales DESC, key",
    )
    found = await db.fetch(sql, shop.id, span.start, span.end, shop.timezone, list(SOLD), MOST)
    orders = await db.fetch(ORDERS, shop.id, span.start, span.end, list(SOLD))
    counted = {row["currency"]: row["orders"] for row in orders}
    titles = {row["id"]: row for row in await db.fetch(TITLES, [row["newest"] for row in found])}
    names = await _names(shop.id, by)
    currencies = sorted(counted, key=lambda one: (one != shop.currency, one))
    return [
        _table(
            currency,
            [_row(row, titles[row["newest"]], by, names) for row in found if row["currency"] == currency],
            counted[currency],
        )
        for currency in currencies
    ]


ORDERS = """
SELECT currency, count(*) AS orders FROM orders_order
WHERE shop_id = $1 AND NOT test AND payment_state = ANY($4) AND paid_at >= $2 AND paid_at < $3 GROUP BY 1
"""


def is_cut(tables: Sequence[Table]) -> bool:
    """Whether there may be more than the rows that are shown and summed up."""
    return sum(len(table.rows) for table in tables) >= MOST


COSTS_BESIDE = """
SELECT entry.currency,
       sum(CASE account.id WHEN entry.debit_id THEN entry.amount ELSE -entry.amount END)::bigint AS amount
FROM ledger_account account JOIN ledger_entry entry ON account.id IN (entry.debit_id, entry.credit_id)
JOIN orders_order o ON o.id = entry.order_id AND o.currency <> entry.currency
WHERE account.shop_id = $1 AND account.code IN ('cost', 'fees') AND entry.at >= $2
  AND NOT o.test AND o.payment_state = ANY($4) AND o.paid_at >= $2 AND o.paid_at < $3
GROUP BY 1 ORDER BY 1
"""

COST_CURRENCIES = "SELECT DISTINCT currency FROM ledger_account WHERE shop_id = $1 AND code IN ('cost', 'fees')"


async def costs_beside(shop: Shop, span: Span, tables: Sequence[Table]) -> list[Money]:
    """What these orders cost in goods and fees in other currencies than they were sold in: it is in no table."""
    sold_in = {table.currency for table in tables}
    if len(sold_in | {row["currency"] for row in await db.fetch(COST_CURRENCIES, shop.id)}) < 2:
        return []
    rows = await db.fetch(COSTS_BESIDE, shop.id, span.start, span.end, list(SOLD))
    return [Money(row["amount"], row["currency"]) for row in rows if row["amount"]]


async def _names(shop_id: int, by: str) -> dict[str, dict[str, str]]:
    if by != "category":
        return {}
    rows = await db.fetch("SELECT id::text AS id, title FROM catalog_category WHERE shop_id = $1", shop_id)
    return {row["id"]: row["title"] for row in rows}


def _row(row: Any, line: Any, by: str, names: dict[str, dict[str, str]]) -> Row:
    name: dict[str, str] | str = row["key"]
    note: dict[str, str] | str = ""
    if by == "product":
        name = line["product_title"]
    elif by == "sku":
        name, note = line["product_title"], line["sku_title"]
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
