"""What a person decides about a purchase nobody is sure of, or one that came to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core import db
from core.audit import service as audit
from core.audit.person import Person
from core.db import Tx
from core.fulfilment import buying
from core.fulfilment import service as fulfilment
from core.fulfilment.buying import Sold
from core.jobs import enqueue
from core.money import Money
from core.refused import Refused
from core.review import service as review
from core.supply import purchases, skus
from core.supply.supplier import Delivers
from core.vault import bought, keys
from core.web.i18n import _, locale, source


async def was_sold(purchase_id: int, pasted: str, cost: Money | None, who: Person) -> list[int]:
    """The person looked there: the supplier did sell, and these are the codes. Gives the jobs to ring for.

    :raises Refused: it is decided already, or codes are missing.
    """
    keys.current().check_opens_codes()
    return await db.transaction(_was_sold, purchase_id, pasted, cost, who)


async def _was_sold(tx: Tx, purchase_id: int, pasted: str, cost: Money | None, who: Person) -> list[int]:
    order, purchase = await _in_doubt(tx, purchase_id, who)
    texts = tuple(bought.lines_of(pasted))
    if cost is not None and cost.amount < 0:
        raise Refused(_("Write an amount in digits, such as 19.90."), "cost")
    if purchase["delivers"] == Delivers.CODES and len(texts) != purchase["quantity"]:
        raise Refused(_("Enter %(count)d codes, one in each line.", count=purchase["quantity"]), "codes")
    await _record(tx, purchase, "purchase.was_sold", who, {"codes": len(texts)})
    jobs = await buying.end_sold(tx, order, purchase, Sold(texts, cost, "", unseen=False), who.actor)
    await _close_questions(tx, purchase, who, "sold")
    return jobs


async def was_not_sold(purchase_id: int, offer_id: int | None, who: Person) -> list[int]:
    """The person looked there: the supplier did not sell and will not. It is bought anew, by ``offer_id`` or routing.

    :raises Refused: it is decided already, or there is no such offer.
    """
    return await db.transaction(_was_not_sold, purchase_id, offer_id, who)


async def _was_not_sold(tx: Tx, purchase_id: int, offer_id: int | None, who: Person) -> list[int]:
    order, purchase = await _in_doubt(tx, purchase_id, who)
    await _record(tx, purchase, "purchase.was_not_sold", who, {})
    if offer_id is None:
        jobs = await buying.end_unsold(tx, order, purchase, "looked", _looked(), who.actor)
    else:
        await purchases.failed(tx, purchase, "looked", _looked(), who.actor)
        jobs = await _begin(tx, order, purchase["line_id"], offer_id, who)
    await _close_questions(tx, purchase, who, "unsold")
    return jobs


def _looked() -> str:
    return source(_("a person looked at the supplier's"))


async def _in_doubt(tx: Tx, purchase_id: int, who: Person) -> tuple[Any, Any]:
    order, purchase = await purchases.locked(tx, purchase_id)
    if order is None or order["shop_id"] != who.shop_id:
        raise Refused(_("There is no such purchase."))
    if purchase["state"] not in purchases.IN_DOUBT:
        raise Refused(_("This was decided already."))
    return order, purchase


async def buy_again(shop_id: int, ref: str, line_id: int, offer_id: int, who: Person) -> list[int]:
    """A line that waits for a person is bought by the offer they chose. Gives the jobs to ring for.

    :raises Refused: the line does not wait, an earlier purchase may still become a sale, or the offer does not do.
    """
    return await db.transaction(_buy_again, shop_id, ref, line_id, offer_id, who)


async def _buy_again(tx: Tx, shop_id: int, ref: str, line_id: int, offer_id: int, who: Person) -> list[int]:
    order = await tx.fetchrow("SELECT * FROM orders_order WHERE ref = $1 AND shop_id = $2 FOR UPDATE", ref, shop_id)
    line = await tx.fetchrow(purchases.LINE, line_id) if order else None
    if order is None or line is None or line["order_id"] != order["id"]:
        raise Refused(_("There is no such order."))
    if order["payment_state"] != "paid" or order["held"] or line["state"] not in ("preparing", "review"):
        raise Refused(_("This line does not wait for anybody."))
    if await fulfilment.is_being_bought(tx, line_id):
        raise Refused(_("A supplier may still deliver it. Decide about that purchase first."))
    jobs = await _begin(tx, order, line_id, offer_id, who)
    items = await tx.fetch(
        "SELECT id FROM review_item WHERE order_id = $1 AND state = 'open' AND kind = $2"
        " AND (data ->> 'line')::bigint = $3",
        order["id"],
        fulfilment.PURCHASE_FAILED,
        line_id,
    )
    for item in items:
        await review.resolve(tx, item["id"], who.staff_id, "seen")
    return jobs


async def _begin(tx: Tx, order: Any, line_id: int, offer_id: int, who: Person) -> list[int]:
    """Buy by that offer, at no more than the line was sold for; a person may go up to what the offer costs now."""
    line = await tx.fetchrow(purchases.LINE, line_id)
    missing = await purchases.missing_of(tx, line)
    for row in await tx.fetch(skus.OF_SKUS, [line["sku_id"]]):
        for offer in skus.linked(row):
            chosen = purchases.with_cap({**row, "below_margin": "alarm"}, offer, line, missing)
            if offer.id == offer_id and chosen is not None:
                purchase = await purchases.begin(tx, order, line, chosen, who.actor)
                detail = {"ref": purchase["ref"], "supplier": offer.supplier, "cap": chosen.cap.plain()}
                await audit.record(
                    tx, who.actor, "purchase.begun", f"order:{order['ref']}", detail, shop_id=who.shop_id, ip=who.ip
                )
                await buying.is_preparing(tx, order, line_id)
                return [await enqueue(tx, fulfilment.BUY, {"purchase": purchase["id"]})]
    raise Refused(_("This offer cannot be bought now."), "offer")


async def seen(purchase_id: int, who: Person) -> None:
    """A purchase that was not as it should be: what there was to do is done.

    :raises Refused: nobody asks about it (any more).
    """
    await db.transaction(_seen, purchase_id, who)


async def _seen(tx: Tx, purchase_id: int, who: Person) -> None:
    order, purchase = await purchases.locked(tx, purchase_id)
    if order is None or order["shop_id"] != who.shop_id:
        raise Refused(_("There is no such purchase."))
    if not await _close_questions(tx, purchase, who, "seen", fulfilment.PURCHASE_ODD):
        raise Refused(_("This was decided already."))
    await _record(tx, purchase, "purchase.seen", who, {})


async def _close_questions(tx: Tx, purchase: Any, who: Person, resolution: str, kind: str = "") -> int:
    items = await tx.fetch(
        "SELECT id FROM review_item WHERE order_id = $1 AND state = 'open' AND kind = ANY($2) AND data ->> 'ref' = $3",
        purchase["order_id"],
        [kind] if kind else [fulfilment.PURCHASE_UNKNOWN],
        purchase["ref"],
    )
    for item in items:
        await review.resolve(tx, item["id"], who.staff_id, resolution)
    return len(items)


async def _record(tx: Tx, purchase: Any, act: str, who: Person, detail: dict[str, Any]) -> None:
    await purchases.note(tx, purchase, act.rpartition(".")[2], who.actor, detail)
    await audit.record(tx, who.actor, act, f"purchase:{purchase['ref']}", detail, shop_id=who.shop_id, ip=who.ip)


async def ask_now(purchase_id: int, shop_id: int) -> list[int]:
    """Ask the supplier at once instead of when it is due; gives the job."""
    return await db.transaction(_ask_now, purchase_id, shop_id)


async def _ask_now(tx: Tx, purchase_id: int, shop_id: int) -> list[int]:
    _order, purchase = await purchases.locked(tx, purchase_id)
    if purchase is None or purchase["shop_id"] != shop_id or purchase["state"] not in purchases.LIVE:
        raise Refused(_("This was decided already."))
    return [await enqueue(tx, fulfilment.BUY, {"purchase": purchase_id})]


# -- what the pages show ----------------------------------------------------------------

OPEN = """
SELECT line.*, (SELECT max(id) FROM supply_purchase WHERE line_id = line.id AND state = ANY($2)) AS live
FROM orders_line line JOIN orders_order o ON o.id = line.order_id
WHERE line.order_id = $1 AND line.state IN ('preparing', 'review') AND line.source <> 'codes'
  AND o.payment_state = 'paid' AND NOT o.held ORDER BY line.id
"""


@dataclass(frozen=True, slots=True)
class OpenLine:
    """A line of a paid order whose goods are not there yet, and the offers it may be bought by."""

    id: int
    title: dict[str, str]
    quantity: int
    source: str
    live: int | None
    """The purchase that may still become a sale."""
    offers: list[tuple[int, str]]


async def open_lines(order_id: int) -> list[OpenLine]:
    rows = await db.fetch(OPEN, order_id, list(purchases.LIVE))
    return [
        OpenLine(
            row["id"], row["product_title"], row["quantity"], row["source"], row["live"], await offers_of(row["sku_id"])
        )
        for row in rows
    ]


async def offers_of(sku_id: int) -> list[tuple[int, str]]:
    rows = await db.fetch(skus.OF_SKUS, [sku_id])
    return [
        (offer.id, f"{offer.supplier} · {offer.title} · {offer.price.text(locale())}")
        for row in rows
        for offer in skus.linked(row)
        if offer.can_be_bought
    ]
