"""The buyer's account: whoever opened the link that was mailed to an address sees what the shop knows of it."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core import db
from core.account import MAIL_LINK, erase, service
from core.catalog.service import words
from core.checkout import cart
from core.checkout.cart import Visitor
from core.jobs import enqueue, ring
from core.ledger import customers
from core.messages.events import EVENTS
from core.orders import new_session
from core.orders import service as orders
from core.orders.view import order_view
from core.people import contact_code, contact_proof, sessions
from core.people.email import read_email
from core.pricing.quote import Item
from core.refused import Refused
from core.web import limits
from core.web.errors import FormError, NotFound, TooMany
from core.web.flash import flash
from core.web.forms import Line, read_form, read_query
from core.web.i18n import _, html_lang
from core.web.render import page, see_other
from core.web.request import AnyRequest, visit_of
from core.web.sessions import begin
from core.web.visit import Visit

NEWEST = 3
TABS = (
    ("/account", _("Overview"), "user"),
    ("/account/orders", _("Orders"), "receipt"),
    ("/account/codes", _("Codes"), "key"),
    ("/account/messages", _("Messages"), "mail"),
    ("/account/devices", _("Devices"), "device-mobile"),
    ("/account/data", _("My data"), "shield-check"),
)


async def contacts_of(visit: Visit) -> list[str]:
    """Which contacts this browser has proven, the last one first."""
    return await contact_proof.proven(visit.shop.id, visit.session.id_hash) if visit.session else []


async def _page(request: AnyRequest, name: str, here: str, **context: Any) -> Response[Any]:
    """One page of the account; the door of it for everybody who has not shown who they are."""
    visit = visit_of(request)
    shared = {"tabs": TABS, "here": here, "words": lambda texts: words(texts, visit.locale), "events": EVENTS}
    return page(request, f"account/{name}.html", {**shared, **context})


def _door(request: AnyRequest, kept: dict[str, Any], errors: dict[str, Any], status: int = 200) -> Response[Any]:
    return page(request, "account/door.html", {"kept": kept, "errors": errors}, status=status)


# -- the way in and out -----------------------------------------------------------------


class Ask(msgspec.Struct):
    contact: Line


@post("/account/link", opt={"who": "anyone", "limit": "lookup", "max_body": 4096})
async def ask_for_link(request: AnyRequest) -> Response[Any]:
    """The answer is the same whether the address is known or not; a job looks."""
    visit = visit_of(request)
    try:
        sent = await read_form(request, Ask)
        contact = read_email(sent.contact, "contact")
    except FormError as error:
        return _door(request, error.kept, dict(error.fields), 422)
    except Refused as refused:
        return _door(request, {"contact": sent.contact}, {"contact": refused.text}, 422)
    args = {"shop_id": visit.shop.id, "contact": contact, "locale": html_lang(visit.locale)}
    fresh = None
    if visit.session is None and not await sessions.is_promised(visit.cookie):
        fresh = visit.cookie = await sessions.promise()
    await ring(await db.transaction(_asked, args, visit.cookie))
    response = _sent(request, contact)
    return begin(response, fresh, max_age=sessions.BUYER_SECONDS) if fresh else response


async def _asked(tx: db.Tx, args: dict[str, Any], cookie: str) -> int:
    await contact_code.ask(tx, args["shop_id"], args["contact"], cookie)
    return await enqueue(tx, MAIL_LINK, args)


def _sent(request: AnyRequest, contact: str, error: Any = "", status: int = 200) -> Response[Any]:
    errors = {"code": error} if error else {}
    return page(request, "account/link_sent.html", {"contact": contact, "errors": errors}, status=status)


class Digits(msgspec.Struct):
    code: Line = ""


@post("/account/code", opt={"who": "anyone", "limit": "order-link", "max_body": 4096})
async def open_by_code(request: AnyRequest) -> Response[Any]:
    """The digits of the mail, in the browser that asked for it. The try is counted before it is looked at."""
    visit = visit_of(request)
    sent = await read_form(request, Digits)
    shop_id, cookie = visit.shop.id, visit.cookie or ""
    contact = await contact_code.asked(shop_id, cookie)
    if contact is None:
        return _door(request, {}, {"contact": _("Ask for a new mail: this one is over.")}, 409)
    code = "".join(sign for sign in unicodedata.normalize("NFKC", sent.code) if not sign.isspace())
    if re.fullmatch("[0-9]{6}", code) is None:
        return _sent(request, contact, _("Enter the six digits of the mail."), 422)
    if not await _may_try(shop_id, contact, cookie):
        return _sent(request, contact, _("Those were too many tries. Open the link in the mail."), 429)
    who = (visit.session, visit.ip, request.headers.get("user-agent", ""))
    proven, fresh = await db.transaction(new_session.prove_by_code, shop_id, contact, code, *who)
    if proven is None:
        said = _("This is not the code of the newest mail, or it is over. You can open the link in the mail too.")
        return _sent(request, contact, said, 422)
    response = see_other("/account")
    return begin(response, fresh, max_age=sessions.BUYER_SECONDS) if fresh else response


@get("/account/open", opt={"who": "anyone", "session": True})
async def link_page(request: AnyRequest) -> Response[Any]:
    """The link of the mail. It is used up by the button, not by whatever looks at links on its way."""
    visit = visit_of(request)
    await limits.hit("order-link", visit.ip)
    token = request.query_params.get("k", "")
    if not await contact_proof.link_lives(visit.shop.id, token):
        return page(request, "account/link_over.html", {}, status=404)
    return page(request, "account/open.html", {"token": token})


class Open(msgspec.Struct):
    token: Line


@post("/account/open", opt={"who": "anyone", "limit": "order-link", "max_body": 4096})
async def open_link(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    sent = await read_form(request, Open)
    agent = request.headers.get("user-agent", "")

    contact, cookie = await db.transaction(new_session.prove, visit.shop.id, sent.token, visit.session, visit.ip, agent)
    if contact is None:
        return page(request, "account/link_over.html", {}, status=404)
    response = see_other("/account")
    return begin(response, cookie, max_age=sessions.BUYER_SECONDS) if cookie else response


async def _may_try(shop_id: int, contact: str, cookie: str) -> bool:
    if not await contact_code.count_try(shop_id, contact, cookie):
        return False
    try:
        await limits.hit("account-code", f"{shop_id}:{contact}")
    except TooMany:
        return False
    return True


@post("/account/leave", opt={"who": "buyer", "max_body": 4096})
async def leave(request: AnyRequest) -> Response[Any]:
    await service.leave(visit_of(request).session.id_hash)
    return flash(see_other("/account"), _("You are signed out on this device."))


# -- looking ----------------------------------------------------------------------------


class Look(msgspec.Struct):
    q: Line = ""
    page: Annotated[int, Meta(ge=1, le=10_000)] = 1


def _cut(found: Any, size: int = service.PAGE) -> dict[str, Any]:
    """One row more than a page holds says that there are more."""
    return {"rows": found[:size], "more": len(found) > size}


@get("/account", opt={"who": "anyone", "session": True})
async def account(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    contacts = await contacts_of(visit)
    if not contacts:
        return _door(request, {}, {})
    newest = await service.orders(visit.shop.id, contacts[0], size=NEWEST)
    balances = await customers.of_contact(visit.shop.id, contacts[0])
    context = {"contact": contacts[0], "balances": balances, **_cut(newest, NEWEST)}
    return await _page(request, "overview", "/account", **context)


@get("/account/orders", opt={"who": "anyone", "session": True})
async def my_orders(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    contacts = await contacts_of(visit)
    if not contacts:
        return _door(request, {}, {})
    look = read_query(request, Look)
    found = await service.orders(visit.shop.id, contacts[0], look.q, look.page)
    return await _page(request, "orders", "/account/orders", contact=contacts[0], look=look, **_cut(found))


@get("/account/orders/{ref:str}", opt={"who": "anyone", "session": True})
async def my_order(request: AnyRequest, ref: FromPath[str]) -> Response[Any]:
    """The order's own page, which this browser may see from now on."""
    visit = visit_of(request)
    contacts = await contacts_of(visit)
    if not contacts or not await service.open_order(visit.shop.id, contacts, ref, visit.session.id_hash):
        raise NotFound()
    return see_other(f"/o/{ref}")


