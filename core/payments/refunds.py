"""Giving money back: asked by one person, above the shop's limit approved by another, then done by one of three ways.

``source`` goes back through the payment's own method and is sent by a job; ``balance`` is put into the buyer's
balance; ``hand`` was paid back by a person outside the shop. The last two are done in the transaction that asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.audit import service as audit
from core.audit.person import Person
from core.crash_point import crash_point
from core.db import Tx
from core.hooks import runtime, telling
from core.jobs import enqueue
from core.ledger import chart, customers
from core.ledger import service as ledger
from core.messages import service as messages
from core.messages.events import ORDER_REFUNDED
from core.money import Money
from core.orders import timeline
from core.orders.states import PAYMENT
from core.payments import goods, money
from core.payments.money import Payment
from core.refused import Refused
from core.review import service as review
from core.vault.code_text import storable
from core.web.i18n import _, locale

SEND = "payments.refund"
WAYS = ("source", "balance", "hand")

INSERT = """
INSERT INTO payments_refund (shop_id, ref, order_id, payment_id, amount, currency, way, take_codes, questions, note,
                             state, two_persons, asked_by)
VALUES ($1, $2 || '-R' || (SELECT count(*) + 1 FROM payments_refund WHERE order_id = $3), $3, $4, $5, $6, $7, $8, $9,
        $10, CASE WHEN $11 THEN 'asked' ELSE 'approved' END, $11, $12)
RETURNING *
"""

# What one person may give back of an order alone; the limit is in the shop's currency.
NEEDS_TWO = """
SELECT (shop.settings ->> 'refund_limit') IS NOT NULL AND (shop.currency <> $3 OR $4 + coalesce((
    SELECT sum(amount) FROM payments_refund
    WHERE order_id = $2 AND currency = $3 AND state NOT IN ('failed', 'declined')), 0)
    > (shop.settings ->> 'refund_limit')::bigint)
FROM shops_shop shop WHERE shop.id = $1
"""

NOTHING_LEFT = """
SELECT NOT EXISTS (SELECT 1 FROM payments_event WHERE order_id = $1 AND state = 'paid'
                   AND amount > refunds + charged_back)
   AND NOT EXISTS (SELECT 1 FROM payments_refund WHERE order_id = $1 AND ended_at IS NULL)
"""

# Goods to be made are asked about one by one; what else the order held went back on sale when it was given up.
NOBODY_ASKED = """
SELECT NOT EXISTS (SELECT 1 FROM review_item WHERE order_id = $1 AND state = 'open' AND kind <> ALL($2))
"""

END = """
UPDATE payments_refund SET state = $2, ended_at = clock_timestamp(), error = $3,
                           gateway_ref = coalesce(nullif($4, ''), gateway_ref)
WHERE id = $1 AND state = ANY($5) RETURNING *
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """How money is to go back. ``take_codes``: the buyer shall not keep what the money was for."""

    way: str
    take_codes: bool = False
    note: str = ""


async def locked(tx: Tx, shop_id: int, ref: str) -> Any:
    """The order, held until the transaction ends; everything about its money goes through here.

    :raises Refused: there is none.
    """
    order = await tx.fetchrow("SELECT * FROM orders_order WHERE ref = $1 AND shop_id = $2 FOR UPDATE", ref, shop_id)
    if order is None:
        raise Refused(_("There is no such order."))
    return order


def way_back(method_key: str) -> bool:
    """Whether a payment by this method can be given back through it now."""
    return bool(getattr(runtime.current().payment_methods.get(method_key), "refunds", False))


def ways(order: Any, payments: list[Payment]) -> list[str]:
    """How all that is left of an order's money can go back."""
    back = all(way_back(one.method) for one in payments if one.left.amount)
    return [*(["source"] if back else []), *(["balance"] if to_balance(order) else []), "hand"]


def to_balance(order: Any) -> bool:
    """Whether money can go into the balance of its buyer: they are known, and can show that it is theirs."""
    return order["contact_kind"] in ("email", "partner") and not order["test"]


# -- asking -----------------------------------------------------------------------------


