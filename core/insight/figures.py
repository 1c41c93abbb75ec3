"""The figures of a stretch of time beside those of the stretch before, each from one statement.

Test orders are in none of them. What was sold in another currency than the shop's stands apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from babel import dates

from core import db
from core.insight.span import Span
from core.ledger import chart
from core.ledger.chart import Nature
from core.money import Money
from core.payments.money import by_currency
from core.shops.service import Shop

SOLD = ("paid", "refunded", "charged_back")
"""States of an order whose price was paid; what went back afterwards is counted as given back."""
TOP = 5
A_DAY = timedelta(days=1)

EARNED = """CASE WHEN o.paid = o.total THEN o.total ELSE least(o.total, (
    SELECT coalesce(sum(event.amount), 0)::bigint FROM payments_event event
    WHERE event.order_id = o.id AND event.state = 'paid' AND event.currency = o.currency)) END"""
"""What an order sold for: its total; where less came and staff let it be, what came."""

SALES = f"""
SELECT currency, paid_at >= $2 AS now, count(*) AS orders, sum({EARNED})::bigint AS sales,
       count(delivered_at) AS delivered,
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM delivered_at - paid_at)) AS to_code
FROM orders_order o
WHERE shop_id = $1 AND NOT test AND payment_state = ANY($6)
  AND (paid_at >= $2 AND paid_at < $3 OR paid_at >= $4 AND paid_at < $5)
GROUP BY currency, now
"""  # noqa: S608  of our own words alone

# Whoever paid for the first time ever: of those who paid in one of the two stretches, those who never did before it.
CUSTOMERS = """
SELECT count(DISTINCT o.contact) FILTER (WHERE o.paid_at >= $2) AS now,
       count(DISTINCT o.contact) FILTER (WHERE o.paid_at < $5) AS before
FROM orders_order o
WHERE o.shop_id = $1 AND NOT o.test AND (o.paid_at >= $2 AND o.paid_at < $3 OR o.paid_at >= $4 AND o.paid_at < $5)
  AND NOT EXISTS (SELECT 1 FROM orders_order earlier WHERE earlier.shop_id = $1 AND earlier.contact = o.contact
                  AND NOT earlier.test AND earlier.paid_at < CASE WHEN o.paid_at >= $2 THEN $2 ELSE $4 END)
"""

# Summed up by pairs of accounts first, as the trial balance does.
BOOKS = """
WITH pair AS (
    SELECT debit_id, credit_id, coalesce(sum(amount) FILTER (WHERE at >= $2), 0) AS now,
           coalesce(sum(amount) FILTER (WHERE at < $5), 0) AS before
    FROM ledger_entry WHERE at >= $4 AND at < $3 GROUP BY debit_id, credit_id
), side AS (
    SELECT credit_id AS account_id, now, before FROM pair UNION ALL SELECT debit_id, -now, -before FROM pair
)
SELECT account.code, account.currency, sum(side.now)::bigint AS now, sum(side.before)::bigint AS before
FROM side JOIN ledger_account account ON account.id = side.account_id
WHERE account.shop_id = $1 AND account.code = ANY($6) GROUP BY 1, 2
"""

FUNNEL = """
SELECT count(*) AS placed, count(*) FILTER (WHERE begun) AS begun, count(*) FILTER (WHERE paid) AS paid,
       count(*) FILTER (WHERE delivered) AS delivered
FROM (SELECT o.payment_state = ANY($4) AS paid, o.delivered_at IS NOT NULL AS delivered,
             o.paid_at IS NOT NULL OR EXISTS (SELECT 1 FROM payments_attempt WHERE order_id = o.id
                                              AND (started IS NOT NULL OR state IN ('waiting', 'paid'))) AS begun
      FROM orders_order o WHERE o.shop_id = $1 AND NOT o.test AND o.created_at >= $2 AND o.created_at < $3) AS placed
"""

METHODS = """
SELECT attempt.method, attempt.created_at >= $2 AS now, count(*) AS tries,
       count(*) FILTER (WHERE attempt.state = 'paid') AS paid,
       coalesce(sum((
           SELECT sum(event.amount) FROM payments_event event WHERE event.order_id = attempt.order_id
             AND event.attempt_id = attempt.id AND event.state = 'paid' AND event.currency = $6)), 0)::bigint AS amount
FROM payments_attempt attempt JOIN orders_order o ON o.id = attempt.order_id
WHERE o.shop_id = $1 AND NOT o.test
  AND (attempt.created_at >= $2 AND attempt.created_at < $3 OR attempt.created_at >= $4 AND attempt.created_at < $5)
GROUP BY 1, 2 ORDER BY tries DESC, 1
"""

REFUNDS = """
SELECT refund.currency, refund.ended_at >= $2 AS now, sum(refund.amount)::bigint AS amount
FROM payments_refund refund JOIN orders_order o ON o.id = refund.order_id
WHERE refund.shop_id = $1 AND NOT o.test AND refund.state = 'done'
  AND (refund.ended_at >= $2 AND refund.ended_at < $3 OR refund.ended_at >= $4 AND refund.ended_at < $5)
