"""The buyer's order: its live page, the codes on it, and finding it again."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Stream

from core import clock, db
from core.audit import service as audit
from core.catalog import notes
from core.catalog.devices import DEVICES, device_of
from core.catalog.markdown import to_html, with_pictures
from core.catalog.service import words
from core.ids import token_hash
from core.jobs import bell
from core.ledger import customers
from core.orders import finding, strangers, worked
from core.orders import service as orders
from core.orders.contact import read_contact
from core.orders.view import OrderView, order_view
from core.people import sessions
from core.refused import Refused
from core.shops import service as shops
from core.vault.burn import burn_shown
from core.vault.reveal import RevealedCode
from core.web import limits
from core.web.errors import FormError, TooMany, UnknownDevice
from core.web.flash import flash
from core.web.forms import Line, read_form
from core.web.hx import safe_next, wants_fragment
from core.web.i18n import _, html_lang
from core.web.qr import qr
from core.web.render import fragment, page, see_other
from core.web.request import AnyRequest, visit_of
from core.web.sessions import begin
from core.web.visit import Visit

LOOK_SECONDS = 2.0
BEAT_SECONDS = 15.0
STREAM_SECONDS = 600.0
MOST_STREAMS = 4
REVEALED_SECONDS = 60
"""A page with more codes than this has no QR codes: it would become too large."""
DID_NOT_WORK = "did_not_work"

_streams: Counter[bytes] = Counter()


# -- the page ---------------------------------------------------------------------------


@get("/o/{ref:str}", opt={"who": "anyone", "session": True})
async def order_page(request: AnyRequest, ref: FromPath[str]) -> Response[Any]:
    visit = visit_of(request)
    token = request.query_params.get("k")
    if token is not None:
        return await _by_link(request, ref, token)
    order = await _mine(visit, ref)
    if order is None:
        return _unknown(request)
    if not wants_fragment(request):
        return page(request, "orders/order.html", await _context(request, order))
    if request.query_params.get("seen") == order.mark:
        return Response(None, status_code=204)
    return fragment(request, "orders/_order.html", await _context(request, order))


async def _mine(visit: Visit, ref: str) -> OrderView | None:
    if visit.session is None:
        return None
    row = await orders.for_session(ref, visit.session.id_hash)
    if row is None:
        return None
    await at_its_shop(visit, row)
    order = order_view(row)
    if order.phase == "unpaid":
        payers = await customers.payers(visit.shop.id, visit.session.id_hash, order.total)
        order = replace(order, from_balance=order.contact in payers)
    return order


async def at_its_shop(visit: Visit, order: dict[str, Any]) -> None:
    """An order goes by the rules of the shop it was placed in, at whichever shop's address it is opened."""
    if visit.shop.id != order["shop_id"]:
        visit.shop = await shops.by_id(order["shop_id"])


def _unknown(request: AnyRequest) -> Response[Any]:
    """The same for an order that is not there, one of somebody else, and a wrong link."""
    return page(request, "orders/unknown.html", {}, status=404)


async def _context(
    request: AnyRequest, order: OrderView, revealed: list[RevealedCode] | None = None, drawn: int | None = None
) -> dict[str, Any]:
    uses = await worked.of_order(order.id) if order.phase == "delivered" else {}
    device = device_of(request.headers.get("user-agent", ""))
    return {
        **_shown(visit_of(request), order, revealed, drawn),
        "uses": uses,
        "device": device,
        "devices": DEVICES,
        "with_pictures": with_pictures,
        "help": _help_asked(request, order),
    }


async def seen_by_buyer(request: AnyRequest, row: dict[str, Any]) -> dict[str, Any]:
    """What the buyer's page is drawn with, without any code or link that shows one: for staff who want to see it."""
    return await _context(request, order_view(row).without_keys())


def _shown(visit: Visit, order: OrderView, revealed: list[RevealedCode] | None, drawn: int | None) -> dict[str, Any]:
    """What the part of the page with the codes needs; ``drawn`` is the code to draw for a camera."""
    return {
        "order": order,
        "revealed": {code.code_id: code.text for code in revealed or []},
        "drawn": drawn,
        "show_at": f"/o/{order.ref}/reveal",
        "in_place": True,
        "qr": qr,
        "elsewhere": revealed is not None and len(revealed) < len(order.kept_codes),
        "burn_at": min((code.burn_at for code in revealed or [] if code.burn_at), default=order.burn_at),
        "seconds": REVEALED_SECONDS,
        "burn_hours": order.burn_hours,
        "now": clock.now(),
        "words": lambda texts: words(texts, visit.locale),
        "markdown": to_html,
        "note_of": lambda line: notes.written(
            line.delivery_note,
            order.sold(line, f"{visit.origin}/o/{order.ref}", order.contact_hint),
            visit.shop,
            visit.origin,
            visit.locale,
        ),
    }


