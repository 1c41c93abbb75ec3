"""Orders in the console: the list, one order with its whole timeline, and what staff may do with it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core import db
from core.audit import service as audit
from core.checkout import acts, held
from core.checkout.settle import OPEN, Outcome
from core.fulfilment import deciding
from core.fulfilment.console import PURCHASE
from core.jobs import bell, ring
from core.ledger.chart import BALANCE_METHOD
from core.messages import service as messages
from core.messages.console import STATES as MESSAGE_STATES
from core.messages.events import EVENTS
from core.money import Money
from core.orders import search, timeline, words
from core.orders import service as orders
from core.payments import money, queue, refunds
from core.people.sessions import Session
from core.refused import Refused
from core.review.queue import evidence_of
from core.supply import purchases
from core.web.errors import NotFound
from core.web.flash import flash
from core.web.forms import Line, read_form, read_query
from core.web.hx import safe_next
from core.web.i18n import _
from core.web.render import page, see_other
from core.web.visit import Visit

Size = Literal[20, 50, 100, 200]


class Filters(msgspec.Struct):
    q: Line = ""
    payment: Line = ""
    fulfilment: Line = ""
    sku: Line = ""
    page: Annotated[int, Meta(ge=1, le=100_000)] = 1
    size: Size = 50


class Noted(msgspec.Struct):
    note: Line = ""


class Confirmed(msgspec.Struct):
    note: Line = ""
    attempt: Line = ""


class Next(msgspec.Struct):
    next: Line = ""


class Decided(msgspec.Struct):
    note: Line = ""
    way: Line = "hand"
    next: Line = ""


def visit_of(request: Request[Any, Any, Any]) -> Visit:
    visit: Visit = request.scope["state"]["visit"]
    return visit


def staff_id(request: Request[Any, Any, Any]) -> int:
    session: Session = request.state.session
    return session.staff_id or 0


def _who(request: Request[Any, Any, Any]) -> refunds.Who:
    return refunds.Who(staff_id(request), visit_of(request).ip or None)


# -- looking ----------------------------------------------------------------------------


@get("/orders", opt={"who": "staff:orders.read"})
async def order_list(request: Request[Any, Any, Any]) -> Response[str]:
    asked = read_query(request, Filters)
    filters = search.Filters(**msgspec.structs.asdict(asked))
    rows, total = await search.find(visit_of(request).shop.id, filters)
    context = {
        "orders": [{**row, "money": Money(row["total"], row["currency"])} for row in rows],
        "total": total,
        "filters": filters,
        "given": {name: value for name, value in msgspec.to_builtins(asked).items() if value not in ("", 1)},
        "pages": max(1, -(-total // filters.size)),
        "skus": await _sku_codes(visit_of(request).shop.id),
        "payment_names": words.PAYMENT,
        "fulfilment_names": words.FULFILMENT,
    }
    return page(request, "checkout/order_list.html", context)


async def _sku_codes(shop_id: int) -> list[tuple[str, str]]:
    rows = await db.fetch("SELECT code FROM catalog_sku WHERE shop_id = $1 ORDER BY code LIMIT 500", shop_id)
    return [(row["code"], row["code"]) for row in rows]


@get("/orders/{ref:str}", opt={"who": "staff:orders.read"})
async def order_page(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[str]:
    return await _order_page(request, ref)


async def _order_page(request: Request[Any, Any, Any], ref: str, problem: Any = "", status: int = 200) -> Response[str]:
    order = await orders.for_staff(visit_of(request).shop.id, ref)
    if order is None:
        raise NotFound()
    context = {
        "order": order,
        "money": Money(order["total"], order["currency"]),
        "paid": Money(order["paid"], order["currency"]),
        "subtotal": Money(sum(line["total"] for line in order["lines"] or []), order["currency"]),
        "lines": order["lines"] or [],
        "attempts": order["attempts"] or [],
        "events": await _payment_events(order["id"]),
        "steps": await search.timeline_of(order["id"]),
        "messages": await db.fetch("SELECT * FROM messages_message WHERE order_id = $1 ORDER BY id", order["id"]),
        "questions": await db.fetch(
            "SELECT * FROM review_item WHERE order_id = $1 AND state = 'open' ORDER BY id", order["id"]
        ),
        "queue": await queue.of_order(visit_of(request).shop.id, order["id"]),
        "payments": [(one, refunds.way_back(one.method)) for one in await money.payments_of(order["id"])],
        "refunds": await db.fetch("SELECT * FROM payments_refund WHERE order_id = $1 ORDER BY id", order["id"]),
        "evidence": (await evidence_of([order["id"]])).get(order["id"], []),
        "held": await held.seen_by_staff(order) if held.waits(order) else None,
        "part_refunded": order["payment_state"] == "paid" and order["paid"] - order["refunded"] < order["total"],
        **_to_confirm(order),
        "kept_codes": _kept_codes(order["lines"] or []),
        "reveals": await _reveals(order["id"]),
        "message_events": EVENTS,
        "message_states": MESSAGE_STATES,
        "names": await _staff_names(visit_of(request).shop.id),
        "words": words,
        "problem": problem,
        "as_money": Money,
        "bringing_in": await deciding.open_lines(order["id"]),
        "bought": await purchases.of_order(order["id"]),
        "purchase_states": PURCHASE,
    }
    return page(request, "checkout/order_detail.html", context, status=status)


async def _payment_events(order_id: int) -> list[dict[str, Any]]:
    rows = await db.fetch("SELECT * FROM payments_event WHERE order_id = $1 ORDER BY id", order_id)
    return [{**row, "money": Money(row["amount"], row["currency"]) if row["currency"] else None} for row in rows]


def _to_confirm(order: dict[str, Any]) -> dict[str, Any]:
    """What staff may say came: the sum of the newest try that is not paid, and all such tries."""
    tries = [one for one in order["attempts"] or [] if one["state"] != "paid" and one["method"] != BALANCE_METHOD]
    if not tries or order["payment_state"] not in OPEN:
        return {"to_confirm": None, "to_confirm_options": []}
    options = [(one["ref"], f"{one['ref']} · {one['method']}") for one in reversed(tries)]
    return {"to_confirm": Money(tries[-1]["amount"], order["currency"]), "to_confirm_options": options}


def _kept_codes(lines: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """Codes of the order that were not erased."""
    codes = (code for line in lines for code in line["codes"] or [])
    return [(code["id"], code["mask"]) for code in codes if code["burned_at"] is None]


async def _reveals(order_id: int) -> list[Any]:
    return await db.fetch(
        "SELECT reveal.at, reveal.ip, reveal.agent, reveal.staff_id, reveal.export_id, code.mask"
        " FROM vault_reveal reveal JOIN vault_code code ON code.id = reveal.code_id"
        " JOIN orders_line line ON line.id = reveal.line_id"
        " WHERE line.order_id = $1 ORDER BY reveal.id DESC LIMIT 50",
        order_id,
    )


async def _staff_names(shop_id: int) -> dict[str, str]:
    """Actor names for the timeline: ``staff:3`` becomes a person."""
    rows = await db.fetch("SELECT id, name, email FROM people_staff WHERE shop_id = $1", shop_id)
    return {f"staff:{row['id']}": row["name"] or row["email"] for row in rows}


# -- acting -----------------------------------------------------------------------------


@post("/orders/{ref:str}/confirm-paid", opt={"who": "staff:orders.confirm_paid"})
async def confirm_paid(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    form = await read_form(request, Confirmed)
    visit = visit_of(request)
    try:
        settled = await acts.confirm_paid(
            visit.shop.id, ref, staff_id(request), form.note, visit.ip or None, form.attempt
        )
    except Refused as refused:
        return await _order_page(request, ref, refused.text, 409)
    await ring(*settled.jobs)
    await bell.ring(f"order:{ref}", settled.outcome)
    if settled.outcome is Outcome.DELIVERED:
        return flash(see_other(f"/admin/orders/{ref}"), _("Payment confirmed, codes delivered."))
    if settled.outcome is Outcome.PREPARING:
        return flash(see_other(f"/admin/orders/{ref}"), _("Payment confirmed, the goods are on their way."))
    if settled.outcome is Outcome.REPEAT:
        return flash(see_other(f"/admin/orders/{ref}"), _("This payment was confirmed before."), "info")
    order = await orders.for_staff(visit.shop.id, ref)
    if order is not None and held.waits(order):
        return flash(see_other(f"/admin/orders/{ref}"), _("Payment confirmed. Risk rules hold the order."), "warning")
    return flash(see_other(f"/admin/orders/{ref}"), _("Payment confirmed, but the codes are gone."), "warning")


@post("/orders/{ref:str}/cancel", opt={"who": "staff:orders.cancel"})
async def cancel(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    visit = visit_of(request)
    act = acts.cancel(visit.shop.id, ref, staff_id(request), visit.ip or None)
    return await _done(request, ref, act, _("Order cancelled, its codes are on sale again."))


@post("/orders/{ref:str}/deliver", opt={"who": "staff:review.decide"})
async def deliver(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    form = await read_form(request, Next)
    visit = visit_of(request)
    act = acts.deliver_anyway(visit.shop.id, ref, staff_id(request), visit.ip or None)
    return await _done(request, ref, act, _("Codes delivered."), form.next)


@post("/orders/{ref:str}/approve", opt={"who": "staff:review.decide"})
async def approve(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    form = await read_form(request, Decided)
    act = held.approve(visit_of(request).shop.id, ref, form.note, _who(request))
    return await _done(request, ref, act, _("Let go: what is paid and in stock is delivered."), form.next)


@post("/orders/{ref:str}/refuse", opt={"who": "staff:review.decide"})
async def refuse(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    form = await read_form(request, Decided)
    act = held.refuse(visit_of(request).shop.id, ref, form.way, form.note, _who(request))
    return await _done(request, ref, act, _("Refused: nothing is delivered, and the buyer is told."), form.next)


@post("/orders/{ref:str}/resend", opt={"who": "staff:orders.resend"})
async def resend(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    visit = visit_of(request)
    order = await orders.for_staff(visit.shop.id, ref)
    if order is None:
        raise NotFound()

    async def write(tx: db.Tx) -> list[int]:
        await audit.record(tx, f"staff:{staff_id(request)}", "order.resent", f"order:{ref}", shop_id=visit.shop.id)
        return await messages.resend(tx, order)

    try:
        await ring(*await db.transaction(write))
    except Refused as refused:
        return await _order_page(request, ref, refused.text, 409)
    return flash(see_other(f"/admin/orders/{ref}"), _("The message is on its way again."))


@post("/orders/{ref:str}/note", opt={"who": "staff:orders.note"})
async def note(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    form = await read_form(request, Noted)
    order = await orders.for_staff(visit_of(request).shop.id, ref)
    if order is None:
        raise NotFound()
    if form.note:
        await db.transaction(timeline.add, order["id"], "note", f"staff:{staff_id(request)}", {"note": form.note})
    return see_other(f"/admin/orders/{ref}")


async def _done(
    request: Request[Any, Any, Any], ref: str, act: Awaitable[list[int] | None], said: Any, back: str = ""
) -> Response[Any]:
    try:
        await ring(*(await act or ()))
    except Refused as refused:
        return await _order_page(request, ref, refused.text, 409)
    await bell.ring(f"order:{ref}", "changed")
    return flash(see_other(safe_next(back, f"/admin/orders/{ref}")), said)


ROUTES = (
    order_list,
    order_page,
    confirm_paid,
    cancel,
    deliver,
    approve,
    refuse,
    resend,
    note,
)
