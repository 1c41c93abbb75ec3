"""Reconciliation: the lines of gateways' statements against our payments and refunds.

A line is *matched*, its amount *differs*, or only *theirs*; a payment or refund of ours without a line is only *ours*.
A day with anything but matches is one question to staff of each shop that it concerns.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from core import db
from core.audit import service as audit
from core.db import Tx
from core.ledger import chart
from core.ledger import service as ledger
from core.money import Money
from core.refused import Refused
from core.review import service as review
from core.web.i18n import _

KIND = "statement"
"""The kind of the question to staff."""

FEES_AT_ONCE = 200
DAYS_SHOWN = 60
SHOWN = 500

MATCH_PAYMENTS = """
WITH fits AS (
    SELECT DISTINCT ON (line.id) line.id AS line_id, event.id AS payment_id, event.order_id,
           event.amount = line.amount AND event.currency = line.currency AS same
    FROM payments_statement_line line
    JOIN payments_attempt attempt ON attempt.ref = line.our_ref AND attempt.method = line.method
    JOIN payments_event event ON event.order_id = attempt.order_id AND event.attempt_id = attempt.id
        AND event.state = CASE line.kind WHEN 'payment' THEN 'paid' ELSE 'charged_back' END
        AND event.outcome <> 'same_money'
    WHERE line.method = $1 AND line.result = 'theirs' AND line.kind IN ('payment', 'chargeback') AND line.amount > 0
      AND NOT EXISTS (SELECT 1 FROM payments_statement_line other WHERE other.payment_id = event.id)
    ORDER BY line.id, same DESC, event.id
), one_line_each AS (SELECT DISTINCT ON (payment_id) * FROM fits ORDER BY payment_id, same DESC, line_id)
UPDATE payments_statement_line line SET payment_id = found.payment_id, order_id = found.order_id,
       result = CASE WHEN found.same THEN 'matched' ELSE 'differs' END
FROM one_line_each found WHERE line.id = found.line_id
"""

MATCH_REFUNDS = """
WITH fits AS (
    SELECT DISTINCT ON (refund.id) line.id AS line_id, refund.id AS refund_id, refund.order_id,
           refund.amount = line.amount AND refund.currency = line.currency AS same
    FROM payments_statement_line line
    JOIN payments_refund refund ON refund.ref = line.our_ref AND refund.way = 'source'
        AND refund.state IN ('sent', 'unknown', 'done')
    JOIN payments_event event ON event.id = refund.payment_id AND event.method = line.method
    WHERE line.method = $1 AND line.result = 'theirs' AND line.kind = 'refund' AND line.amount > 0
      AND NOT EXISTS (SELECT 1 FROM payments_statement_line other WHERE other.refund_id = refund.id)
    ORDER BY refund.id, same DESC, line.id
)
UPDATE payments_statement_line line SET refund_id = found.refund_id, order_id = found.order_id,
       result = CASE WHEN found.same THEN 'matched' ELSE 'differs' END
FROM fits found WHERE line.id = found.line_id
"""

NOW_SURE = """
SELECT line.refund_id FROM payments_refund refund
JOIN payments_statement_line line ON line.refund_id = refund.id AND line.method = $1 AND line.result = 'matched'
WHERE refund.ended_at IS NULL
"""

# The gateway was paid for an attempt and we never heard of it: the timer asks now, and the payment takes its way.
ASK_ABOUT_UNHEARD = """
UPDATE payments_attempt attempt SET next_query_at = now() FROM payments_statement_line line
WHERE line.method = $1 AND line.result = 'theirs' AND line.kind = 'payment' AND attempt.ref = line.our_ref
  AND attempt.method = line.method AND attempt.state <> 'paid' AND line.at > now() - interval '7 days'
"""

# What a rate has booked of the same fee is not booked again, see core.ledger.fees.
FEES = """
SELECT line.id, line.shop_id, line.method, line.key, line.kind, line.fee, line.fee_currency, line.order_id,
       coalesce(o.test, false) AS test, coalesce(booked.amount, 0) AS booked, booked.currency AS booked_currency
FROM payments_statement_line line LEFT JOIN payments_event event ON event.id = line.payment_id
LEFT JOIN orders_order o ON o.id = line.order_id
LEFT JOIN ledger_entry booked ON line.kind = 'payment'
    AND booked.source = 'fee:payment:' || event.method || ':' || event.event_key
