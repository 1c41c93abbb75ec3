"""A purchase in three phases: its row is committed, the supplier is called outside any transaction, the outcome is
written in one short transaction.

What is not certain is asked about under our reference, then a person decides. Nothing is ever bought a second time
while the first may have happened.
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from core import clock, db
from core.audit import service as audit
from core.crash_point import crash_point
from core.db import Tx
from core.fulfilment import service as fulfilment
from core.fulfilment.service import PURCHASE_FAILED, PURCHASE_ODD, PURCHASE_UNKNOWN
from core.hooks import runtime
from core.hooks.http import NotSent
from core.jobs import Lease, Retry, bell, enqueue, ring
from core.ledger import service as ledger
from core.ledger.chart import COST, SUPPLIER
from core.messages import service as messages
from core.money import Money
from core.review import service as review
from core.supply import answers, purchases, sync
from core.supply.supplier import (
    AboveCap,
    Delivers,
    OutOfStock,
    PurchaseAnswer,
    PurchaseState,
    Supplier,
    SupplierRefused,
    SupplierUnavailable,
)
from core.tasks import strangers_code
from core.vault import bought, keys, stock
from core.vault.bought import Shelf, Taken, Text
from core.vault.code_text import storable
from core.web.i18n import _, source

log = logging.getLogger("vouchsafe.supply")

SENDS = 3
"""How often a request that certainly did not arrive is sent before the next offer is tried."""
SEND_PAUSE = 5
PLUGIN_PAUSE = 20
BEFORE_ABSENT_COUNTS = timedelta(seconds=purchases.CALL_SECONDS + 120)
"""A request that is still on its way is not known to the supplier yet: the call itself must be over for certain, and
what was signed for a minute is taken for two where the other clock is a minute behind."""
ASKED_BEFORE_A_PERSON = 3
NO_ANSWER = source(_("it did not answer in time"))
NOT_KNOWN = source(_("the supplier does not know this purchase"))

LOST = """
SELECT id FROM supply_purchase purchase WHERE state = 'created' AND created_at < now() - interval '1 minute'
  AND NOT EXISTS (SELECT 1 FROM jobs_job job WHERE job.name = $1 AND job.state IN ('queued', 'running')
                  AND (job.args ->> 'purchase')::bigint = purchase.id)
