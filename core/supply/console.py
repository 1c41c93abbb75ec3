"""Suppliers in the console: how they stand, what they offer, and how SKUs follow their offers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core import db
from core.audit.person import person_of
from core.catalog.service import changed
from core.jobs import ring
from core.money import Money
from core.refused import Refused
from core.supply import importing, skus, suppliers, sync
from core.supply.importing import Wish
from core.supply.lists import OFFERS, SUPPLIERS
from core.supply.price_rule import PriceRule
from core.supply.skus import Draft
from core.web.amounts import read_amount, read_percent
from core.web.errors import FormError, NotFound
from core.web.flash import flash
from core.web.forms import Line, errors_of, read_form
from core.web.i18n import Text, _
from core.web.list_page import list_page
from core.web.render import page, see_other
from core.web.request import AnyRequest, shop_of, visit_of

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Place = Annotated[int, Meta(ge=1, le=100)]

SOURCES: dict[str, Text] = {
    "codes": _("Own codes from the vault"),
    "supplier": _("Bought from a supplier after payment"),
    "hand": _("Made by a person after payment"),
}
ROUTINGS: dict[str, Text] = {
    "cheapest": _("The cheapest that has it"),
    "order": _("In the order below"),
}
BELOW: dict[str, Text] = {
    "delist": _("Do not sell it"),
    "alarm": _("Sell it, and raise an alarm"),
}
PERCENTS = (-100_00, 10_000_00)
"""What a rule may put on the cost, in hundredths of a percent."""
ROUND_TO = ("0.01", "0.10", "0.50", "1.00", "5.00", "10.00")


class SupplierForm(msgspec.Struct):
    low_balance: Line = ""
    rates: dict[str, str] = {}


class ImportForm(msgspec.Struct):
    ids: list[Id] = []
    markup: Line = "20"
    round_to: Line = "0.01"
    state: Literal["draft", "listed"] = "draft"
    with_categories: bool = False


class LinkForm(msgspec.Struct):
    offer: Id
    sku: Line


class RuleForm(msgspec.Struct):
    source: Literal["codes", "supplier", "hand"]
    own_first: bool = False
    routing: Literal["cheapest", "order"] = "cheapest"
    price_follows: bool = False
    markup: Line = ""
    fixed: Line = ""
    round_to: Line = ""
    least_margin: Line = ""
    below_margin: Literal["delist", "alarm"] = "delist"
    jump: Line = ""
    available: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None


class OfferForm(msgspec.Struct):
    offer: Id


LONGEST_NUMBER = 10
"""More signs fit no place, and no offer's number here."""


class OrderForm(msgspec.Struct):
    places: dict[str, str] = {}


# -- suppliers --------------------------------------------------------------------------


@get("/supply", opt={"who": "staff:supply.read", "repeats": ("col",)})
async def supplier_list(request: AnyRequest) -> Response[Any]:
    return await list_page(request, SUPPLIERS)


@get("/supply/{key:str}", opt={"who": "staff:supply.read", "repeats": ("col",)})
async def supplier_page(request: AnyRequest, key: FromPath[str]) -> Response[Any]:
    return await _supplier_page(request, key)


async def _supplier_page(
    request: AnyRequest, key: str, errors: dict[str, Any] | None = None, kept: Any = None, status: int = 200
) -> Response[Any]:
    known = await suppliers.one(key)
    if known is None:
        raise NotFound()
    shop = shop_of(request)
    context = {
        "supplier": known,
        "round_to": [(text, text) for text in ROUND_TO],
        "foreign": [name for name in known.currencies if name != shop.currency],
        "currency": shop.currency,
        "errors": errors or {},
        "kept": kept or {},
    }
    return await list_page(
        request,
        OFFERS,
        context,
        template="supply/supplier.html",
        status=status,
        path=f"/admin/supply/{key}",
        fixed={"supplier": key},
    )


@post("/supply/{key:str}", opt={"who": "staff:supply.edit"})
async def save_supplier(request: AnyRequest, key: FromPath[str]) -> Response[Any]:
    form = await read_form(request, SupplierForm, gather={"rates": "rate_"})
    visit = visit_of(request)

    async def write(tx: db.Tx) -> None:
        staff_id = request.state.session.staff_id
        await skus.follow(tx, await suppliers.save(tx, key, form.low_balance, form.rates, staff_id, visit.ip or None))

    try:
        await db.transaction(write)
    except Refused as refused:
        return await _supplier_page(request, key, errors_of(refused), msgspec.to_builtins(form), 422)
    await changed()
    return flash(see_other(f"/admin/supply/{key}"), _("Saved."))


