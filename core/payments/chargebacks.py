"""A payer's bank took the money back: booked first, then the order is marked and its codes are listed."""

from __future__ import annotations

from typing import Any

from core.audit import service as audit
from core.db import Tx
from core.ledger import chart
from core.ledger import service as ledger
from core.money import Money
from core.orders import timeline
from core.orders.states import PAYMENT
from core.payments import goods, money, refunds
from core.refused import Refused
from core.review import service as review
from core.web.i18n import _

# The payment it takes from: one that still has the money, the newest first.
TAKE = """
UPDATE payments_event SET charged_back = charged_back + $4 WHERE id = (
    SELECT id FROM payments_event WHERE order_id = $1 AND attempt_id = $2 AND currency = $3 AND state = 'paid'
    ORDER BY amount - refunds - charged_back >= $4 DESC, id DESC LIMIT 1)
RETURNING id
"""

SAID_BY_STAFF = """
SELECT EXISTS (
    SELECT 1 FROM payments_event said WHERE said.order_id = $1 AND said.attempt_id = $2 AND said.source = 'staff'
      AND said.state = 'charged_back' AND said.amount = $3 AND said.currency = $4
      AND NOT EXISTS (SELECT 1 FROM payments_event later WHERE later.order_id = $1 AND later.attempt_id = $2
                      AND later.state = 'charged_back' AND later.outcome = 'same_money'))
"""

BY_STAFF = """
INSERT INTO payments_event (method, event_key, attempt_id, order_id, source, state, amount, currency, gateway_ref,
                            outcome)
SELECT method, $3, attempt_id, order_id, 'staff', 'charged_back', $2, currency, gateway_ref, 'charged_back'
FROM payments_event WHERE id = $1 RETURNING attempt_id
"""


WON_BEFORE = "SELECT count(*) FROM orders_event WHERE order_id = $1 AND kind = 'chargeback_won'"
GIVE_BACK = "UPDATE payments_event SET charged_back = charged_back - $2 WHERE id = $1"


async def take(
    tx: Tx, order: Any, method: str, attempt_id: int, amount: Money, key: str, actor: str, *, ip: str | None
) -> bool:
    """Let a chargeback of a locked order have its effect; False when staff told of the same money before."""
    if await tx.fetchval(SAID_BY_STAFF, order["id"], attempt_id, amount.amount, amount.currency):
        return False
    await _write(tx, order, method, attempt_id, amount, key, actor, ip)
    return True


async def told_by_staff(
    tx: Tx, shop_id: int, ref: str, payment_id: int, amount: int, staff_id: int, note: str, ip: str | None
) -> None:
    """Staff read of it in the gateway's own console.

    :raises Refused: there is no such payment, or not as much of it.
    """
    order = await refunds.locked(tx, shop_id, ref)
    payment = next((one for one in await money.payments_of(order["id"], tx) if one.id == payment_id), None)
    if payment is None:
        raise Refused(_("There is no such payment."))
    if not 0 < amount <= payment.amount.amount - payment.charged_back.amount:
        raise Refused(_("Not as much of that payment is left."), "amount")
    won_before = await tx.fetchval(WON_BEFORE, order["id"])
    key = f"staff:chargeback:{payment.id}:{payment.charged_back.amount}:{won_before}"
    attempt_id = await tx.fetchval(BY_STAFF, payment.id, amount, key)
    taken, actor = Money(amount, payment.amount.currency), f"staff:{staff_id}"
    await _write(tx, order, payment.method, attempt_id, taken, key, actor, ip)
    detail = {"amount": amount, "currency": taken.currency, "note": note}
    await audit.record(tx, actor, "order.charged_back", f"order:{ref}", detail, shop_id=shop_id, ip=ip)


async def won(
    tx: Tx, shop_id: int, ref: str, payment_id: int, amount: int, staff_id: int, note: str, ip: str | None
) -> None:
    """The bank decided for the shop: the money is here again. What became of the order and its goods stays as it is.

    :raises Refused: there is no such payment, or not as much of it was taken back.
    """
    order = await refunds.locked(tx, shop_id, ref)
    payment = next((one for one in await money.payments_of(order["id"], tx) if one.id == payment_id), None)
    if payment is None:
        raise Refused(_("There is no such payment."))
    if not 0 < amount <= payment.charged_back.amount:
        raise Refused(_("Not as much of that payment was taken back."), "amount")
    await tx.execute(GIVE_BACK, payment.id, amount)
    back, actor = Money(amount, payment.amount.currency), f"staff:{staff_id}"
    if not order["test"]:
        number = await tx.fetchval(WON_BEFORE, order["id"])
        source = f"chargeback_won:{payment.id}:{number}"
        await money.returns(tx, order, "chargeback_won", source, back, ledger.GATEWAY.format(payment.method))
    detail = {"amount": amount, "currency": back.currency, "method": payment.method}
    await timeline.add(tx, order["id"], "chargeback_won", actor, detail)
    detail["note"] = note
    await audit.record(tx, actor, "order.chargeback_won", f"order:{ref}", detail, shop_id=shop_id, ip=ip)


async def _write(
    tx: Tx, order: Any, method: str, attempt_id: int, amount: Money, key: str, actor: str, ip: str | None
) -> None:
    payment_id = await tx.fetchval(TAKE, order["id"], attempt_id, amount.currency, amount.amount)
    if not order["test"]:
        await money.leaves(
            tx,
            order,
            "chargeback",
            f"chargeback:{method}:{key}",
            amount,
            ledger.GATEWAY.format(method),
            once_earned=chart.CHARGEBACKS,
        )
    detail = {"amount": amount.amount, "currency": amount.currency, "method": method}
    await timeline.add(tx, order["id"], "charged_back", actor, detail)
    if payment_id is not None:
        await refunds.stop_unsent(tx, payment_id)
    if await _is_short(tx, order):
        await _mark(tx, order)
    reason = _("the payer's bank took the money back")
    await review.open_item(
        tx,
        order["shop_id"],
        "chargeback",
        f"chargeback:{method}:{key}",
        reason,
        order_id=order["id"],
        attempt_id=attempt_id,
        data={**detail, "payment": payment_id},
    )
    await audit.alarm(
        tx, "payment.chargeback", f"order:{order['ref']}", reason, detail, shop_id=order["shop_id"], ip=ip
    )


async def _is_short(tx: Tx, order: Any) -> bool:
    """A chargeback of what came too much leaves the order paid."""
    enough = await money.here(tx, order["id"], order["currency"]) >= order["total"]
    return PAYMENT.allows(order["payment_state"], "charged_back") and not enough


async def _mark(tx: Tx, order: Any) -> None:
    await tx.execute("UPDATE orders_order SET payment_state = 'charged_back' WHERE id = $1", order["id"])
    await review.resolve_of_order(tx, order["id"], None, "charged_back", but=("paid_twice", "overpaid"))
    if order["fulfilment_state"] == "delivered":
        await goods.take_back(tx, order)
    elif order["fulfilment_state"] != "void":
        await goods.give_up(tx, order)