LIMIT 50
"""


# -- the call ---------------------------------------------------------------------------


async def go_on(purchase_id: int, lease: Lease | None = None) -> None:
    """Send a purchase that was not sent yet; ask about one that may have been sold."""
    row = await purchases.load(purchase_id)
    if row is None or not (row["state"] in purchases.LIVE or purchases.lacks_cost(row)):
        return
    supplier = sync.supplier(row["supplier"])
    if row["state"] == "created":
        if supplier is None:
            await _nobody_sells(row, lease)
        else:
            await _buy(supplier, row, lease)
    elif supplier is None:
        await _ask_later(row)
    elif row["state"] == "done":
        await _ask_for_cost(supplier, row)
    else:
        await _ask(supplier, row)
    await bell.ring(f"order:{row['order_ref']}", "purchase")


async def go_on_apart(purchase_id: int) -> None:
    """The same for one of many: whatever goes wrong with it, the others go on. It is asked about again later."""
    try:
        await go_on(purchase_id)
    except db.AWAY:
        raise
    except Exception as error:  # noqa: BLE001  one purchase's mistake of any kind
        log.error("purchase %d: %s", purchase_id, type(error).__name__)


async def _nobody_sells(row: Any, lease: Lease | None) -> None:
    """It may be back in a moment, after a restart or when settings were saved; nobody is to wait for longer."""
    text = source(_("the plugin of this supplier is off or broken"))
    if lease is not None and lease.tries < SENDS:
        raise Retry(text, PLUGIN_PAUSE)
    await _failed(row, "not_sent", text)


async def _buy(supplier: Supplier, row: Any, lease: Lease | None) -> None:
    # What is bought must be sealed: without the key nobody buys.
    keys.current().check_opens_codes()
    if not await _write(lease, _mark_sent, row["id"], supplier):
        return
    crash_point("purchase.sent")
    try:
        async with strangers_code(purchases.CALL_SECONDS):
            answer = await supplier.purchase(_view(row, "purchase"))
    except NotSent as error:
        await _not_sent(row, str(error), lease)
    except (AboveCap, OutOfStock) as error:
        why = "above_cap" if isinstance(error, AboveCap) else "out_of_stock"
        await _failed(row, why, str(error))
    except SupplierRefused as error:
        await _failed(row, "refused", str(error))
    except (SupplierUnavailable, TimeoutError) as error:
        await _in_doubt(supplier, row, "unknown", str(error) or NO_ANSWER)
    except Exception as error:  # noqa: BLE001  a plugin's mistake of any kind
        # Whatever broke in the plugin, it broke after the request may have gone out.
        _broke(row, error)
        await _in_doubt(supplier, row, "unknown", type(error).__name__)
    else:
        crash_point("purchase.answered")
        await take_or_doubt(supplier, row, answer)


async def _write(lease: Lease | None, work: Any, *args: Any) -> Any:
    return await lease.write(work, *args) if lease else await db.transaction(work, *args)


async def _mark_sent(tx: Tx, purchase_id: int, supplier: Supplier) -> bool:
    order, purchase = await purchases.locked(tx, purchase_id)
    if not _still_wanted(order):
        await purchases.failed(tx, purchase, "given_up", source(_("the order wants it no more")), "system")
        return False
    return await purchases.mark_sent(tx, purchase, supplier)


def _still_wanted(order: Any) -> bool:
    return order["payment_state"] == "paid" and order["fulfilment_state"] in ("preparing", "review")


async def _not_sent(row: Any, error: str, lease: Lease | None) -> None:
    if lease is not None and lease.tries < SENDS:
        await lease.write(_back, row["id"], error)
        raise Retry(error, SEND_PAUSE)
    await _failed(row, "not_sent", error)


async def _back(tx: Tx, purchase_id: int, error: str) -> None:
    _order, purchase = await purchases.locked(tx, purchase_id)
    await purchases.not_sent(tx, purchase, error)


async def gave_up(tx: Tx, args: dict[str, Any], error: str) -> None:
    """The job ends. Never sent: the line goes to the next offer or a person. Sent: the clock goes on asking."""
    order, purchase = await purchases.locked(tx, args["purchase"])
    if purchase is not None and purchase["state"] == "created":
        await end_unsold(tx, order, purchase, "not_sent", error, "system")


def _view(row: Any, came_by: str) -> Any:
    return purchases.view(row, runtime.current().base_url, answers.keeper(row, came_by))


# -- asking what became of it -----------------------------------------------------------


async def _ask(supplier: Supplier, row: Any) -> None:
    row = await _counted(supplier, row)
    try:
        async with strangers_code(purchases.CALL_SECONDS):
            answer = await supplier.query(_view(row, "query"))
    except SupplierRefused as error:
        await _in_doubt(supplier, row, _doubt(row), str(error) or source(_("the supplier does not say")), at_once=True)
    except (SupplierUnavailable, NotSent, TimeoutError) as error:
        await _in_doubt(supplier, row, _doubt(row), str(error) or NO_ANSWER)
    except Exception as error:  # noqa: BLE001  a plugin's mistake of any kind
        _broke(row, error)
        await _in_doubt(supplier, row, _doubt(row), type(error).__name__)
    else:
        crash_point("purchase.asked")
        if answer is not None:
            await take_or_doubt(supplier, row, answer)
        elif _is_unsold(supplier, row):
            await _failed(row, "absent", NOT_KNOWN)
        else:
            await _in_doubt(supplier, row, _doubt(row), NOT_KNOWN)


async def _counted(supplier: Supplier, row: Any) -> Any:
    """The purchase as it is once it is asked about one more time."""
    asked = await db.fetchval(
        "UPDATE supply_purchase SET queries = queries + 1, next_query_at = $2 WHERE id = $1 RETURNING queries",
        row["id"],
        purchases.next_question(supplier, row, row["queries"] + 1),
    )
    return {**row, "queries": asked}


def _is_unsold(supplier: Supplier, row: Any) -> bool:
    """Whether it means that nothing was sold when the supplier does not know the purchase. Not after it took it on."""
    never_came = row["state"] != "waiting" and row["sent_at"] + BEFORE_ABSENT_COUNTS < clock.now()
    return supplier.absent_means_unsold and bool(never_came)


def _doubt(row: Any) -> str:
    """What the supplier has accepted once is waited for, whatever it says meanwhile."""
    return "waiting" if row["state"] == "waiting" else "unknown"


async def _ask_later(row: Any) -> None:
    """Its plugin is off or broken now."""
    await db.execute(
        "UPDATE supply_purchase SET next_query_at = $2 WHERE id = $1", row["id"], clock.now() + timedelta(minutes=1)
    )


# -- what it cost -----------------------------------------------------------------------


async def _ask_for_cost(supplier: Supplier, row: Any) -> None:
    """The goods came and not what they cost: without that the books are wrong."""
    row, answer = await _counted(supplier, row), None
    try:
        async with strangers_code(purchases.CALL_SECONDS):
            answer = await supplier.query(_view(row, "query"))
    except (SupplierRefused, SupplierUnavailable, NotSent, TimeoutError):
        pass
    except Exception as error:  # noqa: BLE001  a plugin's mistake of any kind
        _broke(row, error)
    if answer is not None and answer.cost is not None and answer.cost.amount >= 0:
        await db.transaction(_book_late, row["id"], answer.cost)
    elif row["queries"] >= len(supplier.query_after):
        await db.transaction(_ask_about_cost, row["id"])


async def _book_late(tx: Tx, purchase_id: int, cost: Money) -> None:
    order, purchase = await purchases.locked(tx, purchase_id)
    if not purchases.lacks_cost(purchase):
        return
    await purchases.cost_known(tx, purchase, cost)
    await _book(tx, order, purchase, cost)
    await tx.execute(
        "UPDATE review_item SET state = 'done', resolution = 'seen', resolved_at = now()"
        " WHERE key = $1 AND state = 'open'",
        _about_cost(purchase),
    )


def _about_cost(purchase: Any) -> str:
    return f"{PURCHASE_ODD}:{purchase['ref']}:cost"


async def _ask_about_cost(tx: Tx, purchase_id: int) -> None:
    order, purchase = await purchases.locked(tx, purchase_id)
    if purchases.lacks_cost(purchase):
        await review.open_item(
            tx,
            order["shop_id"],
            PURCHASE_ODD,
            _about_cost(purchase),
            _("the supplier delivered and does not say what it cost: the books lack it"),
            order_id=order["id"],
            data=_evidence(purchase, ""),
        )


# -- the outcome ------------------------------------------------------------------------


async def take_or_doubt(supplier: Supplier, row: Any, answer: PurchaseAnswer) -> None:
    """An answer that cannot be written down is none: it lies sealed, and a person will look at it."""
    try:
        await take(supplier, row, answer)
    except db.AWAY:
        raise
    except Exception as error:  # noqa: BLE001  a plugin's mistake of any kind
        _broke(row, error)
        await _in_doubt(supplier, row, _doubt(row), type(error).__name__)


def _broke(row: Any, error: Exception) -> None:
    """Where it broke and how. Its text and its values are left out: they may quote a code."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    kind = type(error).__name__
    log.error("supplier %s and %s: %s in %s:%s", row["supplier"], row["ref"], kind, place.filename, place.lineno)


