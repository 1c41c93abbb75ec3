"""The cart's page, and putting things into it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post

from core.catalog.service import words
from core.checkout import cart
from core.checkout.price import with_codes
from core.people import sessions
from core.pricing.promote import FIELD, takes_codes
from core.pricing.quote import Item, Quote
from core.refused import Refused
from core.web.flash import flash
from core.web.forms import Line, read_form, read_query
from core.web.hx import hx_response, wants_fragment
from core.web.i18n import _, html_lang
from core.web.render import fragment, page, see_other
from core.web.request import AnyRequest, visit_of
from core.web.sessions import begin
from core.web.visit import Visit

Quantity = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class Look(msgspec.Struct):
    coupon: Line = ""


class AddForm(msgspec.Struct):
    """From the form of a product; what else it says is for the counter."""

    sku: Line
    quantity: Quantity = 1
    gift: bool = False


class ChangeForm(msgspec.Struct):
    sku: Line
    quantity: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    take: Quantity | None = None
    """What its button says instead."""
    remove: bool = False


@get("/cart", opt={"who": "anyone", "session": True})
async def cart_page(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    asked = read_query(request, Look)
    found = await cart.of_session(visit.shop.id, visit.session.id_hash) if visit.session else cart.Cart()
    priced, wrong = await _price(visit, found.quote, asked.coupon) if found.quote else (None, None)
    context = {
        "cart": found,
        "cart_count": len(found.lines),
        "priced": priced,
        "coupon": asked.coupon,
        "errors": {FIELD: wrong} if wrong else {},
        "takes_codes": takes_codes(visit.shop.id),
        "items": [f"{line.sku.code}:{line.quantity}" for line in found.good],
        "words": lambda texts: words(texts, visit.locale),
    }
    return page(request, "checkout/cart.html", context)


async def _price(visit: Visit, at_list: Quote, entered: str) -> tuple[Quote, Any]:
    """With its discounts, and what is wrong with the entered codes; then they count for nothing."""
    who = {"contact": "", "locale": html_lang(visit.locale), "ip": visit.ip}
    try:
        return await with_codes(visit.shop, at_list, entered, **who), None
    except Refused as refused:
        return await with_codes(visit.shop, at_list, "", **who), refused.text


@get("/cart/count", opt={"who": "anyone", "session": True})
async def count(request: AnyRequest) -> Response[Any]:
    """The link in the head of the page, with how much is in the cart of this visitor."""
    visit = visit_of(request)
    number = await cart.count(visit.shop.id, visit.session.id_hash) if visit.session else 0
    return fragment(request, "checkout/_cart_link.html", {"cart_count": number})


@post("/cart", opt={"who": "anyone", "limit": "cart", "max_body": 4096})
async def add(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    sent = await read_form(request, AddForm)
    promised = visit.cookie if visit.session is None and await sessions.is_promised(visit.cookie) else None
    agent = request.headers.get("user-agent", "")
    session_hash = visit.session.id_hash if visit.session else None
    visitor, token = cart.visitor_of(session_hash, promised, visit.ip, agent)
    visit.cookie = token or visit.cookie
    try:
        added = await cart.add(visit.shop.id, visitor, [Item(sent.sku, sent.quantity)])
        said, kind = (_("It is in your cart."), "success") if added else (_("This is not on sale any more."), "error")
    except cart.CartFull as full:
        said, kind = full.text, "error"
    if wants_fragment(request):
        context = {"cart_count": await cart.count(visit.shop.id, visitor.session_hash), "added": kind == "success"}
        toast = {"toast": {"text": str(said), "kind": kind}}
        response: Response[Any] = hx_response(fragment(request, "checkout/_added.html", context), triggers=toast)
    else:
        response = flash(see_other("/cart"), said, kind)
    return begin(response, token, max_age=sessions.BUYER_SECONDS) if token else response


@post("/cart/change", opt={"who": "buyer", "limit": "cart", "max_body": 4096})
async def change(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    sent = await read_form(request, ChangeForm)
    quantity = 0 if sent.remove else sent.take or sent.quantity
    await cart.change(visit.shop.id, visit.session.id_hash, sent.sku, quantity)
    return see_other("/cart")


routes = [cart_page, count, add, change]