WHERE line.method = $1 AND line.fee <> 0 AND NOT line.fee_booked AND line.result <> 'theirs'
ORDER BY line.id LIMIT $2 FOR UPDATE OF line
"""

# What we have of a day and no line tells of. The next day must be there too: midnight is not the same for everybody.
OURS = """
SELECT o.shop_id, o.ref AS order_ref, ours.* FROM payments_statement statement, LATERAL (
    SELECT event.order_id, event.state AS kind, attempt.ref, event.amount, event.currency, event.received_at AS at
    FROM payments_event event JOIN payments_attempt attempt ON attempt.id = event.attempt_id
    WHERE event.method = statement.method AND event.state IN ('paid', 'charged_back') AND event.outcome <> 'same_money'
      AND event.received_at >= statement.begins_at AND event.received_at < statement.ends_at
      AND NOT EXISTS (SELECT 1 FROM payments_statement_line line WHERE line.payment_id = event.id)
    UNION ALL
    SELECT refund.order_id, 'refund', refund.ref, refund.amount, refund.currency, refund.ended_at
    FROM payments_refund refund JOIN payments_event event ON event.id = refund.payment_id
    WHERE event.method = statement.method AND refund.way = 'source' AND refund.state = 'done'
      AND refund.ended_at >= statement.begins_at AND refund.ended_at < statement.ends_at
      AND NOT EXISTS (SELECT 1 FROM payments_statement_line line WHERE line.refund_id = refund.id)
) AS ours JOIN orders_order o ON o.id = ours.order_id
WHERE statement.method = $1 AND statement.day = $2 AND NOT o.test AND statement.fetched_at IS NOT NULL
  AND EXISTS (SELECT 1 FROM payments_statement next WHERE next.method = $1 AND next.day = $2 + 1
              AND next.fetched_at IS NOT NULL)
"""

COUNTS = f"""
SELECT found.shop_id, found.result, count(*)::int AS number FROM (
    SELECT line.shop_id, line.result FROM payments_statement_line line
    JOIN payments_statement statement ON statement.id = line.statement_id
    WHERE statement.method = $1 AND statement.day = $2 AND statement.fetched_at IS NOT NULL AND line.result <> 'matched'
    UNION ALL SELECT shop_id, 'ours' FROM ({OURS}) AS only_ours
) AS found GROUP BY 1, 2 ORDER BY 1, 2
"""  # noqa: S608  of our own words alone

ASK_AGAIN = """
UPDATE review_item SET state = 'open', data = $2, resolution = '', resolved_by = NULL, resolved_at = NULL
WHERE key = $1 AND data <> $2
"""

OPEN_DAYS = """
SELECT DISTINCT (data ->> 'day')::date AS day FROM review_item
WHERE kind = $1 AND state = 'open' AND data ->> 'method' = $2
"""

CLOSE = """
UPDATE review_item SET state = 'done', resolution = 'matched', resolved_at = now()
WHERE kind = $1 AND key LIKE $2 AND state = 'open' AND shop_id <> ALL($3)
"""


# -- after a statement came -------------------------------------------------------------


async def match(tx: Tx, method: str) -> None:
    """Find what of ours each open line stands for."""
    for statement in (MATCH_PAYMENTS, MATCH_REFUNDS, ASK_ABOUT_UNHEARD):
        await tx.execute(statement, method)


async def refunds_found(method: str) -> list[int]:
    """Refunds that nobody was sure of and that the gateway's statement has."""
    return [row["refund_id"] for row in await db.fetch(NOW_SURE, method)]


async def book_fees(tx: Tx, method: str) -> int:
    """Book the next fees of lines that are ours, each once; gives how many there were."""
    rows = await tx.fetch(FEES, method, FEES_AT_ONCE)
    for row in rows:
        if not row["test"]:
            await _book_fee(tx, row)
    await tx.execute(
        "UPDATE payments_statement_line SET fee_booked = true WHERE id = ANY($1)", [row["id"] for row in rows]
    )
    return len(rows)


async def _book_fee(tx: Tx, row: Any) -> None:
    """The difference to what a rate has booked; of one in another currency, all of both."""
    source = f"statement:{row['method']}:{row['key']}"
    if row["booked"] and row["booked_currency"] != row["fee_currency"]:
        await _move_fee(tx, row, f"{source}:rate", Money(-row["booked"], row["booked_currency"]))
        await _move_fee(tx, row, source, Money(row["fee"], row["fee_currency"]))
    else:
        await _move_fee(tx, row, source, Money(row["fee"] - row["booked"], row["fee_currency"]))


async def _move_fee(tx: Tx, row: Any, source: str, more: Money) -> None:
    gateway = ledger.GATEWAY.format(row["method"])
    debit, credit = (chart.FEES, gateway) if more.amount > 0 else (gateway, chart.FEES)
    money = Money(abs(more.amount), more.currency)
    await ledger.move(tx, row["shop_id"], "fee", source, money, debit, credit, order_id=row["order_id"])


async def open_days(method: str) -> set[date]:
    """The days that staff is asked about now."""
    return {row["day"] for row in await db.fetch(OPEN_DAYS, KIND, method)}