async def take(supplier: Supplier, row: Any, answer: PurchaseAnswer) -> None:
    """What the supplier said for certain is written down whoever asked. It is asked again what goods cost that came
    without that.

    :raises ValueError: it cannot be.
    """
    if answer.cost is not None and answer.cost.amount < 0:
        raise ValueError("it charged less than nothing")
    answer = replace(answer, supplier_ref=storable(answer.supplier_ref), text=storable(answer.text))
    actor = f"supplier:{supplier.key}"
    match answer.state:
        case PurchaseState.DONE:
            cost_at = purchases.next_question(supplier, row, row["queries"])
            await ring(*await db.transaction(_done, row["id"], answer, actor, cost_at))
            crash_point("purchase.booked")
        case PurchaseState.FAILED:
            await _failed(row, "failed", answer.text, actor)
        case PurchaseState.WAITING:
            await _in_doubt(supplier, row, "waiting", answer.text, supplier_ref=answer.supplier_ref)


async def _in_doubt(
    supplier: Supplier, row: Any, state: str, text: str, *, supplier_ref: str = "", at_once: bool = False
) -> None:
    text = storable(text)
    next_at = purchases.next_question(supplier, row, row["queries"])
    exhausted = at_once or row["queries"] >= len(supplier.query_after)
    ask = exhausted or (state == "unknown" and row["queries"] >= ASKED_BEFORE_A_PERSON)
    await ring(*await db.transaction(_write_doubt, row["id"], state, text, next_at, supplier_ref, ask))


