"""Reading the books: the trial balance of a period, and the statement of one account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import asyncpg
from babel import dates

from core import clock, db
from core.ledger import chart
from core.ledger.chart import Heading, Nature
from core.money import Money


@dataclass(frozen=True, slots=True)
class Period:
    """Days of the shop's own time zone, both included; ``start`` and ``end`` are their first moment and the first
    moment after them."""

    first: date
    last: date
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Line:
    """An account in a period. Amounts are debits less credits; ``debit`` and ``credit`` are the period's own."""

    code: str
    heading: Heading
    opening: Money
    debit: Money
    credit: Money

    @property
    def closing(self) -> Money:
        return self.opening + self.debit - self.credit


@dataclass(frozen=True, slots=True)
class TrialBalance:
    """``debits`` and ``credits`` sum the closing balances of each side; they are equal in sound books."""

    lines: list[Line]
    debit: Money
    credit: Money
    debits: Money
    credits: Money

    @property
    def sound(self) -> bool:
        return self.debits == self.credits and self.debit == self.credit

    @property
    def profit(self) -> Money:
        """Income less expenses of the period."""
        total = Money(0, self.debit.currency)
        for line in self.lines:
            if line.heading.nature in (Nature.INCOME, Nature.EXPENSE):
                total = total + line.credit - line.debit
        return total


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a statement. ``debit`` or ``credit`` is the amount, the other one nothing."""

    id: int
    at: datetime
    kind: str
    source: str
    order_ref: str | None
    other: str
    debit: Money | None
    credit: Money | None
    balance: Money


EARLIEST, LATEST = date(1970, 1, 1), date(2999, 12, 31)


def period(first: date | None, last: date | None, zone_name: str) -> Period:
    """The period of these days; the current month up to today where they are not given."""
    zone = dates.get_timezone(zone_name)
    today = clock.now().astimezone(zone).date()
    last = min(last or today, LATEST)
    first = max(min(first or last.replace(day=1), last), EARLIEST)
    start, end = (datetime.combine(day, time(), zone) for day in (first, last + timedelta(days=1)))
    return Period(first, last, start, end)


def local(at: datetime, zone_name: str) -> str:
    """A time for a spreadsheet, in the shop's own zone."""
    return f"{at.astimezone(dates.get_timezone(zone_name)):%Y-%m-%d %H:%M:%S}"


async def currencies(shop_id: int) -> list[str]:
    rows = await db.fetch("SELECT DISTINCT currency FROM ledger_account WHERE shop_id = $1 ORDER BY 1", shop_id)
    return [row["currency"] for row in rows]


# Summed up by pairs of accounts first: one walk over the entries, of which there are many, and few pairs.
# Balances of buyers are one line together: each has an account of its own.
TRIAL = """
WITH pair AS (
    SELECT debit_id, credit_id, coalesce(sum(amount) FILTER (WHERE at < $3), 0) AS before,
           coalesce(sum(amount) FILTER (WHERE at >= $3), 0) AS within
    FROM ledger_entry WHERE currency = $2 AND at < $4 GROUP BY debit_id, credit_id
), side AS (
    SELECT debit_id AS account_id, before AS opening, within AS debit, 0 AS credit FROM pair
    UNION ALL SELECT credit_id, -before, 0, within FROM pair
)
SELECT CASE WHEN starts_with(account.code, 'customer:') THEN 'customer' ELSE account.code END AS code,
       sum(side.opening)::bigint AS opening, sum(side.debit)::bigint AS debit, sum(side.credit)::bigint AS credit
FROM side JOIN ledger_account account ON account.id = side.account_id WHERE account.shop_id = $1 GROUP BY 1
"""


async def trial_balance(shop_id: int, currency: str, span: Period) -> TrialBalance:
    rows = await db.fetch(TRIAL, shop_id, currency, span.start, span.end)
    lines = [
        Line(
            row["code"],
            chart.heading(row["code"]),
            *(Money(row[name], currency) for name in ("opening", "debit", "credit")),
        )
        for row in rows
    ]
    order = list(chart.CHART)
    lines.sort(key=lambda line: (order.index(line.heading.key), line.code))
    closing = [line.closing.amount for line in lines]
    return TrialBalance(
        lines,
        debit=Money(sum(line.debit.amount for line in lines), currency),
        credit=Money(sum(line.credit.amount for line in lines), currency),
        debits=Money(sum(amount for amount in closing if amount > 0), currency),
        credits=Money(-sum(amount for amount in closing if amount < 0), currency),
    )


OF_CODE = """
SELECT id FROM ledger_account
WHERE shop_id = $1 AND currency = $3 AND (code = $2 OR $2 = 'customer' AND starts_with(code, 'customer:'))
"""

OPENING = """
SELECT coalesce(sum(amount), 0)::bigint FROM ledger_posting WHERE account_id = ANY($1) AND at < $2
"""

# Transfers from one balance to another do not exist, so an entry stands once in the statement of all of them.
STATEMENT = """
WITH shown AS (
    SELECT entry.*, entry.debit_id = ANY($1) AS is_debit FROM ledger_entry entry
    WHERE (entry.debit_id = ANY($1) OR entry.credit_id = ANY($1)) AND entry.at >= $2 AND entry.at < $3
)
SELECT shown.id, shown.at, shown.kind, shown.source, shown.amount, shown.is_debit, o.ref AS order_ref,
       other.code AS other,
       (sum(CASE WHEN is_debit THEN shown.amount ELSE -shown.amount END) OVER (ORDER BY shown.at, shown.id))::bigint
           AS moved
FROM shown LEFT JOIN orders_order o ON o.id = shown.order_id
JOIN ledger_account other ON other.id = CASE WHEN is_debit THEN shown.credit_id ELSE shown.debit_id END
ORDER BY shown.at, shown.id LIMIT $4 OFFSET $5
"""


async def opening(shop_id: int, code: str, currency: str, span: Period) -> Money:
    return Money(await db.fetchval(OPENING, await _accounts(shop_id, code, currency), span.start), currency)


async def statement(
    shop_id: int, code: str, currency: str, span: Period, limit: int | None = None, offset: int = 0
) -> list[Entry]:
    """The entries of an account in a period, the oldest first, with the balance after each."""
    accounts = await _accounts(shop_id, code, currency)
    before = await db.fetchval(OPENING, accounts, span.start)
    rows = await db.fetch(STATEMENT, accounts, span.start, span.end, limit, offset)
    return [_entry(row, currency, before) for row in rows]


async def _accounts(shop_id: int, code: str, currency: str) -> list[int]:
    return [row["id"] for row in await db.fetch(OF_CODE, shop_id, code, currency)]


def _entry(row: asyncpg.Record, currency: str, before: int) -> Entry:
    money = Money(row["amount"], currency)
    return Entry(
        id=row["id"],
        at=row["at"],
        kind=row["kind"],
        source=row["source"],
        order_ref=row["order_ref"],
        other=row["other"],
        debit=money if row["is_debit"] else None,
        credit=None if row["is_debit"] else money,
        balance=Money(before + row["moved"], currency),
    )