def _help_asked(request: AnyRequest, order: OrderView) -> dict[str, Any]:
    """With what the buyer comes to the help: the line that did not work and the device, from the address."""
    asked, device = request.query_params.get("help", ""), request.query_params.get("device", "")
    line = next((line for line in order.lines if str(line.id) == asked), None)
    if line is None:
        return {"order": order, "line": None, "sku_code": "", "reason": "", "device": ""}
    device = device if device in DEVICES and device != "any" else ""
    return {"order": order, "line": line.id, "sku_code": line.sku_code, "reason": DID_NOT_WORK, "device": device}


async def _by_link(request: AnyRequest, ref: str, token: str) -> Response[Any]:
    """A link from a mail: the browser gets its session, and the token leaves the address bar."""
    visit = visit_of(request)
    await limits.hit("order-link", visit.ip)
    if not await orders.link_fits(ref, token):
        if await limits.below("wrong-link", visit.ip):
            await db.transaction(_alarm, "order.wrong_link", ref, visit)
        return _unknown(request)
    fresh = None
    if visit.session is None:
        agent = request.headers.get("user-agent", "")
        fresh = await db.transaction(_new_session, visit.ip, agent)
    session_hash = visit.session.id_hash if fresh is None else token_hash(fresh)
    await orders.let_in(ref, token, session_hash)
    response = see_other(safe_next(request.query_params.get("to"), f"/o/{ref}"))
    return begin(response, fresh, max_age=sessions.BUYER_SECONDS) if fresh else response


async def _new_session(tx: db.Tx, ip: str, agent: str) -> str:
    return await sessions.create(tx, "buyer", ip=ip, agent=agent)


async def _alarm(tx: db.Tx, kind: str, ref: str, visit: Visit) -> None:
    await audit.alarm(tx, kind, f"order:{ref}", "", {"request": visit.id}, shop_id=visit.shop.id, ip=visit.ip)


@post("/o/{ref:str}/cancel", opt={"who": "buyer", "max_body": 4096})
async def cancel(request: AnyRequest, ref: FromPath[str]) -> Response[Any]:
    visit = visit_of(request)
    order = await _mine(visit, ref)
    if order is None:
        return _unknown(request)
    try:
        await orders.cancel(order.id, "buyer")
    except Refused as refused:
        return flash(see_other(f"/o/{ref}"), refused.text, "error")
    await bell.ring(f"order:{ref}", "cancelled")
    return see_other(f"/o/{ref}")


# -- live -------------------------------------------------------------------------------