async def _write_doubt(
    tx: Tx, purchase_id: int, state: str, text: str, next_at: Any, supplier_ref: str, ask: bool
) -> list[int]:
    order, purchase = await purchases.locked(tx, purchase_id)
    if not await purchases.in_doubt(tx, purchase, state, text, next_at, supplier_ref) or not ask:
        return []
    return await _ask_a_person(tx, order, purchase, text)


async def _ask_a_person(tx: Tx, order: Any, purchase: Any, text: str) -> list[int]:
    """Nobody knows whether it was sold: the order waits for a person, and the supplier goes on being asked."""
    key = f"{PURCHASE_UNKNOWN}:{purchase['ref']}"
    if await tx.fetchval("SELECT EXISTS (SELECT 1 FROM review_item WHERE key = $1)", key):
        return []
    if _still_wanted(order):
        await tx.execute("UPDATE orders_order SET fulfilment_state = 'review' WHERE id = $1", order["id"])
        await tx.execute("UPDATE orders_line SET state = 'review' WHERE id = $1", purchase["line_id"])
    await purchases.tell_order(tx, purchase, "needs_review", "system", {"reason": text[:300]})
    await review.open_item(
        tx,
        order["shop_id"],
        PURCHASE_UNKNOWN,
        key,
        _("nobody knows whether the supplier sold it"),
        order_id=order["id"],
        data=_evidence(purchase, text),
    )
    return await messages.order_settled(tx, order, delivered=False) if _still_wanted(order) else []


def _evidence(purchase: Any, text: str) -> dict[str, Any]:
    return {
        "purchase": purchase["id"],
        "ref": purchase["ref"],
        "supplier": purchase["supplier"],
        "reason": text[:300],
        "href": f"/admin/purchases/{purchase['id']}",
    }


async def _failed(row: Any, why: str, text: str, actor: str = "") -> None:
    actor = actor or f"supplier:{row['supplier']}"
    await ring(*await db.transaction(_write_failed, row["id"], why, storable(text), actor))


async def _write_failed(tx: Tx, purchase_id: int, why: str, text: str, actor: str) -> list[int]:
    order, purchase = await purchases.locked(tx, purchase_id)
    if purchase["state"] not in purchases.LIVE:
        if purchase["state"] == "done":
            await _alarm(tx, order, purchase, _("the supplier says it failed after it was delivered"))
        return []
    return await end_unsold(tx, order, purchase, why, text, actor)


