"""An order that risk rules hold is let go or refused by a person."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from core import db
from core.audit import service as audit
from core.audit.person import Person
from core.db import Tx
from core.fulfilment import service as fulfilment
from core.hooks.views import Counted, FoundBy
from core.messages import service as messages
from core.messages.events import ORDER_REFUSED
from core.orders import service as orders
from core.orders import timeline, uses
from core.orders.history import History, telling_address
from core.orders.words import WAYS
from core.payments import goods, money, refunds
from core.payments.refunds import Wish
from core.refused import Refused
from core.review import claims
from core.review import service as review
from core.web.i18n import Text, _

NEIGHBOURS: dict[FoundBy, Text] = {
    "contact": _("This contact"),
    "device": _("This browser"),
    "address": _("This address"),
    "network": _("Its network"),
}


def waits(order: Any) -> bool:
    """Whether a person still has to decide about an order."""
    ended = order["fulfilment_state"] in ("void", "delivered") or order["payment_state"] in ("cancelled", "expired")
    return order["held"] and not ended


async def seen_by_staff(order: Any) -> dict[str, Any]:
    """What the decision is made with."""
    item = await db.fetchrow(
        "SELECT item.*, coalesce(nullif(staff.name, ''), staff.email) AS holder_name FROM review_item item"
        " LEFT JOIN people_staff staff ON staff.id = item.claimed_by"
        " WHERE order_id = $1 AND kind = 'risk' AND state = 'open'",
        order["id"],
    )
    return {
        "item": item,
        "holder": claims.holder(item) if item else None,
        "holder_name": item["holder_name"] if item else "",
        "neighbours": await _neighbours(order),
        "ways": [(way, WAYS[way]) for way in refunds.ways(order, await money.payments_of(order["id"]))],
    }


async def _neighbours(order: Any) -> list[tuple[Text, Counted, Counted]]:
    session = await db.fetchval(
        "SELECT session_hash FROM orders_access WHERE order_id = $1 AND how = 'bought'", order["id"]
    )
    ip = telling_address(str(order["ip"] or ""))
    history = History(order["shop_id"], order["contact"], ip, session or b"", order["currency"])
    day, month = timedelta(days=1), timedelta(days=30)
    known = [by for by in NEIGHBOURS if ip or by not in ("address", "network")]
    return [(NEIGHBOURS[by], await history.count(by, day), await history.count(by, month)) for by in known]


async def approve(shop_id: int, ref: str, note: str, who: Person) -> list[int]:
    """Let it go: what is paid is delivered at once. Gives the jobs to ring for.

    :raises Refused: it is not held any more, or somebody else works on it.
    """
    return await db.transaction(_approve, shop_id, ref, note, who)


async def _approve(tx: Tx, shop_id: int, ref: str, note: str, who: Person) -> list[int]:
    order, item = await _held(tx, shop_id, ref, who)
    return await let_go(tx, order, item, note, who)


async def let_go(tx: Tx, order: Any, item: Any, note: str, who: Person) -> list[int]:
    """Approve a locked order."""
    await tx.execute("UPDATE orders_order SET held = false WHERE id = $1", order["id"])
    await _decide(tx, order, item, "approved", note, who)
    if order["payment_state"] != "paid" or order["fulfilment_state"] != "review":
        return []
    free = {**order, "held": False}
    if not await uses.take_again(tx, order["id"]):
        return (await fulfilment.without_its_discount(tx, free)).jobs
    return (await fulfilment.fulfil(tx, free, "out_of_stock")).jobs


async def refuse(shop_id: int, ref: str, way: str, reason: str, who: Person) -> list[int]:
    """Nothing is delivered: the codes are on sale again, what was paid goes back ``way``, and the buyer is told.

    :raises Refused: no reason is given, that way does not work, it is not held any more, or somebody else works on it.
    """
    if not reason.strip():
        raise Refused(_("Say why: you and others will want to know later."), "note")
    return await db.transaction(_refuse, shop_id, ref, way, reason, who)


async def _refuse(tx: Tx, shop_id: int, ref: str, way: str, reason: str, who: Person) -> list[int]:
    order, item = await _held(tx, shop_id, ref, who)
    return await turn_down(tx, order, item, way, reason, who)


async def turn_down(tx: Tx, order: Any, item: Any, way: str, reason: str, who: Person) -> list[int]:
    """Refuse a locked order."""
    if order["payment_state"] == "unpaid":
        await orders.cancel_in(tx, order["id"], who.actor)
        await _decide(tx, order, item, "refused", reason, who)
        return []
    await _decide(tx, order, item, "refused", reason, who)
    paid = [(one, one.left.amount) for one in await money.payments_of(order["id"], tx) if one.left.amount]
    jobs: list[int] = []
    if paid:
        jobs = await refunds.ask(tx, order, paid, Wish(way, note=reason), who, [item["id"]] if item else [])
    else:
        await goods.give_up(tx, order)
        await tx.execute("UPDATE orders_order SET payment_state = 'refunded' WHERE id = $1", order["id"])
    if order["contact_kind"] == "email":
        jobs += await messages.queue(
            tx, order["shop_id"], order["id"], ORDER_REFUSED.key, order["contact"], order["locale"], order["ref"]
        )
    return jobs


async def _held(tx: Tx, shop_id: int, ref: str, who: Person) -> tuple[Any, Any]:
    """The locked order and its open question, if it has come to that."""
    order = await refunds.locked(tx, shop_id, ref)
    if not waits(order):
        raise Refused(_("This was decided already."))
    item = await tx.fetchrow(
        "SELECT * FROM review_item WHERE order_id = $1 AND kind = 'risk' AND state = 'open' FOR UPDATE", order["id"]
    )
    if item is not None:
        await claims.check_free_for(tx, item, who.staff_id)
    return order, item


async def _decide(tx: Tx, order: Any, item: Any, decision: str, note: str, who: Person) -> None:
    detail = {"note": note.strip()[:300]} if note.strip() else {}
    if item is not None:
        await review.resolve(tx, item["id"], who.staff_id, decision, note.strip()[:300])
    await timeline.add(tx, order["id"], f"risk_{decision}", who.actor, detail)
    await audit.record(
        tx, who.actor, f"order.{decision}", f"order:{order['ref']}", detail, shop_id=order["shop_id"], ip=who.ip
    )