async def ask(tx: Tx, method: str, day: date) -> None:
    """One question for each shop about what does not match on that day; none any more when all does."""
    differences: dict[int, dict[str, int]] = {}
    for row in await tx.fetch(COUNTS, method, day):
        differences.setdefault(row["shop_id"], {})[row["result"]] = row["number"]
    key = f"{KIND}:{method}:{day}"
    for shop_id, numbers in differences.items():
        address = f"/admin/statements?method={method}&day={day}#day"
        data = {"method": method, "day": day.isoformat(), "href": address, **numbers}
        reason = _("the gateway's statement and our books differ")
        await review.open_item(tx, shop_id, KIND, f"{key}:{shop_id}", reason, data=data)
        await tx.execute(ASK_AGAIN, f"{key}:{shop_id}", data)
    await tx.execute(CLOSE, KIND, f"{key}:%", list(differences))


# -- what staff sees --------------------------------------------------------------------

DAYS = """
SELECT statement.*, item.id AS item_id, item.data,
       count(line.id) FILTER (WHERE line.result = 'matched' AND line.kind <> 'fee') AS matched
FROM payments_statement statement
LEFT JOIN payments_statement_line line ON line.statement_id = statement.id AND line.shop_id = $1
LEFT JOIN review_item item ON item.key = 'statement:' || statement.method || ':' || statement.day || ':' || $1::bigint
    AND item.state = 'open'
WHERE statement.day > current_date - $2::int
GROUP BY statement.id, item.id ORDER BY statement.day DESC, statement.method
"""

LINES = """
SELECT line.*, o.ref AS order_ref, coalesce(event.amount, refund.amount) AS our_amount,
       coalesce(event.currency, refund.currency) AS our_currency
FROM payments_statement_line line JOIN payments_statement statement ON statement.id = line.statement_id
LEFT JOIN orders_order o ON o.id = line.order_id LEFT JOIN payments_event event ON event.id = line.payment_id
LEFT JOIN payments_refund refund ON refund.id = line.refund_id
WHERE line.shop_id = $1 AND statement.method = $2 AND statement.day = $3
ORDER BY line.result = 'matched', line.at LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class Day:
    """One statement as staff of one shop sees it. ``item_id`` is the open question, if there is one."""

    method: str
    day: date
    fetched_at: datetime | None
    next_at: datetime
    error: str
    matched: int
    theirs: int
    differs: int
    ours: int
    item_id: int | None


async def days(shop_id: int) -> list[Day]:
    """The latest statements, the newest first."""
    return [_day(row) for row in await db.fetch(DAYS, shop_id, DAYS_SHOWN)]


def _day(row: Any) -> Day:
    numbers = row["data"] or {}
    return Day(
        method=row["method"],
        day=row["day"],
        fetched_at=row["fetched_at"],
        next_at=row["next_at"],
        error=row["error"],
        matched=row["matched"],
        theirs=numbers.get("theirs", 0),
        differs=numbers.get("differs", 0),
        ours=numbers.get("ours", 0),
        item_id=row["item_id"],
    )


async def lines(shop_id: int, method: str, day: date) -> list[dict[str, Any]]:
    """The lines of one day, those that do not match first."""
    rows = await db.fetch(LINES, shop_id, method, day, SHOWN)
    return [
        {
            **row,
            "money": Money(row["amount"], row["currency"]),
            "kept": Money(row["fee"], row["fee_currency"]),
            "our_money": Money(row["our_amount"], row["our_currency"]) if row["our_amount"] is not None else None,
        }
        for row in rows
    ]


async def only_ours(shop_id: int, method: str, day: date) -> list[dict[str, Any]]:
    """Payments and refunds of that day that no line tells of."""
    rows = await db.fetch(f"SELECT * FROM ({OURS}) AS only_ours WHERE shop_id = $3 ORDER BY at", method, day, shop_id)  # noqa: S608
    return [{**row, "money": Money(row["amount"], row["currency"])} for row in rows]


async def settled(tx: Tx, shop_id: int, item_id: int, staff_id: int, note: str, ip: str | None) -> None:
    """A person has looked into the differences of a day and dealt with them.

    :raises Refused: it was decided already, or there is no such question.
    """
    item = await tx.fetchrow(
        "SELECT key FROM review_item WHERE id = $1 AND shop_id = $2 AND kind = $3", item_id, shop_id, KIND
    )
    if item is None or not await review.resolve(tx, item_id, staff_id, "seen"):
        raise Refused(_("This was decided already."))
    detail = {"note": note.strip()[:300]}
    await audit.record(tx, f"staff:{staff_id}", "statement.settled", item["key"], detail, shop_id=shop_id, ip=ip)
