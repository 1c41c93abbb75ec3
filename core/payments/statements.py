"""The gateways' own books, one day after the other: asked for when a day is over, kept, and held against ours."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from core import clock, db
from core.db import Tx
from core.hooks import runtime
from core.hooks.http import HttpError
from core.jobs import ring
from core.payments import reconciliation, refunds
from core.payments.method import GatewayRefused, GatewayUnavailable, LineKind, PaymentMethod, StatementLine
from core.tasks import strangers_code

log = logging.getLogger("vouchsafe.payments")

ASK_SECONDS = 120
PAUSE = timedelta(minutes=10)
LONGEST_PAUSE = timedelta(hours=6)
MOST_DAYS_BACK = 30
LINES_AT_ONCE = 500

LAST_DAY = "SELECT max(day) FROM payments_statement WHERE method = $1"

PLAN = """
INSERT INTO payments_statement (method, day, begins_at, ends_at, next_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (method, day) DO NOTHING
"""

DUE = """
SELECT * FROM payments_statement WHERE fetched_at IS NULL AND next_at <= $1 AND method = ANY($2) ORDER BY day LIMIT 50
"""

# A line of ours belongs to the shop of its order, any other to the main shop.
KEEP = """
INSERT INTO payments_statement_line (statement_id, shop_id, method, key, kind, gateway_ref, our_ref, amount, currency,
                                     fee, fee_currency, at, result)
SELECT $1, coalesce(
           (SELECT o.shop_id FROM payments_attempt attempt JOIN orders_order o ON o.id = attempt.order_id
            WHERE attempt.ref = line.our_ref),
           (SELECT shop_id FROM payments_refund WHERE ref = line.our_ref), (SELECT min(id) FROM shops_shop)),
       $2, line.key, line.kind, line.gateway_ref, line.our_ref, line.amount, line.currency, line.fee,
       line.fee_currency, line.at, CASE line.kind WHEN 'fee' THEN 'matched' ELSE 'theirs' END
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::bigint[], $10::text[],
            $11::timestamptz[]) AS line (key, kind, gateway_ref, our_ref, amount, currency, fee, fee_currency, at)
ON CONFLICT (method, key) DO NOTHING
"""


async def fetch_due() -> None:
    """Get what the gateways have ready, and hold it against our books."""
    offered = with_statements()
    for method in offered.values():
        await plan(method)
    for row in await db.fetch(DUE, clock.now(), list(offered)):
        await fetch(offered[row["method"]], row)


def with_statements() -> dict[str, PaymentMethod]:
    methods = runtime.current().payment_methods
    return {key: method for key, method in methods.items() if method.statements and not method.test_only}


async def plan(method: PaymentMethod) -> None:
    """A row for each day that is over: those since the last one, or only yesterday when it is the first."""
    zone = ZoneInfo(method.statement_zone)
    yesterday = clock.now().astimezone(zone).date() - timedelta(days=1)
    last = await db.fetchval(LAST_DAY, method.key) or yesterday - timedelta(days=1)
    day = max(last + timedelta(days=1), yesterday - timedelta(days=MOST_DAYS_BACK))
    while day <= yesterday:
        begins_at, ends_at = _midnight(day, zone), _midnight(day + timedelta(days=1), zone)
        ready = ends_at + timedelta(seconds=method.statement_after)
        await db.execute(PLAN, method.key, day, begins_at, ends_at, ready)
        day += timedelta(days=1)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone)


async def fetch(method: PaymentMethod, row: Any) -> None:
    """Ask for one day and take what comes; what does not come is asked for again, less and less often."""
    try:
        async with strangers_code(ASK_SECONDS):
            lines = await method.statement(row["day"])
        if lines is not None:
            await take(row, lines)
            return
        error = ""
    except (GatewayUnavailable, GatewayRefused, HttpError, TimeoutError) as away:
        error = str(away) or "the gateway did not answer in time"
    except Exception as broken:
        # One method's mistake must not keep the statements of all others.
        log.exception("the statement of method %s for %s cannot be taken", method.key, row["day"])
        error = type(broken).__name__
    await _later(row, error)


async def _later(row: Any, error: str) -> None:
    pause = min(PAUSE * 2 ** min(row["tries"], 10), LONGEST_PAUSE)
    await db.execute(
        "UPDATE payments_statement SET tries = tries + 1, error = $2, next_at = $3 WHERE id = $1",
        row["id"],
        error[:500],
        clock.now() + pause,
    )


async def take(row: Any, lines: Sequence[StatementLine]) -> None:
    """Keep the lines, hold them against ours, book their fees. The day counts as fetched when all that is done."""
    for start in range(0, len(lines), LINES_AT_ONCE):
        await db.transaction(_keep, row, lines[start : start + LINES_AT_ONCE])
    await db.transaction(reconciliation.match, row["method"])
    for refund_id in await reconciliation.refunds_found(row["method"]):
        await ring(*await db.transaction(refunds.done, refund_id, "", "it is on the gateway's statement"))
    while await db.transaction(reconciliation.book_fees, row["method"]):
        pass
    await db.execute(
        "UPDATE payments_statement SET fetched_at = $2, tries = tries + 1, error = '' WHERE id = $1",
        row["id"],
        clock.now(),
    )
    # The day before can be judged only now, and a question of any day may have found its answer.
    judged = {row["day"], row["day"] - timedelta(days=1)} | await reconciliation.open_days(row["method"])
    for day in sorted(judged):
        await db.transaction(reconciliation.ask, row["method"], day)


async def _keep(tx: Tx, row: Any, lines: Sequence[StatementLine]) -> None:
    fees = [line.amount if line.kind is LineKind.FEE else line.fee for line in lines]
    await tx.execute(
        KEEP,
        row["id"],
        row["method"],
        [line.key for line in lines],
        [line.kind.value for line in lines],
        [line.gateway_ref for line in lines],
        [line.our_ref for line in lines],
        [line.amount.amount for line in lines],
        [line.amount.currency for line in lines],
        [fee.amount if fee else 0 for fee in fees],
        [fee.currency if fee else line.amount.currency for fee, line in zip(fees, lines, strict=True)],
        [line.at for line in lines],
    )