@get("/account/codes", opt={"who": "anyone", "session": True})
async def my_codes(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    contacts = await contacts_of(visit)
    if not contacts:
        return _door(request, {}, {})
    look = read_query(request, Look)
    found = await service.codes(visit.shop.id, contacts[0], look.page)
    return await _page(request, "codes", "/account/codes", contact=contacts[0], look=look, **_cut(found))


@get("/account/messages", opt={"who": "anyone", "session": True})
async def my_messages(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    contacts = await contacts_of(visit)
    if not contacts:
        return _door(request, {}, {})
    look = read_query(request, Look)
    found = await service.messages(visit.shop.id, contacts[0], look.page)
    return await _page(request, "messages", "/account/messages", contact=contacts[0], look=look, **_cut(found))


# -- devices ----------------------------------------------------------------------------


@get("/account/devices", opt={"who": "anyone", "session": True})
async def my_devices(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    contacts = await contacts_of(visit)
    if not contacts:
        return _door(request, {}, {})
    found = await service.devices(visit.shop.id, contacts[0], visit.session.id_hash)
    return await _page(request, "devices", "/account/devices", contact=contacts[0], devices=found)


class LetGo(msgspec.Struct):
    device: Annotated[str, Meta(pattern="^[0-9a-f]{24}$")]


@post("/account/devices", opt={"who": "buyer", "limit": "report", "max_body": 4096})
async def let_go(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    sent = await read_form(request, LetGo)
    contacts = await contacts_of(visit)
    if contacts and await service.let_go(visit.shop.id, contacts[0], sent.device):
        return flash(see_other("/account/devices"), _("That device opens nothing of yours any more."))
    return see_other("/account/devices")


# -- one's own data ---------------------------------------------------------------------


@get("/account/data", opt={"who": "anyone", "session": True})
async def my_data(request: AnyRequest) -> Response[Any]:
    contacts = await contacts_of(visit_of(request))
    if not contacts:
        return _door(request, {}, {})
    return await _page(request, "data", "/account/data", contact=contacts[0])


@post("/account/export", opt={"who": "buyer", "limit": "export-own", "max_body": 4096})
async def export(request: AnyRequest) -> Response[Any]:
    """Everything the shop has of this contact, at once; of codes the masks."""
    visit = visit_of(request)
    contacts = await contacts_of(visit)
    if not contacts:
        return see_other("/account")
    found = await service.export(visit.shop.id, contacts[0])
    body = json.dumps(found, ensure_ascii=False, indent=2).encode()
    headers = {"content-disposition": 'attachment; filename="my-data.json"', "cache-control": "no-store"}
    return Response(body, media_type="application/json", status_code=200, headers=headers)


@post("/account/erase", opt={"who": "buyer", "limit": "erase-own", "max_body": 4096})
async def ask_to_erase(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    contacts = await contacts_of(visit)
    if not contacts:
        return see_other("/account")
    try:
        await erase.ask(visit.shop.id, contacts[0], html_lang(visit.locale))
    except Refused as refused:
        return flash(see_other("/account/data"), refused.text, "error")
    return page(request, "account/erase_sent.html", {"contact": contacts[0]})


@get("/account/erase", opt={"who": "anyone", "session": True})
async def erase_page(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    await limits.hit("order-link", visit.ip)
    token = request.query_params.get("k", "")
    if not await contact_proof.link_lives(visit.shop.id, token, "erase"):
        return page(request, "account/link_over.html", {}, status=404)
    return page(request, "account/erase.html", {"token": token, "refused": None})


@post("/account/erase/confirm", opt={"who": "anyone", "limit": "order-link", "max_body": 4096})
async def confirm_erase(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    sent = await read_form(request, Open)
    try:
        erased = await erase.confirm(visit.shop.id, sent.token)
    except Refused as refused:
        return page(request, "account/erase.html", {"token": sent.token, "refused": refused.text}, status=409)
    if erased is None:
        return page(request, "account/link_over.html", {}, status=404)
    return page(request, "account/erased.html", {"erased": erased})


# -- the same once more -----------------------------------------------------------------


@post("/o/{ref:str}/again", opt={"who": "buyer", "limit": "cart", "max_body": 4096})
async def again(request: AnyRequest, ref: FromPath[str]) -> Response[Any]:
    """The goods of an order into the cart, at today's prices."""
    visit = visit_of(request)
    row = await orders.for_session(ref, visit.session.id_hash)
    if row is None:
        raise NotFound()
    items = [Item(line.sku_code, line.quantity) for line in order_view(row).lines]
    visitor = Visitor(visit.session.id_hash, False, visit.ip, request.headers.get("user-agent", ""))
    try:
        added = await cart.add(visit.shop.id, visitor, items)
    except Refused as refused:
        return flash(see_other("/cart"), refused.text, "error")
    if added < len(items):
        return flash(see_other("/cart"), _("What is on sale still is in your cart."), "warning")
    return flash(see_other("/cart"), _("It is in your cart."))


ROUTES = (
    account,
    ask_for_link,
    link_page,
    open_link,
    open_by_code,
    leave,
    my_orders,
    my_order,
    my_codes,
    my_messages,
    my_devices,
    let_go,
    my_data,
    export,
    ask_to_erase,
    erase_page,
    confirm_erase,
    again,
)