async def ask(
    tx: Tx, order: Any, parts: list[tuple[Payment, int]], wish: Wish, who: Person, questions: list[int] | None = None
) -> list[int]:
    """Give back ``parts`` of the payments of a locked order; gives the jobs to ring for.

    When nothing is left of its money, an order without goods is given up and its questions are closed; else only
    those named in ``questions`` are.

    :raises Refused: with what is wrong; nothing is changed then.
    """
    if not parts:
        raise Refused(_("There is no money left to give back."))
    for payment, amount in parts:
        _check(order, payment, amount, wish)
    closed = list(questions or [])
    whole = await _is_whole(tx, order["id"], parts)
    undelivered = order["fulfilment_state"] not in ("delivered", "void")
    if whole and undelivered:
        await goods.give_up(tx, order, set_aside_by=who.staff_id if wish.take_codes else None)
        closed += await review.resolve_of_order(tx, order["id"], who.staff_id, "refunded")
    for item_id in questions or []:
        await review.resolve(tx, item_id, who.staff_id, "refunded")
    jobs: list[int] = []
    for payment, amount in parts:
        jobs += await _ask_one(tx, order, payment, amount, wish, who, closed)
    return jobs


def _check(order: Any, payment: Payment, amount: int, wish: Wish) -> None:
    if not 0 < amount <= payment.left.amount:
        most = payment.left.text(locale())
        raise Refused(_("At most %(sum)s of this payment can be given back.", sum=most), "amount")
    if wish.way not in WAYS:
        raise Refused(_("Choose how the money goes back."), "way")
    if wish.way == "source" and not way_back(payment.method):
        raise Refused(_("This way to pay cannot give money back by itself. Pay it back by hand, then say so."), "way")
    if wish.way == "balance" and order["test"]:
        raise Refused(_("A test order has no real money: nothing can go into a balance."), "way")
    if wish.way == "balance" and not to_balance(order):
        raise Refused(_("A balance belongs to an e-mail address, and the buyer left none."), "way")


async def _is_whole(tx: Tx, order_id: int, parts: list[tuple[Payment, int]]) -> bool:
    going = {payment.id: amount for payment, amount in parts}
    return all(one.left.amount <= going.get(one.id, 0) for one in await money.payments_of(order_id, tx))


async def _ask_one(
    tx: Tx, order: Any, payment: Payment, amount: int, wish: Wish, who: Person, questions: list[int]
) -> list[int]:
    currency = payment.amount.currency
    two = await tx.fetchval(NEEDS_TWO, order["shop_id"], order["id"], currency, amount)
    refund = await tx.fetchrow(
        INSERT,
        order["shop_id"],
        order["ref"],
        order["id"],
        payment.id,
        amount,
        currency,
        wish.way,
        wish.take_codes,
        questions,
        wish.note.strip()[:300],
        two,
        who.staff_id,
    )
    await _note(tx, order, refund, "refund_asked", "refund.asked", who)
    return [] if two else await _go(tx, order, refund)


async def _note(tx: Tx, order: Any, refund: Any, step: str, act: str, who: Person) -> None:
    """One row in the timeline and one in the audit log."""
    detail = {
        "refund": refund["ref"],
        "amount": refund["amount"],
        "currency": refund["currency"],
        "way": refund["way"],
        "note": refund["note"],
    }
    await timeline.add(tx, order["id"], step, who.actor, detail)
    await audit.record(tx, who.actor, act, f"order:{order['ref']}", detail, shop_id=order["shop_id"], ip=who.ip)


async def _go(tx: Tx, order: Any, refund: Any) -> list[int]:
    """An approved refund sets off."""
    if refund["way"] == "source":
        return [await enqueue(tx, SEND, {"refund": refund["id"]}, key=f"{SEND}:{refund['ref']}")]
    return await _done(tx, order, refund, "", "")


# -- the second person ------------------------------------------------------------------


async def approve(tx: Tx, shop_id: int, refund_id: int, who: Person) -> list[int]:
    """:raises Refused: it was decided already, or by the person who asked."""
    order, refund = await _asked(tx, shop_id, refund_id)
    if refund["asked_by"] == who.staff_id:
        raise Refused(_("Another person than the one who asked has to approve it."))
    refund = await tx.fetchrow(
        "UPDATE payments_refund SET state = 'approved', approved_by = $2 WHERE id = $1 RETURNING *",
        refund_id,
        who.staff_id,
    )
    await _note(tx, order, refund, "refund_approved", "refund.approved", who)
    return await _go(tx, order, refund)


async def decline(tx: Tx, shop_id: int, refund_id: int, who: Person) -> list[int]:
    """:raises Refused: it was decided already."""
    order, _refund = await _asked(tx, shop_id, refund_id)
    refund = await tx.fetchrow(END, refund_id, "declined", "", "", ["asked"])
    await _note(tx, order, refund, "refund_declined", "refund.declined", who)
    await _came_to_nothing(tx, order, refund)
    return []


