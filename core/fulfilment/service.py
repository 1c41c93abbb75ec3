"""Turn a paid order into goods. It ends delivered, or in the review queue with a reason."""

from __future__ import annotations

from typing import Any

from core.crash_point import crash_point
from core.db import Tx
from core.ledger import service as ledger
from core.money import Money
from core.orders import timeline, uses
from core.review import service as review
from core.vault import stock
from core.web.i18n import Text, _

ENDED = ("expired", "cancelled")

# Codes, lines, order and timeline in one statement; nothing happens unless every code is there and none is suspect.
DELIVER = """
WITH wanted AS (
    SELECT sum(quantity) AS codes, array_agg(id) AS lines FROM orders_line WHERE order_id = $1
), held AS (
    SELECT count(*) AS codes FROM vault_code
    WHERE line_id = ANY((SELECT lines FROM wanted)::bigint[]) AND state = 'reserved' AND hold_id IS NULL
), complete AS (
    SELECT wanted.lines, wanted.codes FROM wanted, held WHERE wanted.codes = held.codes
), handed AS (
    UPDATE vault_code SET state = 'delivered', delivered_at = clock_timestamp(), reserved_until = NULL
    WHERE line_id = ANY((SELECT lines FROM complete)::bigint[]) AND state = 'reserved'
), line AS (
    UPDATE orders_line SET state = 'delivered' FROM complete WHERE order_id = $1
), placed AS (
    UPDATE orders_order SET fulfilment_state = 'delivered', delivered_at = clock_timestamp()
    FROM complete WHERE id = $1 AND payment_state = 'paid'
), event AS (
    INSERT INTO orders_event (order_id, kind, actor, data)
    SELECT $1, 'delivered', 'system', jsonb_build_object('codes', codes) FROM complete
)
SELECT codes FROM complete
"""


async def fulfil(tx: Tx, order: Any, reason_if_short: str) -> bool:
    """Deliver a paid, locked order; True when its goods are handed over. One that is held waits for a person.

    Codes that the order no longer holds are claimed again, and after its end the limited uses of its discounts too.
    If there are not enough, nothing is handed over and the order waits in the review queue under
    ``reason_if_short`` (``out_of_stock``, ``paid_late``). ``order`` is its row as it was before it was paid.
    """
    if order["held"]:
        await _wait_for_a_person(tx, order, "risk", _("paid, but risk rules ask for a person"))
        return False
    if order["payment_state"] in ENDED and not await uses.take_again(tx, order["id"]):
        await _wait_for_a_person(tx, order, reason_if_short, _("paid late, and its discount has gone to others"))
        return False
    if not await _deliver(tx, order):
        if not await _claim_again(tx, order["id"]) or not await _deliver(tx, order):
            await _wait_for_a_person(tx, order, reason_if_short, _("paid, but the codes are gone"))
            return False
    crash_point("fulfilment.delivered")
    return True


async def _deliver(tx: Tx, order: Any) -> bool:
    if await tx.fetchval(DELIVER, order["id"]) is None:
        return False
    if not order["test"]:
        await _book_sale(tx, order)
    return True


async def _book_sale(tx: Tx, order: Any) -> None:
    """What was paid becomes revenue. Goods that discounts made free are sold at their price, against the discount."""
    amount = order["total"]
    if not amount:
        amount = await tx.fetchval("SELECT sum(total)::bigint FROM orders_line WHERE order_id = $1", order["id"])
    await ledger.move(
        tx,
        order["shop_id"],
        "sale",
        f"sale:{order['ref']}",
        Money(amount, order["currency"]),
        debit=ledger.DEPOSITS if order["total"] else ledger.DISCOUNTS,
        credit=ledger.REVENUE,
        order_id=order["id"],
    )


async def _claim_again(tx: Tx, order_id: int) -> bool:
    """Claim what is missing of every line; all of it or nothing."""
    ids = await tx.fetch("SELECT id FROM orders_line WHERE order_id = $1", order_id)
    await stock.let_suspect_go(tx, [row["id"] for row in ids])
    lines = await tx.fetch(
        """
        SELECT line.id, line.sku_id, line.quantity - (
            SELECT count(*) FROM vault_code WHERE line_id = line.id AND state = 'reserved') AS missing
        FROM orders_line line WHERE line.order_id = $1 ORDER BY line.id
        """,
        order_id,
    )
    for line in lines:
        if (
            line["missing"]
            and await stock.reserve(tx, line["id"], line["sku_id"], line["missing"], None) < line["missing"]
        ):
            await stock.release(tx, [line["id"] for line in lines])
            return False
    return True


async def _wait_for_a_person(tx: Tx, order: Any, reason: str, words: Text) -> None:
    await tx.execute("UPDATE orders_order SET fulfilment_state = 'review' WHERE id = $1", order["id"])
    await tx.execute("UPDATE orders_line SET state = 'review' WHERE order_id = $1", order["id"])
    await timeline.add(tx, order["id"], "needs_review", "system", {"reason": reason})
    await review.open_item(
        tx,
        order["shop_id"],
        reason,
        f"{reason}:{order['ref']}",
        words,
        order_id=order["id"],
    )