async def end_unsold(tx: Tx, order: Any, purchase: Any, why: str, text: str, actor: str) -> list[int]:
    """Certainly nothing was sold: buy at the next offer, or let a person decide."""
    await purchases.failed(tx, purchase, why, text, actor)
    await _close_doubt(tx, purchase, "unsold")
    if not _still_wanted(order):
        return []
    jobs = await fulfilment.buy(tx, order, purchase["line_id"])
    if jobs:
        await is_preparing(tx, order, purchase["line_id"])
        return jobs
    return await messages.order_settled(tx, order, delivered=False)


async def is_preparing(tx: Tx, order: Any, line_id: int) -> None:
    await tx.execute("UPDATE orders_line SET state = 'preparing' WHERE id = $1 AND state = 'review'", line_id)
    await tx.execute(
        "UPDATE orders_order SET fulfilment_state = 'preparing' WHERE id = $1 AND fulfilment_state = 'review'"
        " AND NOT EXISTS (SELECT 1 FROM orders_line WHERE order_id = $1 AND state = 'review')",
        order["id"],
    )


async def _close_doubt(tx: Tx, purchase: Any, resolution: str) -> None:
    await tx.execute(
        "UPDATE review_item SET state = 'done', resolution = $2, resolved_at = now() WHERE key = $1 AND state = 'open'",
        f"{PURCHASE_UNKNOWN}:{purchase['ref']}",
        resolution,
    )


# -- it was sold ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sold:
    """What a supplier, or a person who looked there, says was sold."""

    texts: tuple[Text, ...] = field(repr=False)
    cost: Money | None
    supplier_ref: str
    unseen: bool = True
    """No person has looked at the texts."""


def sold(answer: PurchaseAnswer) -> Sold:
    texts = tuple(Text(bought.joined(good.code, good.pin), good.expires_on) for good in answer.goods)
    return Sold(texts, answer.cost, answer.supplier_ref)


async def _done(tx: Tx, purchase_id: int, answer: PurchaseAnswer, actor: str, cost_at: datetime) -> list[int]:
    order, purchase = await purchases.locked(tx, purchase_id)
    if purchase["state"] == "done":
        return []
    if purchase["state"] == "failed":
        await _sold_after_all(tx, order, purchase)
        return []
    jobs = await end_sold(tx, order, purchase, sold(answer), actor)
    if answer.cost is None:
        await purchases.ask_for_cost(tx, purchase, cost_at)
    return jobs


async def end_sold(tx: Tx, order: Any, purchase: Any, what: Sold, actor: str) -> list[int]:
    """Codes to the line, cost to the books, the order delivered when nothing is missing any more."""
    line = await tx.fetchrow(purchases.LINE, purchase["line_id"])
    wanted = await purchases.missing_of(tx, line) if _still_wanted(order) else 0
    taken = await _put_in(tx, order, purchase, what, min(wanted, purchase["quantity"]))
    codes = purchase["delivers"] == Delivers.CODES
    got = len(taken.bound) if codes else purchase["quantity"]
    await purchases.done(tx, purchase, got, what.cost, what.supplier_ref)
    crash_point("purchase.codes_sealed")
    await _book(tx, order, purchase, what.cost)
    await purchases.tell_order(tx, purchase, "done", actor, {"codes": taken.bound, "pieces": got})
    await _close_doubt(tx, purchase, "sold")
    if not _still_wanted(order):
        await _question(tx, order, purchase, "not_wanted", _("bought for an order that wants it no more"), taken)
        return []
    if codes and (got < purchase["quantity"] or not taken.is_clean):
        await _question(tx, order, purchase, "odd", _("the supplier delivered something else than was bought"), taken)
    return await _after_goods(tx, order, purchase, line, short=codes and got < purchase["quantity"])


