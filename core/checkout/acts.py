"""What staff may do with an order's money and goods. Each act goes through the normal flow and is audited."""

from __future__ import annotations

from typing import Any

from core import db
from core.audit import service as audit
from core.checkout.settle import Settled, settle
from core.db import Tx
from core.fulfilment import service as fulfilment
from core.ledger import service as ledger
from core.messages import service as messages
from core.money import Money
from core.orders import service as orders
from core.orders import timeline
from core.payments.method import Claim, ClaimState
from core.refused import Refused
from core.review import service as review
from core.vault import stock
from core.web.i18n import _

EXTRA_MONEY = "paid_twice"


async def confirm_paid(shop_id: int, ref: str, staff_id: int, note: str, ip: str | None) -> Settled:
    """Staff saw the money arrive: settle the newest attempt as if the gateway had said so.

    :raises Refused: the order has no attempt, or is paid already.
    """
    row = await db.fetchrow(
        "SELECT attempt.*, o.payment_state FROM orders_order o LEFT JOIN payments_attempt attempt"
        " ON attempt.order_id = o.id WHERE o.ref = $1 AND o.shop_id = $2 ORDER BY attempt.id DESC LIMIT 1",
        ref,
        shop_id,
    )
    if row is None or row["ref"] is None:
        raise Refused(_("This order has no payment to confirm."))
    if row["payment_state"] not in ("unpaid", "expired", "cancelled"):
        raise Refused(_("This order is paid already, or its payment waits in the review queue."))
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
    if not await fulfilment.fulfil(tx, order, "out_of_stock"):
        raise Refused(_("There is still not enough stock. Import codes first, or pay the money back."))
    if accepted and not order["test"]:
        await _book_what_really_came(tx, order)
    await review.resolve_of_order(tx, order["id"], staff_id, "delivered", but=(EXTRA_MONEY,))
    await audit.record(tx, f"staff:{staff_id}", "order.delivered_anyway", f"order:{ref}", shop_id=shop_id, ip=ip)
    return await messages.order_settled(tx, order, delivered=True)


async def _book_what_really_came(tx: Tx, order: Any) -> None:
    """The sale was booked at its price: what was accepted below or above it is the shop's loss or gain."""
    price = {order["currency"]: -order["total"]}
    wrong = await tx.fetch(
        "SELECT currency, sum(amount)::bigint AS amount FROM payments_event"
        " WHERE order_id = $1 AND state = 'paid' AND outcome = 'wrong_amount' GROUP BY currency",
        order["id"],
    )
    for row in wrong:
        price[row["currency"]] = price.get(row["currency"], 0) + row["amount"]
    for currency, difference in price.items():
        up = difference > 0
        await ledger.move(
            tx,
            order["shop_id"],
            "difference",
            f"difference:{order['ref']}:{currency}",
            Money(abs(difference), currency),
            debit=ledger.DEPOSITS if up else ledger.REVENUE,
            credit=ledger.REVENUE if up else ledger.DEPOSITS,
            order_id=order["id"],
        )


async def refunded_by_hand(shop_id: int, ref: str, staff_id: int, note: str, ip: str | None) -> None:
    """Staff paid the money back outside the shop: book it and close the order."""
    await db.transaction(_refunded_by_hand, shop_id, ref, staff_id, note, ip)


async def _refunded_by_hand(tx: Tx, shop_id: int, ref: str, staff_id: int, note: str, ip: str | None) -> None:
    order = await _waiting(tx, shop_id, ref)
    lines = [row["id"] for row in await tx.fetch("SELECT id FROM orders_line WHERE order_id = $1", order["id"])]
    await stock.release(tx, lines)
    await tx.execute(
        "UPDATE orders_order SET payment_state = 'refunded', fulfilment_state = 'void' WHERE id = $1", order["id"]
    )
    await tx.execute("UPDATE orders_line SET state = 'void' WHERE order_id = $1", order["id"])
    await timeline.add(tx, order["id"], "refunded_by_hand", f"staff:{staff_id}", {"note": note[:300]})
    if not order["test"]:
        await _book_back(tx, order)
    await review.resolve_of_order(tx, order["id"], staff_id, "refunded")
    await audit.record(
        tx, f"staff:{staff_id}", "order.refunded_by_hand", f"order:{ref}", {"note": note[:300]}, shop_id=shop_id, ip=ip
    )