async def _asked(tx: Tx, shop_id: int, refund_id: int) -> tuple[Any, Any]:
    order, refund = await _both(tx, refund_id, shop_id)
    if refund["state"] != "asked":
        raise Refused(_("This was decided already."))
    return order, refund


async def _both(tx: Tx, refund_id: int, shop_id: int | None = None) -> tuple[Any, Any]:
    """The order first, as everywhere, then its refund; both are held."""
    order = await tx.fetchrow(
        "SELECT * FROM orders_order WHERE id = (SELECT order_id FROM payments_refund WHERE id = $1)"
        " AND ($2::bigint IS NULL OR shop_id = $2) FOR UPDATE",
        refund_id,
        shop_id,
    )
    if order is None:
        raise Refused(_("There is no such refund."))
    return order, await tx.fetchrow("SELECT * FROM payments_refund WHERE id = $1 FOR UPDATE", refund_id)


# -- the ways it can end ----------------------------------------------------------------


async def done(tx: Tx, refund_id: int, gateway_ref: str = "", text: str = "") -> list[int]:
    """The gateway gave the money back. Gives the jobs to ring for; nothing happens the second time."""
    return await _done(tx, *await _both(tx, refund_id), storable(gateway_ref), storable(text))


async def _done(tx: Tx, order: Any, refund: Any, gateway_ref: str, text: str) -> list[int]:
    ended = await tx.fetchrow(END, refund["id"], "done", text[:500], gateway_ref, ["approved", "sent", "unknown"])
    if ended is None:
        return []
    await tx.execute("UPDATE orders_order SET refunded = refunded + $2 WHERE id = $1", order["id"], refund["amount"])
    if not order["test"]:
        await _book(tx, order, ended)
    crash_point("refund.booked")
    if PAYMENT.allows(order["payment_state"], "refunded") and await tx.fetchval(NOTHING_LEFT, order["id"]):
        await tx.execute("UPDATE orders_order SET payment_state = 'refunded' WHERE id = $1", order["id"])
    if refund["take_codes"] and order["fulfilment_state"] == "delivered":
        await goods.take_back(tx, order)
    await timeline.add(
        tx,
        order["id"],
        "refunded",
        "system",
        {
            "refund": ended["ref"],
            "amount": ended["amount"],
            "currency": ended["currency"],
            "way": ended["way"],
            "gateway_ref": ended["gateway_ref"] or "",
        },
    )
    await _close_doubt(tx, ended)
    told = await telling.tell(tx, ended["ref"], "order_refunded")
    if order["contact_kind"] != "email":
        return told
    return told + await messages.queue(
        tx, order["shop_id"], order["id"], ORDER_REFUNDED.key, order["contact"], order["locale"], ended["ref"]
    )


async def _book(tx: Tx, order: Any, refund: Any) -> None:
    back, source = Money(refund["amount"], refund["currency"]), f"refund:{refund['ref']}"
    if refund["way"] == "balance":
        for amount, account, name in await money.split(tx, order["id"], source, back, chart.REFUNDS):
            await customers.put_in(
                tx,
                order["shop_id"],
                order["contact"],
                amount,
                kind="balance_refund",
                source=name,
                against=account,
                order_id=order["id"],
            )
        return
    method = await tx.fetchval("SELECT method FROM payments_event WHERE id = $1", refund["payment_id"])
    by_hand_from_balance = refund["way"] == "hand" and method == chart.BALANCE_METHOD
    out_of = chart.CASH if by_hand_from_balance else ledger.GATEWAY.format(method)
    await money.leaves(tx, order, "refund", source, back, out_of, once_earned=chart.REFUNDS)


async def failed(tx: Tx, refund_id: int, text: str) -> None:
    """Certainly no money moved: it counts as never sent, and a person is asked again."""
    text = storable(text)
    order, refund = await _both(tx, refund_id)
    ended = await tx.fetchrow(END, refund_id, "failed", text[:500], "", ["approved", "sent", "unknown"])
    if ended is None:
        return
    detail = {"refund": refund["ref"], "reason": text[:300]}
    await timeline.add(tx, order["id"], "refund_failed", "system", detail)
    await _close_doubt(tx, ended)
    facts = {"amount": refund["amount"], "currency": refund["currency"], "payment": refund["payment_id"]}
    if not ended["questions"]:
        await review.open_item(
            tx,
            order["shop_id"],
            "refund_failed",
            f"refund_failed:{refund['ref']}",
            _("the money could not be given back"),
            order_id=order["id"],
            data={**detail, **facts},
        )
    await _came_to_nothing(tx, order, ended)