GROUP BY 1, 2
"""

# Discounts of an order are divided by the prices of its lines.
PRODUCTS = f"""
WITH line AS (
    SELECT line.id, line.product_id, line.quantity, {EARNED} AS earned, line.total::float8 AS total,
           sum(line.total::float8) OVER (PARTITION BY o.id) AS listed
    FROM orders_order o JOIN orders_line line ON line.order_id = o.id
    WHERE o.shop_id = $1 AND NOT o.test AND o.payment_state = ANY($5) AND o.currency = $4
      AND o.paid_at >= $2 AND o.paid_at < $3
)
SELECT sold.product_id, newest.product_title AS title, sold.units, sold.amount
FROM (SELECT product_id, max(id) AS newest, sum(quantity) AS units,
             round(sum(coalesce(earned * total / nullif(listed, 0), 0)))::bigint AS amount
      FROM line GROUP BY 1 ORDER BY amount DESC, 1 LIMIT $6) AS sold JOIN orders_line newest ON newest.id = sold.newest
ORDER BY sold.amount DESC, sold.product_id
"""  # noqa: S608  of our own words alone

TREND = f"""
SELECT date_trunc($6, paid_at AT TIME ZONE $5) AS at, count(*) AS orders, sum({EARNED})::bigint AS sales
FROM orders_order o
WHERE shop_id = $1 AND NOT test AND payment_state = ANY($7) AND currency = $4 AND paid_at >= $2 AND paid_at < $3
GROUP BY 1
"""  # noqa: S608  of our own words alone


@dataclass(frozen=True, slots=True)
class Pair:
    """A figure and what it was before; an amount of money has a currency."""

    now: int | float | Money | None
    before: int | float | Money | None

    @property
    def change(self) -> float | None:
        """By which part it grew or fell; None when there is nothing to compare with."""
        now, before = _plain(self.now), _plain(self.before)
        return (now - before) / abs(before) if now is not None and before else None


def _plain(value: int | float | Money | None) -> int | float | None:
    return value.amount if isinstance(value, Money) else value


@dataclass(frozen=True, slots=True)
class Way:
    """A payment method: how many payments were begun, and how many of these were paid."""

    key: str
    title: str
    tries: int
    paid: int
    money: Money
    before: float | None

    @property
    def rate(self) -> float | None:
        return self.paid / self.tries if self.tries else None


@dataclass(frozen=True, slots=True)
class Profit:
    """What the books say: ``net`` is sales less discounts and refunds, ``gross`` is net less all that follows it."""

    sales: Pair
    discounts: Pair
    refunds: Pair
    cost: Pair
    fees: Pair
    chargebacks: Pair
    net: Pair
    gross: Pair
    margin: Pair
    beside: list[Money]
    """What goods cost and ways to pay kept in other currencies in these days: it is in none of the figures."""


@dataclass(frozen=True, slots=True)
class Funnel:
    placed: int
    begun: int
    paid: int
    delivered: int


@dataclass(frozen=True, slots=True)
class Product:
    id: int
    title: dict[str, str]
    units: int
    money: Money


@dataclass(frozen=True, slots=True)
class Point:
    """A day, or an hour of a single day: ``at`` is its beginning on the shop's own clock."""

    at: datetime
    orders: int
    money: Money


@dataclass(frozen=True, slots=True)
class Figures:
    sales: Pair
    orders: Pair
    average: Pair
    success: Pair
    refunds: Pair
    customers: Pair
    median: Pair
    p95: Pair
    profit: Profit
    funnel: Funnel
    methods: list[Way]
    products: list[Product]
    trend: list[Point]
    before_trend: list[Point]
    others: list[tuple[int, Money]] = field(default_factory=list)
    """Paid orders in other currencies, and what they sum to."""


async def of(shop: Shop, span: Span) -> Figures:
    times = (shop.id, span.start, span.end, span.before, span.before_end)
    # one after the other: buyers need the database's connections more than a page of figures does
    sales = await db.fetch(SALES, *times, list(SOLD))
    customers = await db.fetchrow(CUSTOMERS, *times)
    books = await db.fetch(BOOKS, *times, list(BOOKED))
    funnel = await db.fetchrow(FUNNEL, shop.id, span.start, span.end, list(SOLD))
    methods = await db.fetch(METHODS, *times, shop.currency)
    refunds = await db.fetch(REFUNDS, *times)
    products = await db.fetch(PRODUCTS, shop.id, span.start, span.end, shop.currency, list(SOLD), TOP)
    assert customers is not None and funnel is not None  # noqa: S101 - aggregates always give a row
    here = {row["now"]: row for row in sales if row["currency"] == shop.currency}
    return Figures(
        sales=_money_pair(here, "sales", shop.currency),
        orders=Pair(*(here[now]["orders"] if now in here else 0 for now in (True, False))),
        average=Pair(*(_average(here.get(now), shop.currency) for now in (True, False))),
        success=Pair(*(_success([row for row in methods if row["now"] is now]) for now in (True, False))),
        refunds=_money_pair(
            {row["now"]: row for row in refunds if row["currency"] == shop.currency}, "amount", shop.currency
        ),
        customers=Pair(customers["now"], customers["before"]),
        median=_seconds(here, 0),
        p95=_seconds(here, 1),
        profit=profit_of(books, shop.currency),
        funnel=Funnel(**funnel),
        methods=_ways(methods, shop.currency),
        products=[
            Product(row["product_id"], row["title"], row["units"], Money(row["amount"], shop.currency))
            for row in products
        ],
        trend=await trend(shop, span.start, span.end),
        before_trend=await trend(shop, span.before, span.before_end),
        others=_others(sales, shop.currency),
    )