@get("/o/{ref:str}/events", opt={"who": "anyone", "session": True})
async def events(request: AnyRequest, ref: FromPath[str]) -> Response[Any] | Stream:
    """Says *that* something changed, never what: the page then asks for itself again."""
    visit = visit_of(request)
    session_hash = visit.session.id_hash if visit.session else b""
    state = await orders.state_for_session(ref, session_hash) if visit.session else None
    if state is None:
        return _unknown(request)
    if _streams[session_hash] >= MOST_STREAMS:
        raise TooMany(10)
    visit.endless = True
    return Stream(
        _changes(ref, session_hash, state),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _changes(ref: str, session_hash: bytes, before: dict[str, Any]) -> AsyncIterator[bytes]:
    _streams[session_hash] += 1
    rung = asyncio.Event()
    listener = asyncio.create_task(_listen(ref, rung))
    loop = asyncio.get_running_loop()
    ends, beat = loop.time() + STREAM_SECONDS, loop.time()
    try:
        yield b"retry: 2000\nevent: open\ndata: \n\n"
        while loop.time() < ends:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(rung.wait(), LOOK_SECONDS)
            rung.clear()
            now = await orders.state_for_session(ref, session_hash)
            if now is None:
                return
            if now != before:
                before = now
                yield f"event: changed\ndata: {ref}\n\n".encode()
            elif loop.time() - beat > BEAT_SECONDS:
                yield b"event: beat\ndata: \n\n"
                beat = loop.time()
    finally:
        listener.cancel()
        _streams[session_hash] -= 1
        if _streams[session_hash] <= 0:
            del _streams[session_hash]


async def _listen(ref: str, rung: asyncio.Event) -> None:
    async for _text in bell.listen(f"order:{ref}"):
        rung.set()


# -- the codes --------------------------------------------------------------------------


class Show(msgspec.Struct):
    draw: int | None = None
    """The code to draw as a QR code: drawing takes longer than the rest of the page, and few want it."""


async def drawing_of(request: AnyRequest) -> int | None:
    """A program that wants the codes alone sends no form."""
    return (await read_form(request, Show)).draw if request.scope["state"].get("form") else None


@post("/o/{ref:str}/reveal", opt={"who": "buyer", "session": "late", "max_body": 4096})
async def reveal(request: AnyRequest, ref: FromPath[str]) -> Response[Any]:
    visit = visit_of(request)
    drawn = await drawing_of(request)
    shown = await _reveal(request, ref)
    if shown is None:
        return await _refuse(request, ref)
    if wants_fragment(request):
        return fragment(request, "orders/_codes.html", _shown(visit, *shown, drawn))
    return page(request, "orders/order.html", await _context(request, *shown, drawn))


@post("/o/{ref:str}/codes.txt", opt={"who": "buyer", "session": "late", "max_body": 4096})
async def download(request: AnyRequest, ref: FromPath[str]) -> Response[Any]:
    shown = await _reveal(request, ref)
    if shown is None:
        return await _refuse(request, ref)
    order, revealed = shown
    texts = [code.text for code in revealed]
    if not texts:
        return flash(see_other(f"/o/{ref}"), _("There is nothing to save: no code can be shown here."), "error")
    return Response(
        "\r\n".join(texts) + "\r\n",
        media_type="text/plain",
        status_code=200,
        headers={"content-disposition": f'attachment; filename="{order.ref}.txt"', "cache-control": "no-store"},
    )


async def _reveal(request: AnyRequest, ref: str) -> tuple[OrderView, list[RevealedCode]] | None:
    visit = visit_of(request)
    session_hash = token_hash(visit.cookie or "")
    shown = await orders.reveal(ref, session_hash, visit.ip, visit.agent)
    if shown is None:
        return None
    await at_its_shop(visit, shown[0])
    order, revealed = order_view(shown[0]), shown[1]
    if len(revealed) < len(order.kept_codes):
        await _stranger(visit, "order.second_reveal", ref, session_hash)
    return order, revealed


async def _stranger(visit: Visit, kind: str, ref: str, session_hash: bytes) -> None:
    await strangers.asked(kind, ref, session_hash, shop_id=visit.shop.id, ip=visit.ip, request_id=visit.id)


async def _refuse(request: AnyRequest, ref: str) -> Response[Any]:
    """No page of ours offers this button on an order of somebody else."""
    visit = visit_of(request)
    session = visit.session or (await sessions.load(visit.cookie) if visit.cookie else None)
    if session is None:
        raise UnknownDevice()
    await _stranger(visit, "order.foreign_reveal", ref, session.id_hash)
    return _unknown(request)


@post("/o/{ref:str}/burn", opt={"who": "buyer", "max_body": 4096})
async def burn(request: AnyRequest, ref: FromPath[str]) -> Response[Any]:
    """Erase the codes that this browser was shown, at its word."""
    visit = visit_of(request)
    if await _mine(visit, ref) is None:
        return await _refuse(request, ref)
    try:
        await burn_shown(ref, visit.session.id_hash, visit.ip or None)
    except Refused as refused:
        return flash(see_other(f"/o/{ref}"), refused.text, "error")
    return flash(see_other(f"/o/{ref}"), _("Erased for good."))


# -- how it went ------------------------------------------------------------------------


class Worked(msgspec.Struct):
    line: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    device: Literal["ios", "android", "pc", "tv", "any"]
    worked: Literal["yes", "no"]


@post("/o/{ref:str}/worked", opt={"who": "buyer", "limit": "report", "max_body": 4096})
async def say_worked(request: AnyRequest, ref: FromPath[str]) -> Response[Any]:
    """It worked, or it did not: then the help opens, with the line and the device."""
    visit = visit_of(request)
    form = await read_form(request, Worked)
    try:
        await worked.say(ref, form.line, visit.session.id_hash, form.worked == "yes", form.device)
    except Refused as refused:
        return flash(see_other(f"/o/{ref}"), refused.text, "error")
    if form.worked == "no":
        return see_other(f"/o/{ref}?help={form.line}&device={form.device}#help")
    return flash(see_other(f"/o/{ref}"), _("Good to hear. Thank you!"))


# -- finding it again -------------------------------------------------------------------


class Lookup(msgspec.Struct):
    contact: Line
    ref: Line = ""


@get("/lookup", opt={"who": "anyone", "session": True})
async def lookup_page(request: AnyRequest) -> Response[Any]:
    return await _lookup(request, {}, {})


@post("/lookup", opt={"who": "anyone", "limit": "lookup", "max_body": 4096})
async def lookup(request: AnyRequest) -> Response[Any]:
    """The answer is the same whether there are such orders or not; what there is goes to the contact itself."""
    visit = visit_of(request)
    try:
        sent = await read_form(request, Lookup)
    except FormError as error:
        return await _lookup(request, error.kept, error.fields, 422)
    try:
        kind, contact = read_contact(sent.contact)
    except Refused as refused:
        return await _lookup(request, {"contact": sent.contact, "ref": sent.ref}, {"contact": refused.text}, 422)
    if kind == "email":
        await finding.mail_links_later(visit.shop.id, contact, sent.ref, html_lang(visit.locale))
    return page(request, "orders/lookup_sent.html", {"kind": kind, "contact": contact})


async def _lookup(
    request: AnyRequest, kept: dict[str, Any], errors: dict[str, Any], status: int = 200
) -> Response[Any]:
    visit = visit_of(request)
    mine = await finding.of_session(visit.session.id_hash) if visit.session else []
    context = {
        "mine": mine,
        "kept": kept,
        "errors": errors,
        "words": lambda texts: words(texts, visit.locale),
    }
    return page(request, "orders/lookup.html", context, status=status)


routes = [order_page, cancel, events, reveal, download, burn, say_worked, lookup_page, lookup]