async def unknown(tx: Tx, refund_id: int, text: str) -> None:
    """It may have happened or not. It is never sent again; the gateway is asked, or a person looks."""
    text = storable(text)
    refund = await tx.fetchrow(
        "UPDATE payments_refund SET state = 'unknown', error = $2 WHERE id = $1 AND state = 'sent' RETURNING *",
        refund_id,
        text[:500],
    )
    if refund is None:
        return
    detail = {"refund": refund["ref"], "reason": text[:300]}
    await timeline.add(tx, refund["order_id"], "refund_unknown", "system", detail)
    await review.open_item(
        tx,
        refund["shop_id"],
        "refund_unknown",
        _doubt(refund),
        _("nobody knows whether the money went back"),
        order_id=refund["order_id"],
        data={**detail, "id": refund_id, "amount": refund["amount"], "currency": refund["currency"]},
    )


def _doubt(refund: Any) -> str:
    return f"refund_unknown:{refund['ref']}"


async def _close_doubt(tx: Tx, refund: Any) -> None:
    await tx.execute(
        "UPDATE review_item SET state = 'done', resolution = $2, resolved_at = now() WHERE key = $1 AND state = 'open'",
        _doubt(refund),
        refund["state"],
    )


async def _came_to_nothing(tx: Tx, order: Any, refund: Any) -> None:
    """The money is still here: the order waits again as it did before somebody asked."""
    await review.reopen(tx, refund["questions"])
    given_up = order["fulfilment_state"] == "void" and order["delivered_at"] is None
    if not given_up or order["payment_state"] not in ("paid", "mismatch"):
        return
    await tx.execute("UPDATE orders_order SET fulfilment_state = 'review' WHERE id = $1", order["id"])
    await tx.execute("UPDATE orders_line SET state = 'review' WHERE order_id = $1", order["id"])
    if await tx.fetchval(NOBODY_ASKED, order["id"], [*review.ELSEWHERE, "paid_twice", "overpaid", "by_hand"]):
        await _ask_for_goods(tx, order, refund)


async def _ask_for_goods(tx: Tx, order: Any, refund: Any) -> None:
    """Giving it up ended its purchases and put its codes back on sale: nothing brings them by itself any more."""
    await review.open_item(
        tx,
        order["shop_id"],
        "purchase_failed",
        f"purchase_failed:{refund['ref']}",
        _("no money went back, and the goods are still missing"),
        order_id=order["id"],
        data={"refund": refund["ref"]},
    )


async def arrived(tx: Tx, shop_id: int, refund_id: int, who: Person) -> list[int]:
    """A person looked at the gateway: a refund nobody was sure of went through.

    :raises Refused: it is certain already.
    """
    order, refund = await _in_doubt(tx, shop_id, refund_id)
    await _note(tx, order, refund, "refund_looked_at", "refund.arrived", who)
    return await _done(tx, order, refund, "", refund["error"])


async def not_arrived(tx: Tx, shop_id: int, refund_id: int, who: Person) -> list[int]:
    """A person looked at the gateway: it did not, and never will under this number.

    :raises Refused: it is certain already.
    """
    order, refund = await _in_doubt(tx, shop_id, refund_id)
    await _note(tx, order, refund, "refund_looked_at", "refund.not_arrived", who)
    await failed(tx, refund_id, refund["error"])
    return []


async def _in_doubt(tx: Tx, shop_id: int, refund_id: int) -> tuple[Any, Any]:
    order, refund = await _both(tx, refund_id, shop_id)
    if refund["state"] != "unknown":
        raise Refused(_("This was decided already."))
    return order, refund


async def stop_unsent(tx: Tx, payment_id: int) -> None:
    """The payment is no longer whole: what was to go back of it and does not fit any more is not sent."""
    rows = await tx.fetch(
        "SELECT refund.id, refund.state FROM payments_refund refund JOIN payments_event event"
        " ON event.id = refund.payment_id WHERE event.id = $1 AND refund.state IN ('asked', 'approved')"
        " AND event.refunds + event.charged_back > event.amount FOR UPDATE OF refund",
        payment_id,
    )
    for row in rows:
        state = "declined" if row["state"] == "asked" else "failed"
        await tx.execute(
            "UPDATE payments_refund SET state = $2, ended_at = now(), error = 'charged back' WHERE id = $1",
            row["id"],
            state,
        )