async def _put_in(tx: Tx, order: Any, purchase: Any, what: Sold, wanted: int) -> Taken:
    timezone = await tx.fetchval("SELECT timezone FROM shops_shop WHERE id = $1", order["shop_id"])
    shelf = Shelf(
        order["shop_id"],
        purchase["sku_id"],
        purchase["line_id"] if wanted else None,
        purchase["supplier"],
        f"{purchase['supplier']} {purchase['ref']}",
        what.unseen,
    )
    return await bought.put_in(tx, shelf, what.texts, wanted, stock.today(timezone))


async def _book(tx: Tx, order: Any, purchase: Any, cost: Money | None) -> None:
    if cost is None or order["test"]:
        return
    await ledger.move(
        tx,
        order["shop_id"],
        "purchase",
        f"purchase:{purchase['ref']}",
        cost,
        debit=COST,
        credit=SUPPLIER.format(purchase["supplier"]),
        order_id=order["id"],
    )
    cap = Money(purchase["price_cap"], purchase["currency"])
    if cost.currency != cap.currency or cost.amount > cap.amount:
        await _alarm(tx, order, purchase, _("the supplier charged more than the price cap"))


async def _after_goods(tx: Tx, order: Any, purchase: Any, line: Any, *, short: bool) -> list[int]:
    if purchase["delivers"] == Delivers.TOP_UP and not await purchases.missing_of(tx, line):
        await tx.execute("UPDATE orders_line SET state = 'delivered' WHERE id = $1", line["id"])
    done = await fulfilment.carry_on(tx, order)
    if done is not None:
        return done.jobs
    if short:
        # It was charged for and did not come: buying more on its own would pay twice.
        await fulfilment.wait_for_a_person(
            tx,
            order,
            PURCHASE_FAILED,
            _("the supplier delivered less than was bought"),
            line_id=line["id"],
            again=line["purchases"],
            data=_evidence(purchase, ""),
        )
        return await messages.order_settled(tx, order, delivered=False)
    if await purchases.missing_of(tx, line):
        return await fulfilment.buy(tx, order, line["id"])
    await is_preparing(tx, order, line["id"])
    return []


async def _question(tx: Tx, order: Any, purchase: Any, about: str, words: Any, taken: Taken) -> None:
    """Codes that were seen before, too many, too few, unfit: nobody gets them before a person has looked."""
    facts = {"aside": taken.aside, "seen_before": taken.seen, "unfit": taken.unfit, "delivered": taken.bound}
    await review.open_item(
        tx,
        order["shop_id"],
        PURCHASE_ODD,
        f"{PURCHASE_ODD}:{purchase['ref']}:{about}",
        words,
        order_id=order["id"],
        data={**_evidence(purchase, ""), **facts},
    )
    if taken.seen:
        await _alarm(tx, order, purchase, _("the supplier sold a code that this shop has had before"))


async def _sold_after_all(tx: Tx, order: Any, purchase: Any) -> None:
    """It had been counted as unsold, perhaps bought elsewhere. What came lies sealed with the purchase."""
    await _alarm(tx, order, purchase, _("the supplier says it sold what had failed"))
    await review.open_item(
        tx,
        order["shop_id"],
        PURCHASE_ODD,
        f"{PURCHASE_ODD}:{purchase['ref']}:after_all",
        _("the supplier says it sold what had failed"),
        order_id=order["id"],
        data=_evidence(purchase, purchase["error"]),
    )


async def _alarm(tx: Tx, order: Any, purchase: Any, words: Any) -> None:
    await audit.alarm(
        tx,
        "supply.odd_purchase",
        f"supplier:{purchase['supplier']}",
        words,
        {"purchase": purchase["ref"], "order": order["ref"]},
        shop_id=order["shop_id"],
    )


# -- what the clock finds ---------------------------------------------------------------


async def lost() -> list[int]:
    """Purchases whose job was taken out of the queue; gives their new jobs."""
    rows = await db.fetch(LOST, fulfilment.BUY)
    return [await db.transaction(enqueue, fulfilment.BUY, {"purchase": row["id"]}) for row in rows]