@post("/supply/{key:str}/sync", opt={"who": "staff:supply.edit"})
async def sync_now(request: AnyRequest, key: FromPath[str]) -> Response[Any]:
    if sync.supplier(key) is None:
        raise NotFound()
    await db.execute(sync.KNOWN, key, {})
    await ring(await db.transaction(_begin_whole, key))
    return flash(see_other(f"/admin/supply/{key}"), _("The whole catalogue is being read. Look again in a moment."))


async def _begin_whole(tx: db.Tx, key: str) -> int:
    return await sync.begin(tx, key, whole=True)


# -- offers become goods ----------------------------------------------------------------


@post("/supply/{key:str}/import", opt={"who": "staff:supply.edit"})
async def import_offers(request: AnyRequest, key: FromPath[str]) -> Response[Any]:
    try:
        form = await read_form(request, ImportForm)
        made = await importing.make_products(person_of(request), form.ids, _wish(request, form))
    except FormError as error:
        return await _supplier_page(request, key, dict(error.fields), error.kept, 422)
    except Refused as refused:
        return await _supplier_page(request, key, errors_of(refused), {}, 422)
    back = see_other(f"/admin/products/{made.product_ids[0]}" if len(made.product_ids) == 1 else f"/admin/supply/{key}")
    if made.left_out:
        title, why = made.left_out[0]
        said = _(
            "%(made)d products made, %(left)d offers left out. The first: %(title)s, %(why)s.",
            made=len(made.product_ids), left=len(made.left_out), title=title, why=why,
        )  # fmt: skip
        return flash(back, said, "warning")
    return flash(back, _("%(made)d products made.", made=len(made.product_ids)))


def _wish(request: AnyRequest, form: ImportForm) -> Wish:
    shop = shop_of(request)
    round_to = max(1, _amount(form.round_to, shop.currency, "round_to"))
    rule = PriceRule(True, read_percent(form.markup, "markup", *PERCENTS), 0, round_to)
    return Wish(Draft("supplier", rule=rule), shop.locale, shop.currency, form.state, form.with_categories)


@post("/supply/{key:str}/link", opt={"who": "staff:supply.edit"})
async def link_offer(request: AnyRequest, key: FromPath[str]) -> Response[Any]:
    form = await read_form(request, LinkForm)
    who = person_of(request)
    sku_id = await db.fetchval("SELECT id FROM catalog_sku WHERE shop_id = $1 AND code = $2", who.shop_id, form.sku)
    if sku_id is None:
        return flash(
            see_other(f"/admin/supply/{key}"), _("No SKU of this shop has the code %(code)s.", code=form.sku), "error"
        )
    return await _act(request, sku_id, skus.link, form.offer, said=_("Linked. Say here how it is priced."))


# -- one SKU ----------------------------------------------------------------------------


@get("/supply/skus/{sku_id:int}", opt={"who": "staff:supply.read"})
async def sku_page(request: AnyRequest, sku_id: FromPath[int]) -> Response[str]:
    return await _sku_page(request, sku_id)


async def _sku_page(
    request: AnyRequest, sku_id: int, errors: dict[str, Any] | None = None, kept: Any = None, status: int = 200
) -> Response[str]:
    row = await skus.one(shop_of(request).id, sku_id)
    if row is None:
        raise NotFound()
    currency = row["currency"]
    linked = skus.linked(row) if row["sku_id"] else []
    context = {
        "sku": row,
        "product": await db.fetchrow(
            "SELECT product.id, product.title, sku.title AS sku_title FROM catalog_product product"
            " JOIN catalog_sku sku ON sku.product_id = product.id WHERE sku.id = $1",
            sku_id,
        ),
        "offers": linked,
        "form": {**_as_form(row), **(kept or {})},
        "is_odd": bool(row["sku_id"]) and skus.is_odd(row),
        "errors": errors or {},
        "sources": SOURCES,
        "routings": ROUTINGS,
        "below": BELOW,
        "as_money": lambda amount: Money(amount, currency) if amount is not None else None,
        "currency": currency,
    }
    return page(request, "supply/sku.html", context, status=status)


