"""Orders in the console: the list, one order with its whole timeline, and what staff may do with it."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath

from core import clock, db
from core.audit import service as audit
from core.audit.person import person_of
from core.checkout import acts, correcting, diagnosis, held, trace, trace_file, trace_words
from core.checkout.facts import facts_of
from core.checkout.lists import FOUND_BY, ORDERS, ref_by_code
from core.checkout.settle import OPEN, Outcome
from core.fulfilment import deciding
from core.fulfilment.console import PURCHASE
from core.jobs import bell, ring
from core.ledger.chart import BALANCE_METHOD
from core.messages import service as messages
from core.messages.events import EVENTS
from core.messages.lists import STATES as MESSAGE_STATES
from core.money import Money
from core.orders import service as orders
from core.orders import timeline, words
from core.orders.pages import seen_by_buyer
from core.orders.view import answers_of
from core.payments import money, queue, refunds
from core.people.sessions import Session
from core.refused import Refused
from core.review.queue import evidence_of
from core.supply import purchases
from core.web import lists
from core.web.errors import NotFound
from core.web.flash import flash
from core.web.forms import Line, read_form
from core.web.hx import safe_next
from core.web.i18n import _
from core.web.list_page import list_page
from core.web.render import as_in_shop, page, see_other
from core.web.request import visit_of
from core.web.words import span


class Noted(msgspec.Struct):
    note: Line = ""


class Confirmed(msgspec.Struct):
    note: Line = ""
    attempt: Line = ""


class MoreTime(msgspec.Struct):
    minutes: int


class NewContact(msgspec.Struct):
    contact: Line


class TraceFile(msgspec.Struct):
    format: Literal["json", "txt"] = "txt"


class Next(msgspec.Struct):
    next: Line = ""


class Decided(msgspec.Struct):
    note: Line = ""
    way: Line = "hand"
    next: Line = ""


def staff_id(request: Request[Any, Any, Any]) -> int:
    session: Session = request.state.session
    return session.staff_id or 0


# -- looking ----------------------------------------------------------------------------


@get("/orders", opt={"who": "staff:orders.read", "repeats": ("col",)})
async def order_list(request: Request[Any, Any, Any]) -> Response[Any]:
    return await list_page(request, ORDERS)


@post("/orders/find", opt={"who": "staff:orders.read", "max_body": 8192, "repeats": ("col",)})
async def find(request: Request[Any, Any, Any]) -> Response[Any]:
    """To the list with these filters; a code leads to its order and stands in no address."""
    fields = request.scope["state"]["form"].fields
    ref = await ref_by_code(visit_of(request).shop.id, (fields.get("q") or [""])[0], staff_id(request))
    if ref is not None:
        return flash(see_other(f"/admin/orders/{ref}"), FOUND_BY["code"], "info")
    asked = lists.read(ORDERS, urlencode(fields, doseq=True))
    return see_other(f"/admin/orders?{asked.query() or 'view=all'}")


@get("/orders/{ref:str}", opt={"who": "staff:orders.read"})
async def order_page(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[str]:
    return await _order_page(request, ref)


async def _order_page(
    request: Request[Any, Any, Any], ref: str, problem: Any = "", status: int = 200, new_contact: str | None = None
) -> Response[str]:
    order = await orders.for_staff(visit_of(request).shop.id, ref)
    if order is None:
        raise NotFound()
    payments = await money.payments_of(order["id"])
    given_back = await db.fetch("SELECT * FROM payments_refund WHERE order_id = $1 ORDER BY id", order["id"])
    done = (Money(row["amount"], row["currency"]) for row in given_back if row["state"] == "done")
    context = {
        "order": order,
        "money": Money(order["total"], order["currency"]),
        "came": money.by_currency(one.amount for one in payments) or [Money(0, order["currency"])],
        "given_back": money.by_currency(done),
        "subtotal": Money(sum(line["total"] for line in order["lines"] or []), order["currency"]),
        "lines": order["lines"] or [],
        "answers": {line["id"]: answers_of(line["fields"], line["asked"] or {}) for line in order["lines"] or []},
        "attempts": order["attempts"] or [],
        "events": await _payment_events(order["id"]),
        **await _traced(request, order),
        "messages": await db.fetch("SELECT * FROM messages_message WHERE order_id = $1 ORDER BY id", order["id"]),
        "questions": await db.fetch(
            "SELECT * FROM review_item WHERE order_id = $1 AND state = 'open' ORDER BY id", order["id"]
        ),
        "queue": await queue.of_order(visit_of(request).shop.id, order["id"]),
        "payments": [(one, refunds.way_back(one.method)) for one in payments],
        "refunds": given_back,
        "evidence": (await evidence_of([order["id"]])).get(order["id"], []),
        "held": await held.seen_by_staff(order) if held.waits(order) else None,
        "part_refunded": order["payment_state"] == "paid"
        and order["refunded"] > 0
        and order["paid"] - order["refunded"] < order["total"],
        **_to_confirm(order),
        "kept_codes": _kept_codes(order["lines"] or []),
        "message_events": EVENTS,
        "message_states": MESSAGE_STATES,
        "names": await _staff_names(visit_of(request).shop.id),
        "words": words,
        "problem": problem,
        "new_contact": new_contact,
        "as_money": Money,
        "bringing_in": await deciding.open_lines(order["id"]),
        "bought": await purchases.of_order(order["id"]),
        "purchase_states": PURCHASE,
    }
    return page(request, "checkout/order_detail.html", context, status=status)


async def _traced(request: Request[Any, Any, Any], order: dict[str, Any]) -> dict[str, Any]:
    rows = await trace.of(order)
    by = request.query_params.get("by", "")
    by = by if by in trace_words.ACTORS else ""
    return {
        "steps": [row for row in rows if not by or row.actor == by],
        "step_count": len(rows),
        "by": by,
        "actors": trace_words.ACTORS,
        "counts": trace.counted(rows),
        "diagnosis": diagnosis.diagnose(await facts_of(order, rows), clock.now()),
        "whose_turn": diagnosis.WHOSE_TURN,
        "fact_names": trace_words.FACTS,
        "minutes": [(minutes, _more_time(minutes)) for minutes in correcting.MINUTES],
    }


def _more_time(minutes: int) -> Any:
    return span(timedelta(minutes=minutes))


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
    act = held.approve(visit_of(request).shop.id, ref, form.note, person_of(request))
    return await _done(request, ref, act, _("Let go: what is paid and in stock is delivered."), form.next)


@post("/orders/{ref:str}/refuse", opt={"who": "staff:review.decide"})
async def refuse(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    form = await read_form(request, Decided)
    act = held.refuse(visit_of(request).shop.id, ref, form.way, form.note, person_of(request))
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


@post("/orders/{ref:str}/ask", opt={"who": "staff:orders.ask"})
async def ask_gateway(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    shop_id = visit_of(request).shop.id
    before = await orders.for_staff(shop_id, ref)
    if before is None:
        raise NotFound()
    act = correcting.ask_gateways(shop_id, ref, request.app.state.config.base_url, person_of(request))
    return await _done(request, ref, act, _("The gateway was asked; what it said stands in the timeline."))


@post("/orders/{ref:str}/extend", opt={"who": "staff:orders.ask"})
async def extend(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    form = await read_form(request, MoreTime)
    act = correcting.extend(visit_of(request).shop.id, ref, form.minutes, person_of(request))
    return await _done(request, ref, act, _("The buyer has more time to pay."))


@post("/orders/{ref:str}/contact", opt={"who": "staff:orders.contact", "fresh": True})
async def change_contact(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    form = await read_form(request, NewContact)
    try:
        jobs = await correcting.change_contact(visit_of(request).shop.id, ref, form.contact, person_of(request))
    except Refused as refused:
        return await _order_page(request, ref, refused.text, 409, form.contact)
    await ring(*jobs)
    await bell.ring(f"order:{ref}", "changed")
    said = _("Changed. Links that were sent before open nothing any more.")
    return flash(see_other(f"/admin/orders/{ref}"), said)


@get("/orders/{ref:str}/as-buyer", opt={"who": "staff:orders.read"})
async def as_buyer(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    """The buyer's page as it is drawn for them, out of reach: nothing on it can be pressed, and no code is on it."""
    order = await orders.for_staff(visit_of(request).shop.id, ref)
    if order is None:
        raise NotFound()
    return as_in_shop(request, "checkout/as_buyer.html", await seen_by_buyer(request, order))


@post("/orders/{ref:str}/trace", opt={"who": "staff:orders.trace"})
async def take_trace(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    form = await read_form(request, TraceFile)
    shop_id = visit_of(request).shop.id
    order = await orders.for_staff(shop_id, ref)
    if order is None:
        raise NotFound()
    rows = await trace.of(order)
    said = str(diagnosis.diagnose(await facts_of(order, rows), clock.now()).state)
    await correcting.taken_along(shop_id, ref, form.format, person_of(request))
    headers = {"content-disposition": f'attachment; filename="{ref}.{form.format}"', "cache-control": "no-store"}
    if form.format == "json":
        return Response(trace_file.as_json(order, rows, said), headers=headers, status_code=200)
    return Response(trace_file.as_text(order, rows, said), media_type="text/plain", headers=headers, status_code=200)


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
    find,
    order_page,
    confirm_paid,
    cancel,
    deliver,
    approve,
    refuse,
    resend,
    note,
    ask_gateway,
    extend,
    change_contact,
    as_buyer,
    take_trace,
)
