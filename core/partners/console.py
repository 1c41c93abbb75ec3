"""Partners in the console: programs that buy here. Their keys are shown once, their money is put in by staff."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core.hooks import runtime
from core.ledger import chart, customers
from core.money import Money
from core.orders import words
from core.partners import accounts
from core.partners.accounts import Keys, Partner
from core.partners.lists import PARTNERS
from core.refused import Refused
from core.shops import service as shops
from core.web.amounts import read_amount_above_zero, read_percent
from core.web.errors import FormError, NotFound
from core.web.flash import flash
from core.web.forms import Line, errors_of, read_form, read_query
from core.web.i18n import _
from core.web.list_page import list_page
from core.web.render import page, see_other
from core.web.request import AnyRequest, visit_of

PAGE = 50
MOST_DISCOUNT = 99_99
"""Nobody gets everything for nothing."""


class NewPartner(msgspec.Struct):
    name: Annotated[str, Meta(min_length=1, max_length=60, extra={"strip": True})]
    discount: Line = "0"
    notify_url: Line = ""


class Terms(msgspec.Struct):
    discount: Line = "0"
    notify_url: Line = ""


class MoneyForm(msgspec.Struct):
    amount: Line
    way: Literal["in", "out"]
    why: Literal["cash", "goodwill"]
    reason: Annotated[str, Meta(min_length=1, max_length=300, extra={"strip": True})]
    key: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{8,100}$")]


class Paging(msgspec.Struct):
    page: Annotated[int, Meta(ge=1, le=100_000)] = 1


def staff_id(request: AnyRequest) -> int:
    return int(request.state.session.staff_id)


# -- what was written -------------------------------------------------------------------


def read_address(text: str) -> str:
    parts = urlsplit(text.strip())
    if text.strip() and (parts.scheme not in ("http", "https") or not parts.hostname or len(text) > 500):
        raise Refused(_("Write an address such as https://shop.example.com/path."), "notify_url")
    return text.strip()


# -- all of them ------------------------------------------------------------------------


@get("/partners", opt={"who": "staff:partners.read", "repeats": ("col",)})
async def partner_list(request: AnyRequest) -> Response[Any]:
    return await _list(request, {}, {})


async def _list(request: AnyRequest, kept: dict[str, Any], errors: dict[str, Any], status: int = 200) -> Response[Any]:
    context = {
        "channels": _channels(request),
        "kept": kept,
        "errors": errors,
    }
    return await list_page(request, PARTNERS, context, template="partners/list.html", status=status)


def _channels(request: AnyRequest) -> list[tuple[Any, str]]:
    """What each channel is called, and the address that programs are given."""
    shop = visit_of(request).shop
    base = shops.address(shop.host, request.app.state.config.base_url)
    found = runtime.current().channels_in(shop.id)
    return [(channel.title, f"{base}/channel/{key}") for key, channel in sorted(found.items())]


@post("/partners", opt={"who": "staff:partners.edit", "fresh": True, "max_body": 8192})
async def make_partner(request: AnyRequest) -> Response[Any]:
    kept: dict[str, Any] = {}
    try:
        form = await read_form(request, NewPartner)
        kept = msgspec.structs.asdict(form)
        discount, address = read_percent(form.discount, "discount", 0, MOST_DISCOUNT), read_address(form.notify_url)
        keys = await accounts.make(visit_of(request).shop.id, form.name, discount, address, staff_id(request))
    except FormError as error:
        return await _list(request, error.kept, dict(error.fields), 422)
    except Refused as refused:
        return await _list(request, kept, {refused.field or "name": refused.text}, 422)
    return await _shown(request, keys)


async def _shown(request: AnyRequest, keys: Keys) -> Response[str]:
    partner = await _partner(request, keys.partner_id)
    context = {"partner": partner, "keys": keys, "channels": _channels(request)}
    return page(request, "partners/keys.html", context)


async def _partner(request: AnyRequest, partner_id: int) -> Partner:
    partner = await accounts.by_id(visit_of(request).shop.id, partner_id)
    if partner is None:
        raise NotFound()
    return partner


# -- one of them ------------------------------------------------------------------------


@get("/partners/{partner_id:int}", opt={"who": "staff:partners.read"})
async def partner_page(request: AnyRequest, partner_id: FromPath[int]) -> Response[str]:
    return await _one(request, partner_id, {}, {})


async def _one(
    request: AnyRequest, partner_id: int, kept: dict[str, Any], errors: dict[str, Any], status: int = 200
) -> Response[str]:
    partner = await _partner(request, partner_id)
    number = read_query(request, Paging).page
    orders = await accounts.orders_of(partner, PAGE + 1, (number - 1) * PAGE)
    balances = await customers.of_contact(partner.shop_id, partner.contact)
    context = {
        "partner": partner,
        "balances": [one.money for one in balances] or [Money(0, visit_of(request).shop.currency)],
        "changes": [(one, await customers.history(one, 20)) for one in balances],
        "kinds": chart.KINDS,
        "orders": orders[:PAGE],
        "more": len(orders) > PAGE,
        "number": number,
        "words": words,
        "kept": {"discount": f"{Decimal(partner.discount) / 100:.2f}", "notify_url": partner.notify_url, **kept},
        "errors": errors,
    }
    return page(request, "partners/one.html", context, status=status)


@post("/partners/{partner_id:int}", opt={"who": "staff:partners.edit", "fresh": True, "max_body": 8192})
async def change_partner(request: AnyRequest, partner_id: FromPath[int]) -> Response[Any]:
    partner, kept = await _partner(request, partner_id), {}
    try:
        form = await read_form(request, Terms)
        kept = msgspec.structs.asdict(form)
        discount, address = read_percent(form.discount, "discount", 0, MOST_DISCOUNT), read_address(form.notify_url)
        await accounts.change(partner.shop_id, partner.id, discount, address, staff_id(request))
    except FormError as error:
        return await _one(request, partner_id, error.kept, dict(error.fields), 422)
    except Refused as refused:
        return await _one(request, partner_id, kept, errors_of(refused), 422)
    return flash(see_other(f"/admin/partners/{partner_id}"), _("Saved."))


@post("/partners/{partner_id:int}/balance", opt={"who": "staff:balance.edit", "fresh": True, "max_body": 8192})
async def change_balance(request: AnyRequest, partner_id: FromPath[int]) -> Response[Any]:
    partner, visit, kept = await _partner(request, partner_id), visit_of(request), {}
    try:
        form = await read_form(request, MoneyForm)
        kept = msgspec.structs.asdict(form)
        money = read_amount_above_zero(form.amount, visit.shop.currency, "amount")
        await customers.change_once(
            partner.shop_id,
            partner.contact,
            money if form.way == "in" else Money(-money.amount, money.currency),
            about=partner.contact,
            cash=form.why == "cash",
            staff_id=staff_id(request),
            reason=form.reason,
            key=form.key,
            ip=visit.ip or None,
            limited=not request.state.session.may("limits.set"),
        )
    except FormError as error:
        return await _one(request, partner_id, error.kept, dict(error.fields), 422)
    except Refused as refused:
        return await _one(request, partner_id, kept, {refused.field or "amount": refused.text}, 422)
    return flash(see_other(f"/admin/partners/{partner_id}"), _("The balance was changed."))


@post("/partners/{partner_id:int}/keys", opt={"who": "staff:partners.edit", "fresh": True, "max_body": 4096})
async def new_keys(request: AnyRequest, partner_id: FromPath[int]) -> Response[Any]:
    partner = await _partner(request, partner_id)
    return await _shown(request, await accounts.new_keys(partner.shop_id, partner.id, staff_id(request)))


@post("/partners/{partner_id:int}/stop", opt={"who": "staff:partners.edit", "max_body": 4096})
async def stop_partner(request: AnyRequest, partner_id: FromPath[int]) -> Response[Any]:
    partner = await _partner(request, partner_id)
    await accounts.stop(partner.shop_id, partner.id, staff_id(request), stopped=True)
    return flash(see_other(f"/admin/partners/{partner_id}"), _("It is refused from now on."))


@post("/partners/{partner_id:int}/let-in", opt={"who": "staff:partners.edit", "max_body": 4096})
async def let_partner_in(request: AnyRequest, partner_id: FromPath[int]) -> Response[Any]:
    partner = await _partner(request, partner_id)
    await accounts.stop(partner.shop_id, partner.id, staff_id(request), stopped=False)
    return flash(see_other(f"/admin/partners/{partner_id}"), _("It may buy again."))


ROUTES = (
    partner_list,
    make_partner,
    partner_page,
    change_partner,
    change_balance,
    new_keys,
    stop_partner,
    let_partner_in,
)
