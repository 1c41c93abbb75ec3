"""The refund-or-refill queue: orders whose money is here without goods, and money that nobody asked for.

Every row is emptied by one act: deliver from stock (``core.checkout``), give the money back, or keep it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core import db
from core.audit import service as audit
from core.audit.person import Person
from core.db import Tx
from core.ledger import service as ledger
from core.money import Money
from core.orders import timeline
from core.payments import goods, money, refunds
from core.payments.money import Payment
from core.payments.refunds import Wish
from core.refused import Refused
from core.review import service as review
from core.web.i18n import _, in_language

WITHOUT_GOODS = (
    "paid_late",
    "out_of_stock",
    "underpaid",
    "wrong_currency",
    "refund_failed",
    "purchase_failed",
    "purchase_unknown",
)
TOO_MUCH = ("paid_twice", "overpaid", "wrong_currency", "refund_failed")
TO_SEE = ("chargeback", "codes_out")
"""Closed by a person who did outside the shop what there is to do."""
SHOWN = 200

ITEMS = """
SELECT item.id, item.kind, item.reason, item.data, item.created_at, o.id AS order_id, o.ref, o.contact,
       o.contact_kind, o.test, o.total, o.currency, o.fulfilment_state, o.payment_state
FROM review_item item JOIN orders_order o ON o.id = item.order_id
WHERE item.shop_id = $1 AND item.state = 'open' AND item.kind = ANY($2) AND {} ORDER BY item.id LIMIT $3
"""
KINDS = sorted({*WITHOUT_GOODS, *TOO_MUCH})


@dataclass(frozen=True, slots=True)
class Row:
    """One question of the queue. ``amounts`` is what would go back, one sum for each currency."""

    item_id: int
    kind: str
    reason: str
    order_ref: str
    contact: str
    test: bool
    since: datetime
    total: Money
    came: list[Money]
    amounts: list[Money]
    goods_missing: bool
    to_source: bool
    to_balance: bool


async def rows(shop_id: int) -> list[Row]:
    """What is open, the oldest first."""
    return [await _row(item) for item in await db.fetch(ITEMS.format("true"), shop_id, KINDS, SHOWN)]


async def of_order(shop_id: int, order_id: int) -> dict[int, Row]:
    """The open rows of one order by their question's id."""
    found = await db.fetch(ITEMS.format("item.order_id = $4"), shop_id, KINDS, SHOWN, order_id)
    return {item["id"]: await _row(item) for item in found}


async def _row(item: Any) -> Row:
    payments = await money.payments_of(item["order_id"])
    parts = _parts(item, payments)
    return Row(
        item_id=item["id"],
        kind=item["kind"],
        reason=in_language(item["reason"]),
        order_ref=item["ref"],
        contact=item["contact"],
        test=item["test"],
        since=item["created_at"],
        total=Money(item["total"], item["currency"]),
        came=money.by_currency(payment.amount for payment in payments),
        amounts=money.by_currency(Money(amount, payment.amount.currency) for payment, amount in parts),
        goods_missing=_goods_missing(item),
        to_source=bool(parts) and all(refunds.way_back(payment.method) for payment, _amount in parts),
        to_balance=refunds.to_balance(item),
    )


def _goods_missing(item: Any) -> bool:
    return item["fulfilment_state"] == "review" and item["kind"] in WITHOUT_GOODS


def _parts(item: Any, payments: list[Payment]) -> list[tuple[Payment, int]]:
    """What is in question: all that is left of the order's money, or that one payment too much."""
    if _goods_missing(item):
        return [(payment, payment.left.amount) for payment in payments if payment.left.amount]
    found = next((payment for payment in payments if payment.id == item["data"].get("payment")), None)
    if found is None:
        return []
    amount = min(item["data"]["amount"], found.left.amount)
    return [(found, amount)] if amount else []


# -- emptying it ------------------------------------------------------------------------


async def give_back(tx: Tx, shop_id: int, item_id: int, wish: Wish, who: Person) -> list[int]:
    """Give back what a question is about; gives the jobs to ring for.

    :raises Refused: it was decided already, or that way does not work.
    """
    order, item = await _open(tx, shop_id, item_id)
    parts = _parts(item, await money.payments_of(order["id"], tx))
    return await refunds.ask(tx, order, parts, wish, who, [item_id])


async def keep(tx: Tx, shop_id: int, item_id: int, note: str, who: Person) -> None:
    """Nothing more is delivered or given back: staff has settled it with the buyer outside the shop.

    :raises Refused: it was decided already.
    """
    order, item = await _open(tx, shop_id, item_id)
    detail = {"question": item["kind"], "note": note.strip()[:300]}
    if _goods_missing(item):
        await goods.give_up(tx, order)
        await tx.execute("UPDATE orders_order SET payment_state = 'paid' WHERE id = $1", order["id"])
        for currency in {part.amount.currency for part in await money.payments_of(order["id"], tx)}:
            await _earn(tx, order, item, Money(await money.owed(tx, order["id"], currency), currency))
        await review.resolve_of_order(tx, order["id"], who.staff_id, "kept", but=("paid_twice", "overpaid"))
    else:
        for payment, amount in _parts(item, await money.payments_of(order["id"], tx)):
            owed = await money.owed(tx, order["id"], payment.amount.currency)
            await _earn(tx, order, item, Money(min(amount, owed), payment.amount.currency))
        await review.resolve(tx, item_id, who.staff_id, "kept")
    await timeline.add(tx, order["id"], "kept", who.actor, detail)
    await audit.record(tx, who.actor, "order.kept", f"order:{order['ref']}", detail, shop_id=shop_id, ip=who.ip)


async def seen(tx: Tx, shop_id: int, item_id: int, note: str, who: Person) -> None:
    """A chargeback, codes that are with a buyer, a refund that failed: what there was to do is done.

    :raises Refused: it was decided already, or it is not of that kind.
    """
    order, item = await _open(tx, shop_id, item_id)
    if item["kind"] not in TO_SEE:
        raise Refused(_("This needs another decision."))
    await review.resolve(tx, item_id, who.staff_id, "seen")
    detail = {"question": item["kind"], "note": note.strip()[:300]}
    await timeline.add(tx, order["id"], "question_closed", who.actor, detail)
    await audit.record(
        tx, who.actor, "order.question_closed", f"order:{order['ref']}", detail, shop_id=shop_id, ip=who.ip
    )


async def _earn(tx: Tx, order: Any, item: Any, amount: Money) -> None:
    if order["test"] or amount.amount <= 0:
        return
    await ledger.move(
        tx,
        order["shop_id"],
        "difference",
        f"kept:{item['id']}:{amount.currency}",
        amount,
        debit=ledger.DEPOSITS,
        credit=ledger.REVENUE,
        order_id=order["id"],
    )


async def _open(tx: Tx, shop_id: int, item_id: int) -> tuple[Any, Any]:
    """The locked order and its open question with the order's states."""
    ref = await tx.fetchval(
        "SELECT o.ref FROM review_item item JOIN orders_order o ON o.id = item.order_id"
        " WHERE item.id = $1 AND item.shop_id = $2 AND item.kind = ANY($3)",
        item_id,
        shop_id,
        [*KINDS, *TO_SEE],
    )
    if ref is None:
        raise Refused(_("There is no such question."))
    order = await refunds.locked(tx, shop_id, ref)
    item = await tx.fetchrow("SELECT * FROM review_item WHERE id = $1 AND state = 'open' FOR UPDATE", item_id)
    if item is None:
        raise Refused(_("This was decided already."))
    return order, {**item, "fulfilment_state": order["fulfilment_state"]}