def _as_form(row: Any) -> dict[str, Any]:
    by_hand = row["available"] if row["source"] == "hand" else None
    form = {"source": row["source"], "own_first": row["own_first"], "available": by_hand}
    if row["sku_id"] is None:
        return {**form, "routing": "cheapest", "below_margin": "delist", "round_to": "0.01"}

    def plain(amount: int) -> str:
        return Money(amount, row["currency"]).plain()

    return {
        **form,
        "routing": row["routing"],
        "price_follows": row["price_follows"],
        "markup": _as_percent(row["markup"]),
        "fixed": plain(row["fixed"]),
        "round_to": plain(row["round_to"]),
        "least_margin": plain(row["least_margin"]),
        "below_margin": row["below_margin"],
        "jump": _as_percent(row["jump"]) if row["jump"] else "",
    }


@post("/supply/skus/{sku_id:int}", opt={"who": "staff:supply.edit"})
async def save_sku(request: AnyRequest, sku_id: FromPath[int]) -> Response[Any]:
    try:
        form = await read_form(request, RuleForm)
        currency = await _currency(request, sku_id)
        await skus.save(person_of(request), sku_id, _draft(form, currency))
    except FormError as error:
        return await _sku_page(request, sku_id, dict(error.fields), error.kept, 422)
    except Refused as refused:
        return await _sku_page(request, sku_id, errors_of(refused), msgspec.to_builtins(form), 422)
    return flash(see_other(f"/admin/supply/skus/{sku_id}"), _("Saved."))


async def _currency(request: AnyRequest, sku_id: int) -> str:
    currency: str | None = await db.fetchval(
        "SELECT currency FROM catalog_sku WHERE id = $1 AND shop_id = $2", sku_id, shop_of(request).id
    )
    if currency is None:
        raise NotFound()
    return currency


def _draft(form: RuleForm, currency: str) -> Draft:
    rule = PriceRule(
        form.price_follows,
        read_percent(form.markup, "markup", *PERCENTS),
        _amount(form.fixed, currency, "fixed"),
        max(1, _amount(form.round_to, currency, "round_to")),
        max(0, _amount(form.least_margin, currency, "least_margin")),
    )
    jump = read_percent(form.jump, "jump", *PERCENTS) if form.jump else None
    if jump is not None and jump <= 0:
        raise Refused(_("Write a percentage above zero, or leave it empty."), "jump")
    return Draft(form.source, form.own_first, form.routing, rule, form.below_margin, jump, form.available)


def _as_percent(hundredths: int) -> str:
    return f"{hundredths / 100:g}"


def _amount(text: str, currency: str, field: str) -> int:
    return read_amount(text or "0", currency, field).amount


@post("/supply/skus/{sku_id:int}/unlink", opt={"who": "staff:supply.edit"})
async def unlink_offer(request: AnyRequest, sku_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, OfferForm)
    return await _act(request, sku_id, skus.unlink, form.offer, said=_("This offer is not bought from any more."))


@post("/supply/skus/{sku_id:int}/order", opt={"who": "staff:supply.edit"})
async def order_offers(request: AnyRequest, sku_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, OrderForm, gather={"places": "place_"})
    numbers = [*form.places, *form.places.values()]
    if not all(text.isascii() and text.isdigit() and len(text) < LONGEST_NUMBER for text in numbers):
        return flash(see_other(f"/admin/supply/skus/{sku_id}"), _("Please enter a whole number."), "error")
    places = {int(name): int(text) for name, text in form.places.items()}
    return await _act(request, sku_id, skus.reorder, places, said=_("Saved."))


@post("/supply/skus/{sku_id:int}/accept", opt={"who": "staff:supply.edit"})
async def accept_cost(request: AnyRequest, sku_id: FromPath[int]) -> Response[Any]:
    return await _act(request, sku_id, skus.accept_cost, said=_("It is sold again, at a price for the new cost."))


@post("/supply/skus/{sku_id:int}/pause", opt={"who": "staff:supply.edit"})
async def pause(request: AnyRequest, sku_id: FromPath[int]) -> Response[Any]:
    return await _act(request, sku_id, skus.pause, said=_("It is not sold for the time being."))


async def _act(request: AnyRequest, sku_id: int, act: Any, *values: Any, said: Any) -> Response[Any]:
    back = see_other(f"/admin/supply/skus/{sku_id}")
    try:
        await db.transaction(act, person_of(request), sku_id, *values)
    except Refused as refused:
        return flash(back, refused.text, "error")
    await changed()
    return flash(back, said)


ROUTES = (
    supplier_list,
    sku_page,
    save_sku,
    unlink_offer,
    order_offers,
    accept_cost,
    pause,
    supplier_page,
    save_supplier,
    sync_now,
    import_offers,
    link_offer,
)
