"""Another code for one that does not work: the buyer reports it, staff replace it or say that it is good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core import db
from core.audit import service as audit
from core.db import Tx
from core.ledger import service as ledger
from core.ledger.chart import COST, STOCK
from core.messages import service as messages
from core.messages.events import CODE_REPLACED
from core.money import Money
from core.orders import timeline, words
from core.redemption import redeem
from core.refused import Refused
from core.review import service as review
from core.vault import replace
from core.vault.replace import Delivered, Given
from core.web.i18n import _

KIND = "bad_code"


@dataclass(frozen=True, slots=True)
class Reporter:
    """The browser that says so, as evidence."""

    session_hash: bytes
    ip: str | None
    agent: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """``mask`` of the new code, or empty: there is none in stock and the question waits in the review queue."""

    mask: str = ""
    jobs: tuple[int, ...] = ()


def key(code_id: int) -> str:
    return f"{KIND}:{code_id}"


# -- the buyer --------------------------------------------------------------------------

MINE = """
SELECT o.* FROM orders_order o JOIN orders_access access ON access.order_id = o.id AND access.session_hash = $2
WHERE o.ref = $1 FOR UPDATE OF o
"""


async def report(ref: str, code_id: int, why: str, note: str, who: Reporter) -> None:
    """The buyer says that a delivered code does not work: one question for each code, with what we know of it.

    :raises Refused: no such code on an order that this browser may see, or it was reported or replaced before.
    """
    await db.transaction(_report, ref, code_id, why, note, who)


async def _report(tx: Tx, ref: str, code_id: int, why: str, note: str, who: Reporter) -> None:
    order = await tx.fetchrow(MINE, ref, who.session_hash)
    code = await replace.find(tx, order["id"], code_id) if order else None
    if order is None or code is None or order["payment_state"] != "paid":
        raise Refused(_("This code does not belong to your order."), "code")
    if why not in words.BAD_CODE:
        raise Refused(_("Choose what is wrong with it."), "why")
    if code.replaced_by is not None:
        raise Refused(_("This code was replaced already."), "code")
    if not await replace.report(tx, code_id):
        raise Refused(_("You have told us about this code already. A person is looking at it."), "code")
    said = {"why": why, "note": note.strip()[:500], "ip": who.ip or "", "agent": who.agent[:300]}
    await _ask(tx, order, code, {**said, "shown": await replace.shown(tx, code_id)})
    await timeline.add(tx, order["id"], "code_reported", "buyer", {"code": code.mask, "why": why})


# Found good once, and asked about anew.
ASK_AGAIN = "UPDATE review_item SET data = $2 WHERE key = $1 AND state = 'done' RETURNING id"


async def _ask(tx: Tx, order: Any, code: Delivered, data: dict[str, Any]) -> None:
    data = {"code": code.id, "mask": code.mask, **data}
    settled = await tx.fetchval(ASK_AGAIN, key(code.id), data)
    if settled is not None:
        await review.reopen(tx, [settled])
        return
    await review.open_item(
        tx,
        order["shop_id"],
        KIND,
        key(code.id),
        _("a delivered code does not work"),
        order_id=order["id"],
        data=data,
    )


# -- staff ------------------------------------------------------------------------------


async def give_another(
    shop_id: int, ref: str, code_id: int, reason: str, staff_id: int, ip: str | None = None
) -> Replaced:
    """Give a new code of the same SKU for a bad one; without stock the question goes to the review queue.

    :raises Refused: not a delivered code of a paid order, it was replaced before, or is our own and was redeemed.
    """
    return await db.transaction(_give_another, shop_id, ref, code_id, reason, staff_id, ip)


async def _give_another(
    tx: Tx, shop_id: int, ref: str, code_id: int, reason: str, staff_id: int, ip: str | None
) -> Replaced:
    order, old = await _delivered(tx, shop_id, ref, code_id)
    if old.replaced_by is not None:
        raise Refused(_("This code was replaced already."))
    new = await replace.replace(tx, old, shared=await replace.is_shared(tx, old.batch_id))
    if new is None:
        await _ask(tx, order, old, {"why": "other", "note": reason.strip()[:500], "by_staff": staff_id})
        await timeline.add(tx, order["id"], "code_waits", f"staff:{staff_id}", {"code": old.mask})
        return Replaced()
    if not await redeem.replaced(tx, old.id):
        raise Refused(_("This code was redeemed, so it works: there is nothing to replace."))
    await _book(tx, order, new)
    detail = {"old": old.mask, "new": new.mask, "reason": reason.strip()[:300]}
    await timeline.add(tx, order["id"], "code_replaced", f"staff:{staff_id}", detail)
    ids = {"old_code": old.id, "new_code": new.id}
    await audit.record(
        tx, f"staff:{staff_id}", "code.replaced", f"order:{ref}", {**detail, **ids}, shop_id=shop_id, ip=ip
    )
    await _close(tx, code_id, staff_id, "replaced")
    return Replaced(new.mask, tuple(await _tell(tx, order, new)))


async def is_good(shop_id: int, ref: str, code_id: int, note: str, staff_id: int, ip: str | None = None) -> None:
    """Staff looked at what the buyer said and found the code good: the question is closed, with a note.

    :raises Refused: nobody asks about this code (any more).
    """
    await db.transaction(_is_good, shop_id, ref, code_id, note, staff_id, ip)


async def _is_good(tx: Tx, shop_id: int, ref: str, code_id: int, note: str, staff_id: int, ip: str | None) -> None:
    order, code = await _delivered(tx, shop_id, ref, code_id)
    if not await _close(tx, code_id, staff_id, "good"):
        raise Refused(_("Nobody asks about this code any more."))
    detail = {"code": code.mask, "note": note.strip()[:300]}
    await timeline.add(tx, order["id"], "code_found_good", f"staff:{staff_id}", detail)
    await audit.record(tx, f"staff:{staff_id}", "code.found_good", f"order:{ref}", detail, shop_id=shop_id, ip=ip)


async def _delivered(tx: Tx, shop_id: int, ref: str, code_id: int) -> tuple[Any, Delivered]:
    order = await tx.fetchrow("SELECT * FROM orders_order WHERE ref = $1 AND shop_id = $2 FOR UPDATE", ref, shop_id)
    code = await replace.find(tx, order["id"], code_id) if order else None
    if order is None or code is None:
        raise Refused(_("There is no such code on this order."))
    if order["payment_state"] != "paid":
        raise Refused(_("Codes are replaced only on paid orders."))
    return order, code


async def _close(tx: Tx, code_id: int, staff_id: int, resolution: str) -> bool:
    item_id = await tx.fetchval("SELECT id FROM review_item WHERE key = $1 AND state = 'open'", key(code_id))
    return item_id is not None and await review.resolve(tx, item_id, staff_id, resolution)


async def _book(tx: Tx, order: Any, new: Given) -> None:
    """The sale was booked with the first code; a second one for the same money costs the shop."""
    if order["test"] or not new.unit_cost:
        return
    currency = await tx.fetchval("SELECT currency FROM shops_shop WHERE id = $1", order["shop_id"])
    money = Money(new.unit_cost, currency)
    source = f"replacement:{new.id}"
    await ledger.move(tx, order["shop_id"], "replacement", source, money, COST, STOCK, order_id=order["id"])


async def _tell(tx: Tx, order: Any, new: Given) -> list[int]:
    if order["contact_kind"] != "email":
        return []
    unique = f"{order['ref']}:{new.id}"
    return await messages.queue(
        tx, order["shop_id"], order["id"], CODE_REPLACED.key, order["contact"], order["locale"], unique
    )
