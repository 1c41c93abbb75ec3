"""Turn a paid order into goods: from the vault at once, from a supplier or by a person a little later.

It ends delivered, or in the review queue with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from core.crash_point import crash_point
from core.db import Tx
from core.jobs import enqueue
from core.ledger import service as ledger
from core.messages import service as messages
from core.money import Money
from core.orders import timeline, uses
from core.payments import money
from core.review import service as review
from core.supply import purchases
from core.vault import stock
from core.web.i18n import Text, _

MAY_HAVE_ENDED = ("expired", "cancelled", "mismatch")
"""What is paid too little after its end, and then in full, ended too."""
PURCHASE_FAILED = "purchase_failed"
PURCHASE_UNKNOWN = "purchase_unknown"
PURCHASE_ODD = "purchase_odd"
BY_HAND = "by_hand"
ABOUT_GOODS = (PURCHASE_UNKNOWN, BY_HAND)
"""Questions that are answered where the goods are brought in."""
STAYS_OPEN = ("paid_twice", "overpaid")
"""Questions that a delivery does not answer."""

BUY = "fulfilment.buy"
"""The job that buys what a purchase says, or asks what became of it."""

# Codes, lines, order and timeline in one statement; nothing happens unless every code is there and none is suspect.
# A line that is delivered already (a top-up that arrived, goods a person handed over) wants no codes any more.
DELIVER = """
WITH wanted AS (
    SELECT coalesce(sum(quantity) FILTER (WHERE state <> 'delivered'), 0) AS codes, array_agg(id) AS lines,
           array_agg(id) FILTER (WHERE state <> 'delivered') AS open FROM orders_line WHERE order_id = $1
), held AS (
    SELECT count(*) AS codes FROM vault_code
    WHERE line_id = ANY((SELECT open FROM wanted)::bigint[]) AND state = 'reserved' AND hold_id IS NULL
), complete AS (
    SELECT wanted.lines, wanted.codes FROM wanted, held
    WHERE wanted.codes = held.codes AND EXISTS (
        SELECT 1 FROM orders_order WHERE id = $1 AND fulfilment_state <> 'delivered')
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

OPEN_LINES = """
SELECT line.*, line.quantity - (
    SELECT count(*) FROM vault_code WHERE line_id = line.id AND state = 'reserved') AS missing,
    sku.source AS sku_source
FROM orders_line line JOIN catalog_sku sku ON sku.id = line.sku_id
WHERE line.order_id = $1 AND line.state <> 'delivered' ORDER BY line.id
"""


class Standing(StrEnum):
    DELIVERED = "delivered"
    PREPARING = "preparing"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Fulfilled:
    """How an order stands now, and the jobs to ring for after the commit."""

    standing: Standing
    jobs: list[int] = field(default_factory=list)

    @property
    def delivered(self) -> bool:
        return self.standing is Standing.DELIVERED


async def fulfil(tx: Tx, order: Any, reason_if_short: str) -> Fulfilled:
    """Deliver a paid, locked order, or set its delivery going. One that is held waits for a person.

    Codes that the order no longer holds are claimed again, and after its end the limited uses of its discounts too.
    If there are not enough, nothing is handed over and the order waits in the review queue under
    ``reason_if_short`` (``out_of_stock``, ``paid_late``). Lines that a supplier delivers become purchases, each with
    its job; those that a person makes become questions. The buyer is told how the order stands. ``order`` is its row
    as it was before it was paid.
    """
    has_its_discount = order["payment_state"] not in MAY_HAVE_ENDED or await uses.take_again(tx, order["id"])
    if order["held"]:
        return await _review(tx, order, "risk", _("paid, but risk rules ask for a person"))
    if not has_its_discount:
        return await without_its_discount(tx, order)
    if await _deliver(tx, order):
        return await _delivered(tx, order)
    lines = await _claim_again(tx, order["id"])
    if lines is None:
        return await _review(tx, order, reason_if_short, _("paid, but the codes are gone"))
    if not lines and await _deliver(tx, order):
        return await _delivered(tx, order)
    return await _prepare(tx, order, lines)


async def carry_on(tx: Tx, order: Any) -> Fulfilled | None:
    """Something of a locked order was brought in: deliver it when nothing is missing any more, else None."""
    if order["held"] or order["payment_state"] != "paid" or order["fulfilment_state"] not in ("preparing", "review"):
        return None
    lines = await tx.fetch("SELECT id FROM orders_line WHERE order_id = $1", order["id"])
    await stock.let_suspect_go(tx, [line["id"] for line in lines])
    if not await _deliver(tx, order):
        return None
    await review.resolve_of_order(tx, order["id"], None, "delivered", but=STAYS_OPEN)
    return await _delivered(tx, order)


async def _delivered(tx: Tx, order: Any) -> Fulfilled:
    crash_point("fulfilment.delivered")
    return Fulfilled(Standing.DELIVERED, await messages.order_settled(tx, order, delivered=True))


async def without_its_discount(tx: Tx, order: Any) -> Fulfilled:
    """It was paid after its end, and others have used its discount up: a person decides whether it is delivered."""
    return await _review(tx, order, "paid_late", _("paid late, and its discount has gone to others"))


async def _review(tx: Tx, order: Any, reason: str, words: Text) -> Fulfilled:
    await wait_for_a_person(tx, order, reason, words)
    return Fulfilled(Standing.REVIEW, await messages.order_settled(tx, order, delivered=False))


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
    await _book_what_is_missing(tx, order)


async def _book_what_is_missing(tx: Tx, order: Any) -> None:
    """The sale was booked at its price; what never came, or went back before the delivery, is the shop's loss."""
    missing = -await money.owed(tx, order["id"], order["currency"])
    if missing > 0:
        await ledger.move(
            tx,
            order["shop_id"],
            "difference",
            f"difference:{order['ref']}:{order['currency']}",
            Money(missing, order["currency"]),
            debit=ledger.REVENUE,
            credit=ledger.DEPOSITS,
            order_id=order["id"],
        )


async def _claim_again(tx: Tx, order_id: int) -> list[Any] | None:
    """Claim what is missing of every line that lives on the vault; all of it or nothing (None).

    Gives the lines that are made elsewhere. One whose own codes ran out is bought where its SKU may be.
    """
    ids = await tx.fetch("SELECT id FROM orders_line WHERE order_id = $1", order_id)
    await stock.let_suspect_go(tx, [row["id"] for row in ids])
    lines = await tx.fetch(OPEN_LINES, order_id)
    elsewhere = [line for line in lines if line["source"] != "codes" and line["missing"]]
    for line in lines:
        if line["source"] != "codes" or not line["missing"]:
            continue
        if await stock.reserve(tx, line["id"], line["sku_id"], line["missing"], None) == line["missing"]:
            continue
        if line["sku_source"] != "supplier":
            await stock.release(tx, [line["id"] for line in lines])
            return None
        await tx.execute("UPDATE orders_line SET source = 'supplier' WHERE id = $1", line["id"])
        elsewhere.append({**line, "source": "supplier"})
    return elsewhere


# -- what is not in the vault -----------------------------------------------------------


async def _prepare(tx: Tx, order: Any, lines: list[Any]) -> Fulfilled:
    await tx.execute("UPDATE orders_order SET fulfilment_state = 'preparing' WHERE id = $1", order["id"])
    await tx.execute(
        "UPDATE orders_line SET state = 'preparing' WHERE order_id = $1 AND state <> 'delivered'", order["id"]
    )
    await timeline.add(tx, order["id"], "preparing", "system")
    order = {**order, "payment_state": "paid", "fulfilment_state": "preparing"}
    jobs: list[int] = []
    standing = Standing.PREPARING
    for line in lines:
        if line["source"] == "hand":
            await _ask_a_person(tx, order, line)
        elif order["test"]:
            await wait_for_a_person(
                tx, order, PURCHASE_FAILED, _("a test order buys nothing by itself"), line_id=line["id"]
            )
            standing = Standing.REVIEW
        else:
            started = await buy(tx, order, line["id"])
            jobs += started
            standing = standing if started else Standing.REVIEW
    if standing is Standing.REVIEW:
        jobs += await messages.order_settled(tx, order, delivered=False)
    crash_point("fulfilment.preparing")
    return Fulfilled(standing, jobs)


async def _ask_a_person(tx: Tx, order: Any, line: Any) -> None:
    key = f"{BY_HAND}:{order['ref']}:{line['id']}"
    # what was made for an order that was given up meanwhile is asked for again
    await review.reopen(tx, [row["id"] for row in await tx.fetch("SELECT id FROM review_item WHERE key = $1", key)])
    await review.open_item(
        tx,
        order["shop_id"],
        BY_HAND,
        key,
        _("paid; a person makes and hands over the goods"),
        order_id=order["id"],
        data={"line": line["id"]},
    )


async def buy(tx: Tx, order: Any, line_id: int, actor: str = "system") -> list[int]:
    """Begin the next purchase of a line of a locked order; gives its job. Without an offer a person decides.

    While an earlier purchase of the line may still become a sale, nothing is begun.
    """
    line = await tx.fetchrow(purchases.LINE, line_id)
    missing = await purchases.missing_of(tx, line)
    if await is_being_bought(tx, line_id):
        return []
    chosen = await purchases.choose(tx, line, missing)
    if chosen is None:
        await wait_for_a_person(
            tx,
            order,
            PURCHASE_FAILED,
            _("no supplier delivers it at the price it was sold for"),
            line_id=line_id,
            again=line["purchases"],
        )
        return []
    purchase = await purchases.begin(tx, order, line, chosen, actor)
    return [await enqueue(tx, BUY, {"purchase": purchase["id"]})]


async def is_being_bought(tx: Tx, line_id: int) -> bool:
    return bool(
        await tx.fetchval(
            "SELECT EXISTS (SELECT 1 FROM supply_purchase WHERE line_id = $1 AND state = ANY($2))",
            line_id,
            list(purchases.LIVE),
        )
    )


async def wait_for_a_person(
    tx: Tx, order: Any, reason: str, words: Text, *, line_id: int | None = None, again: int = 0, data: Any = None
) -> None:
    """The order waits in the review queue; with ``line_id`` only that line of it does."""
    await tx.execute("UPDATE orders_order SET fulfilment_state = 'review' WHERE id = $1", order["id"])
    await tx.execute(
        "UPDATE orders_line SET state = 'review' WHERE order_id = $1 AND state <> 'delivered'"
        " AND ($2::bigint IS NULL OR id = $2)",
        order["id"],
        line_id,
    )
    await timeline.add(tx, order["id"], "needs_review", "system", {"reason": reason})
    key = f"{reason}:{order['ref']}" if line_id is None else f"{reason}:{order['ref']}:{line_id}:{again}"
    await review.open_item(
        tx,
        order["shop_id"],
        reason,
        key,
        words,
        order_id=order["id"],
        data={"line": line_id, **(data or {})} if line_id is not None else None,
    )
