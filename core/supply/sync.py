"""Suppliers are looked at: catalogue, prices, stock, balance. The network first, then short transactions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from core import clock, db
from core.audit import service as audit
from core.catalog import service
from core.db import Tx
from core.hooks import runtime
from core.hooks.http import HttpError
from core.jobs import enqueue
from core.money import Money
from core.supply import offers, skus
from core.supply.supplier import Supplier, SupplierRefused, SupplierUnavailable
from core.tasks import strangers_code
from core.web.i18n import _, source

log = logging.getLogger("vouchsafe.supply")

SYNC = "supply.sync"
AT_ONCE = 50
MOST_PAGES = 2_000
PAGE_SECONDS = 30
BALANCE_SECONDS = 15
WHOLE_EVERY = timedelta(hours=1)
SOONEST = 30

KNOWN = """
INSERT INTO supply_supplier (key, title) VALUES ($1, $2)
ON CONFLICT (key) DO UPDATE SET title = excluded.title WHERE supply_supplier.title <> excluded.title
"""
DUE = """
UPDATE supply_supplier SET next_sync_at = $2::timestamptz + make_interval(secs => $3)
WHERE key = $1 AND (next_sync_at IS NULL OR next_sync_at <= $2)
  -- a supplier that takes longer than its turn is not looked at twice at once
  AND NOT EXISTS (SELECT 1 FROM jobs_job WHERE name = $4 AND state IN ('queued', 'running')
                  AND args ->> 'supplier' = $1 AND args -> 'items' = '[]')
RETURNING key
"""
ENDED = """
UPDATE supply_supplier SET synced_at = $2, catalogue_at = CASE WHEN $3 THEN $2 ELSE catalogue_at END,
                           sync_error = $4, failures = 0 WHERE key = $1
"""


def supplier(key: str) -> Supplier | None:
    """The supplier, while its plugin works."""
    found = runtime.current().suppliers.get(key)
    return found if isinstance(found, Supplier) else None


async def begin_due() -> list[int]:
    """Set going what is due; gives the jobs to ring for."""
    jobs = []
    for key, one in sorted(runtime.current().suppliers.items()):
        await db.execute(KNOWN, key, dict(one.title))
        job = await db.transaction(_begin_if_due, key, max(SOONEST, one.sync_seconds))
        jobs += [job] if job is not None else []
    return jobs


async def _begin_if_due(tx: Tx, key: str, seconds: int) -> int | None:
    if await tx.fetchval(DUE, key, clock.now(), seconds, SYNC) is None:
        return None
    return await begin(tx, key)


async def begin(tx: Tx, key: str, items: Sequence[str] = (), *, whole: bool = False) -> int:
    """Look at a supplier soon: at ``items``, at all that is linked, or at its whole catalogue."""
    return await enqueue(tx, SYNC, {"supplier": key, "items": list(items)[:1000], "whole": whole})


# -- one look ---------------------------------------------------------------------------


async def look(key: str, items: Sequence[str], *, whole: bool) -> None:
    """:raises SupplierUnavailable: it could not be looked at; what was known stays, and the failure is written down."""
    one = supplier(key)
    if one is None:
        return
    try:
        await _look(one, list(items), whole)
    except Exception as error:
        await db.execute(
            "UPDATE supply_supplier SET sync_error = $2, failures = failures + 1 WHERE key = $1", key, _why(error)[:500]
        )
        raise


def _why(error: Exception) -> str:
    if isinstance(error, SupplierUnavailable | SupplierRefused | HttpError):
        return str(error) or type(error).__name__
    return source(_("it did not answer in time")) if isinstance(error, TimeoutError) else type(error).__name__


async def _look(one: Supplier, items: list[str], whole: bool) -> None:
    now = clock.now()
    if items:
        await _look_at(one, items, now)
        return
    last = await db.fetchval("SELECT catalogue_at FROM supply_supplier WHERE key = $1", one.key)
    if whole or last is None or last + WHOLE_EVERY < now:
        whole = True
        wrong = await _whole_catalogue(one, now)
    else:
        wrong = await _look_at(one, await _linked_items(one.key), now)
    await db.execute(ENDED, one.key, now, whole, "; ".join(wrong)[:500])
    await _balance(one)


async def _linked_items(key: str) -> list[str]:
    rows = await db.fetch(
        "SELECT item FROM supply_offer WHERE supplier = $1 AND id IN (SELECT offer_id FROM supply_link) ORDER BY item",
        key,
    )
    return [row["item"] for row in rows]


async def _whole_catalogue(one: Supplier, now: datetime) -> list[str]:
    """What was wrong with offers that were left out."""
    start: str | None = None
    left_out = []
    for _number in range(MOST_PAGES):
        async with strangers_code(PAGE_SECONDS):
            part = await one.catalogue(start)
        rows, wrong = offers.rows_of(part.offers)
        left_out += wrong
        await _write(_take, one.key, rows, now)
        start = part.next
        if start is None:
            await _write(_let_go, one.key, now)
            return left_out
    raise SupplierUnavailable(source(_("its catalogue has no end")))


async def _look_at(one: Supplier, items: list[str], now: datetime) -> list[str]:
    left_out = []
    for first in range(0, len(items), AT_ONCE):
        some = tuple(items[first : first + AT_ONCE])
        async with strangers_code(PAGE_SECONDS):
            found = await one.offers(some)
        rows, wrong = offers.rows_of(offer for item in some if (offer := found.get(item)) is not None)
        left_out += wrong
        await _write(_take, one.key, rows, now)
        gone = [item for item in some if item in found and item not in rows]
        await _write(_let_go, one.key, now, gone)
    return left_out


async def _take(tx: Tx, key: str, rows: dict[str, dict[str, Any]], now: datetime) -> bool:
    return await skus.follow(tx, await offers.seen(tx, key, list(rows.values()), now))


async def _let_go(tx: Tx, key: str, now: datetime, items: list[str] | None = None) -> bool:
    return await skus.follow(tx, await offers.not_seen(tx, key, now, items))


async def _write(work: Any, *args: Any) -> None:
    """Pages in the shop window are drawn anew when something behind them changed."""
    if await db.transaction(work, *args):
        await service.changed()


# -- the balance ------------------------------------------------------------------------


async def _balance(one: Supplier) -> None:
    async with strangers_code(BALANCE_SECONDS):
        balance = await one.balance()
    await db.transaction(_take_balance, one.key, balance)


async def _take_balance(tx: Tx, key: str, balance: Money | None) -> None:
    row: Any = await tx.fetchrow(
        "UPDATE supply_supplier SET balance = $2, currency = $3, balance_at = $4 WHERE key = $1 RETURNING *",
        key,
        balance.amount if balance else None,
        balance.currency if balance else None,
        clock.now(),
    )
    if row is None:
        return
    low = balance is not None and row["low_balance"] is not None and balance.amount < row["low_balance"]
    if low and not row["low_told"]:
        await audit.alarm(
            tx,
            "supply.low_balance",
            f"supplier:{key}",
            _("little money is left at the supplier"),
            {"balance": row["balance"], "currency": row["currency"], "floor": row["low_balance"]},
        )
    await tx.execute("UPDATE supply_supplier SET low_told = $2 WHERE key = $1", key, low)