async def extra_money_returned(shop_id: int, ref: str, item_id: int, staff_id: int, note: str, ip: str | None) -> None:
    """Money that came for an order which needed none was paid back outside the shop: book it."""
    await db.transaction(_extra_money_returned, shop_id, ref, item_id, staff_id, note, ip)


async def _extra_money_returned(
    tx: Tx, shop_id: int, ref: str, item_id: int, staff_id: int, note: str, ip: str | None
) -> None:
    item = await tx.fetchrow(
        "SELECT item.*, o.test, attempt.method FROM review_item item JOIN orders_order o ON o.id = item.order_id"
        " JOIN payments_attempt attempt ON attempt.id = item.attempt_id"
        " WHERE item.id = $1 AND item.shop_id = $2 AND o.ref = $3"
        " AND (item.kind = 'paid_twice' OR item.kind = 'wrong_amount' AND o.fulfilment_state <> 'review')"
        " FOR UPDATE OF o",
        item_id,
        shop_id,
        ref,
    )
    if item is None or not await review.resolve(tx, item_id, staff_id, "refunded"):
        raise Refused(_("This was decided already."))
    if not item["test"]:
        await ledger.move(
            tx,
            shop_id,
            "refund",
            f"refund:{item['key']}",
            _extra(item),
            debit=ledger.DEPOSITS,
            credit=ledger.GATEWAY.format(item["method"]),
            order_id=item["order_id"],
        )
    await timeline.add(tx, item["order_id"], "refunded_by_hand", f"staff:{staff_id}", {"note": note[:300]})
    await audit.record(
        tx,
        f"staff:{staff_id}",
        "order.extra_money_returned",
        f"order:{ref}",
        {"note": note[:300]},
        shop_id=shop_id,
        ip=ip,
    )


def _extra(item: Any) -> Money:
    came = item["data"]
    if item["kind"] == "wrong_amount":
        return Money(came["came"], came["came_currency"])
    return Money(came["amount"], came["currency"])


# What went back before as money nobody owed does not go back twice.
STILL_HERE = """
SELECT event.method, event.currency, sum(event.amount)::bigint AS amount
FROM payments_event event JOIN payments_attempt attempt ON attempt.id = event.attempt_id
WHERE event.order_id = $1 AND event.state = 'paid' AND NOT EXISTS (
    SELECT 1 FROM review_item item WHERE item.order_id = event.order_id AND item.resolution = 'refunded'
    AND item.key = item.kind || ':' || attempt.ref || ':' || event.event_key)
GROUP BY event.method, event.currency
"""


async def _book_back(tx: Tx, order: Any) -> None:
    """Money goes back to where each payment came from."""
    paid = await tx.fetch(STILL_HERE, order["id"])
    for row in paid:
        await ledger.move(
            tx,
            order["shop_id"],
            "refund",
            f"refund:{order['ref']}:{row['method']}:{row['currency'].strip()}",
            Money(row["amount"], row["currency"].strip()),
            debit=ledger.DEPOSITS,
            credit=ledger.GATEWAY.format(row["method"]),
            order_id=order["id"],
        )


async def _waiting(tx: Tx, shop_id: int, ref: str) -> Any:
    order = await tx.fetchrow("SELECT * FROM orders_order WHERE ref = $1 AND shop_id = $2 FOR UPDATE", ref, shop_id)
    if order is None or order["fulfilment_state"] != "review":
        raise Refused(_("This order does not wait for a decision."))
    return order