def _money_pair(rows: dict[bool, Any], name: str, currency: str) -> Pair:
    return Pair(*(Money(rows[now][name] if now in rows else 0, currency) for now in (True, False)))


def _average(row: Any, currency: str) -> Money | None:
    return Money(round(row["sales"] / row["orders"]), currency) if row else None


def _others(sales: Sequence[Any], currency: str) -> list[tuple[int, Money]]:
    foreign = [row for row in sales if row["now"] and row["currency"] != currency]
    return [
        (row["orders"], Money(row["sales"], row["currency"]))
        for row in sorted(foreign, key=lambda one: one["currency"])
    ]


def _success(rows: Sequence[Any]) -> float | None:
    tries = sum(row["tries"] for row in rows)
    return sum(row["paid"] for row in rows) / tries if tries else None


def _seconds(rows: dict[bool, Any], place: int) -> Pair:
    found = (rows[now]["to_code"] if now in rows and rows[now]["delivered"] else None for now in (True, False))
    return Pair(*(float(one[place]) if one else None for one in found))


def _ways(rows: Sequence[Any], currency: str) -> list[Way]:
    before = {row["method"]: row["paid"] / row["tries"] for row in rows if not row["now"]}
    return [
        Way(
            row["method"],
            chart.method_title(row["method"]),
            row["tries"],
            row["paid"],
            Money(row["amount"], currency),
            before.get(row["method"]),
        )
        for row in rows
        if row["now"]
    ]


# -- profit -----------------------------------------------------------------------------

BOOKED = (chart.REVENUE, chart.DISCOUNTS, chart.REFUNDS, chart.COST, chart.FEES, chart.CHARGEBACKS)


def profit_of(rows: Sequence[Any], currency: str) -> Profit:
    """``rows`` are credits less debits of the accounts; what reduces profit is shown above zero."""
    found = {row["code"]: row for row in rows if row["currency"] == currency}

    def booked(code: str) -> Pair:
        sign = 1 if chart.heading(code).nature is Nature.INCOME and not chart.heading(code).grows_by_debit else -1
        amounts = ((found[code][when] if code in found else 0) for when in ("now", "before"))
        return Pair(*(Money(sign * amount, currency) for amount in amounts))

    sales, discounts, refunds, cost, fees, chargebacks = (booked(code) for code in BOOKED)
    net = _less(sales, discounts, refunds)
    gross = _less(net, cost, fees, chargebacks)
    shares = ((_plain(gross.now), _plain(net.now)), (_plain(gross.before), _plain(net.before)))
    margin = Pair(*(part / whole if part is not None and whole else None for part, whole in shares))
    kept = [row for row in rows if row["code"] in (chart.COST, chart.FEES) and row["currency"] != currency]
    beside = by_currency(Money(-row["now"], row["currency"]) for row in sorted(kept, key=lambda row: row["currency"]))
    beside = [money for money in beside if money.amount]
    return Profit(sales, discounts, refunds, cost, fees, chargebacks, net, gross, margin, beside)


def _less(whole: Pair, *parts: Pair) -> Pair:
    def of(when: str) -> Money:
        left: Money = getattr(whole, when)
        for part in parts:
            left = left - getattr(part, when)
        return left

    return Pair(of("now"), of("before"))


# -- the trend --------------------------------------------------------------------------


async def trend(shop: Shop, start: datetime, end: datetime) -> list[Point]:
    """Sales by day of the shop's zone, by hour when it is one day at most; days without sales are nothing."""
    unit = "hour" if end - start <= A_DAY else "day"
    rows = await db.fetch(TREND, shop.id, start, end, shop.currency, shop.timezone, unit, list(SOLD))
    found = {row["at"]: row for row in rows}
    return [
        Point(at, row["orders"] if row else 0, Money(row["sales"] if row else 0, shop.currency))
        for at in _steps(start, end, shop.timezone, unit)
        for row in (found.get(at),)
    ]


def _steps(start: datetime, end: datetime, zone_name: str, unit: str) -> list[datetime]:
    """The beginnings of all days or hours on the shop's own clock, without a zone as the database gives them."""
    zone = dates.get_timezone(zone_name)
    at, last = (moment.astimezone(zone).replace(tzinfo=None) for moment in (start, end - timedelta(microseconds=1)))
    step = timedelta(days=1) if unit == "day" else timedelta(hours=1)
    steps = []
    while at <= last:
        steps.append(at)
        at += step
    return steps
