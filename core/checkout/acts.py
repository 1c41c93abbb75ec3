"""What staff may do with an order's money and goods. Each act goes through the normal flow and is audited."""

from __future__ import annotations

from typing import Any

from core import db
from core.audit import service as audit
from core.checkout.settle import OPEN, Settled, settle
from core.db import Tx
from core.fulfilment import service as fulfilment
from core.fulfilment.service import Standing
from core.hooks import telling
from core.ledger import service as ledger
from core.ledger.chart import BALANCE_METHOD
from core.money import Money
from core.orders import service as orders
from core.orders import uses
from core.payments import money
from core.payments.method import Claim, ClaimState
from core.refused import Refused
from core.review import service as review
from core.web.i18n import _

TO_CONFIRM = """
SELECT o.payment_state, attempt.ref, attempt.method, attempt.amount, attempt.currency
FROM orders_order o LEFT JOIN LATERAL (
    SELECT * FROM payments_attempt WHERE order_id = o.id AND state <> 'paid' AND method <> $4
        AND ($3 = '' OR payments_attempt.ref = $3)
    ORDER BY id DESC LIMIT 1) AS attempt ON true
WHERE o.ref = $1 AND o.shop_id = $2
"""


async def confirm_paid(shop_id: int, ref: str, staff_id: int, note: str, ip: str | None, attempt: str = "") -> Settled:
    """Staff saw the money arrive: settle the newest attempt, or the one named, as if the gateway had said so.

    Never one from a balance: only our own books say whether that was taken. When the gateway tells of the same money
    later, that is no second payment.

    :raises Refused: the order has no open attempt, or is paid already.
    """
    row = await db.fetchrow(TO_CONFIRM, ref, shop_id, attempt, BALANCE_METHOD)
    if row is not None and row["payment_state"] not in OPEN:
        raise Refused(_("This order is paid already, or its payment waits in the review queue."))
    if row is None or row["ref"] is None:
        raise Refused(_("This order has no payment to confirm."))
    claim = Claim(
        attempt_ref=row["ref"],
        state=ClaimState.PAID,
        amount=Money(row["amount"], row["currency"]),
        gateway_ref=note.strip()[:120] or f"staff:{staff_id}",
        event_key=f"staff:{row['ref']}",
    )
    return await settle(row["method"], claim, "staff", staff_id=staff_id, ip=ip)


async def cancel(shop_id: int, ref: str, staff_id: int, ip: str | None) -> None:
    """Give an unpaid order up."""
    order_id = await db.fetchval("SELECT id FROM orders_order WHERE ref = $1 AND shop_id = $2", ref, shop_id)
    if order_id is None:
        raise Refused(_("There is no such order."))

    async def write(tx: Tx) -> None:
        await orders.cancel_in(tx, order_id, f"staff:{staff_id}")
        await audit.record(tx, f"staff:{staff_id}", "order.cancelled", f"order:{ref}", shop_id=shop_id, ip=ip)

    await db.transaction(write)


async def deliver_anyway(shop_id: int, ref: str, staff_id: int, ip: str | None) -> list[int]:
    """Deliver an order that waits for a person: stock came in again, or the wrong amount is accepted as it is.

    Gives the jobs to ring.

    :raises Refused: it waits for nobody (any more), or there is still not enough stock.
    """
    return await db.transaction(_deliver_anyway, shop_id, ref, staff_id, ip)


async def _deliver_anyway(tx: Tx, shop_id: int, ref: str, staff_id: int, ip: str | None) -> list[int]:
    order = await _waiting(tx, shop_id, ref)
    accepted = order["payment_state"] == "mismatch"
    if accepted:
        await tx.execute("UPDATE orders_order SET payment_state = 'paid' WHERE id = $1", order["id"])
        await uses.take_again(tx, order["id"])
    done = await fulfilment.fulfil(tx, {**order, "payment_state": "paid"}, "out_of_stock")
    if done.standing is Standing.REVIEW:
        raise Refused(_("There is still not enough stock. Import codes first, or pay the money back."))
    if accepted and not order["test"]:
        await _book_what_came_beside(tx, order)
    still_open = (*fulfilment.STAYS_OPEN, *fulfilment.ABOUT_GOODS)
    await review.resolve_of_order(tx, order["id"], staff_id, "delivered", but=still_open)
    await audit.record(tx, f"staff:{staff_id}", "order.delivered_anyway", f"order:{ref}", shop_id=shop_id, ip=ip)
    told = await telling.tell(tx, ref, "order_paid") if accepted else []
    return told + done.jobs


async def _book_what_came_beside(tx: Tx, order: Any) -> None:
    """Money in another currency was accepted for it: the sale is booked at its price, and that is a gain."""
    came = {payment.amount.currency for payment in await money.payments_of(order["id"], tx)}
    for currency in sorted(came - {order["currency"]}):
        more = await money.owed(tx, order["id"], currency)
        if more > 0:
            await ledger.move(
                tx,
                order["shop_id"],
                "difference",
                f"difference:{order['ref']}:{currency}",
                Money(more, currency),
                debit=ledger.DEPOSITS,
                credit=ledger.REVENUE,
                order_id=order["id"],
            )


async def _waiting(tx: Tx, shop_id: int, ref: str) -> Any:
    order = await tx.fetchrow("SELECT * FROM orders_order WHERE ref = $1 AND shop_id = $2 FOR UPDATE", ref, shop_id)
    if order is None or order["fulfilment_state"] != "review" or order["payment_state"] not in ("paid", "mismatch"):
        raise Refused(_("This order does not wait for a decision."))
    if order["held"]:
        raise Refused(_("Risk rules hold this order: approve it, or refuse it."))
    return order
