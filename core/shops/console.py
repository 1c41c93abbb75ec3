"""Settings of the shop: name, language, money, opening, how long codes are held."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

import msgspec
from litestar import Request, Response, get, post
from msgspec import Meta

from core import db
from core.audit import service as audit
from core.money import Money
from core.refused import Refused
from core.shops import service as shops
from core.shops.service import Shop, ShopSettings
from core.web import languages
from core.web.errors import FormError
from core.web.flash import flash
from core.web.forms import ONE_LINE, Line, read_form
from core.web.i18n import LOCALES, NAMES, _, html_lang
from core.web.render import page, see_other
from core.web.request import shop_of

LONGEST_TEXT = 2000
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
Cap = Annotated[int, Meta(ge=1, le=1000)]


class ShopForm(msgspec.Struct):
    name: Annotated[str, Meta(min_length=1, max_length=120, pattern=ONE_LINE, extra={"strip": True})]
    currency: Currency
    locale: Line
    timezone: Line
    support_contact: Line = ""
    announcement: dict[str, str] = {}
    footer: dict[str, str] = {}


class SellingForm(msgspec.Struct):
    reservation_minutes: Annotated[int, Meta(ge=1, le=1440)]
    open_orders_per_contact: Cap
    open_orders_per_address: Cap
    show_stock: Literal["exact", "band", "hidden"]
    mail_codes: bool = False
    burn_hours: Annotated[int, Meta(ge=0, le=8760)] = 0
    staff_codes_per_day: Annotated[int, Meta(ge=0, le=10_000)] = 20
    confirm_minutes: Annotated[int, Meta(ge=1, le=60)] = 10
    low_stock: Annotated[int, Meta(ge=0, le=1_000_000)] = 5
    min_days_left: Annotated[int, Meta(ge=0, le=3650)] = 1
    refund_limit: Line = ""


class OpeningForm(msgspec.Struct):
    test_mode: Literal["on", "off"]


class VisitorsForm(msgspec.Struct):
    coming_soon: Literal["on", "off"]


@get("/settings", opt={"who": "staff:settings.read"})
async def settings(request: Request[Any, Any, Any]) -> Response[str]:
    return await _settings(request)


async def _settings(
    request: Request[Any, Any, Any],
    errors: dict[str, Any] | None = None,
    kept: dict[str, Any] | None = None,
    status: int = 200,
) -> Response[str]:
    shop = await _shop(request)
    context = {
        "stored": shop,
        "languages": _languages(),
        "form": {**_as_form(shop), **(kept or {})},
        "errors": errors or {},
        "timezones": [(name, name) for name in sorted(available_timezones()) if "/" in name],
        "real_orders": await db.fetchval("SELECT count(*) FROM orders_order WHERE shop_id = $1 AND NOT test", shop.id),
    }
    return page(request, "shops/settings.html", context, status=status)


def _languages() -> dict[str, str]:
    return {html_lang(locale): NAMES[locale] for locale in LOCALES}


async def _shop(request: Request[Any, Any, Any]) -> Shop:
    return await shops.by_id(shop_of(request).id)


def _as_form(shop: Shop) -> dict[str, Any]:
    given = shop.settings
    form: dict[str, Any] = {name: getattr(shop, name) for name in ("name", "currency", "locale", "timezone")}
    for name in (
        "reservation_minutes",
        "open_orders_per_contact",
        "open_orders_per_address",
        "show_stock",
        "mail_codes",
        "burn_hours",
        "staff_codes_per_day",
        "confirm_minutes",
        "low_stock",
        "min_days_left",
        "support_contact",
    ):
        form[name] = getattr(given, name)
    limit = given.refund_limit
    form["refund_limit"] = "" if limit is None else Money(limit, shop.currency).plain()
    for name, texts in (("announcement", given.announcement), ("footer", given.footer)):
        form[name] = languages.shown(texts)
    return form


@post("/settings/shop", opt={"who": "staff:settings.edit"})
async def save_shop(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        form = await read_form(request, ShopForm, gather={"announcement": "announcement_", "footer": "footer_"})
    except FormError as error:
        return await _settings(request, dict(error.fields), error.kept, 422)
    mistakes: dict[str, Any] = {}
    if form.timezone not in available_timezones():
        mistakes["timezone"] = _("Choose a time zone from the list.")
    if form.locale not in _languages():
        mistakes["locale"] = _("Choose a language from the list.")
    shop = await _shop(request)
    if form.currency != shop.currency and await shops.has_prices(shop.id):
        mistakes["currency"] = _("There are prices in the present currency. Delete those SKUs first.")
    texts = {}
    for field in ("announcement", "footer"):
        try:
            texts[field] = languages.read(getattr(form, field), field, LONGEST_TEXT)
        except Refused as refused:
            mistakes[str(refused.field)] = refused.text
    if mistakes:
        return await _settings(request, mistakes, msgspec.to_builtins(form), 422)
    new = msgspec.structs.replace(shop.settings, support_contact=form.support_contact, **texts)
    columns = {name: getattr(form, name) for name in ("name", "currency", "locale", "timezone")}
    return await _save(request, shop, "shop.saved", new, **columns)


@post("/settings/selling", opt={"who": "staff:settings.edit", "fresh": True})
async def save_selling(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        form = await read_form(request, SellingForm)
    except FormError as error:
        return await _settings(request, dict(error.fields), {"mail_codes": False, **error.kept}, 422)
    shop = await _shop(request)
    try:
        limit = _limit(form.refund_limit, shop.currency)
    except ValueError:
        wrong = {"refund_limit": _("Write an amount such as 200, or leave it empty.")}
        return await _settings(request, wrong, msgspec.to_builtins(form), 422)
    if limit != shop.settings.refund_limit and not request.state.session.may("limits.set"):
        wrong = {"refund_limit": _("Only an owner changes this, for it limits everybody else.")}
        return await _settings(request, wrong, msgspec.to_builtins(form), 422)
    new = msgspec.structs.replace(shop.settings, **{**msgspec.structs.asdict(form), "refund_limit": limit})
    return await _save(request, shop, "shop.selling_saved", new)


def _limit(text: str, currency: str) -> int | None:
    if not text.strip():
        return None
    limit = Money.parse(text, currency).amount
    if limit < 0:
        raise ValueError("a limit is not below zero")
    return limit


@post("/settings/opening", opt={"who": "staff:settings.edit", "fresh": True})
async def open_or_close(request: Request[Any, Any, Any]) -> Response[Any]:
    """Test mode on or off. Off is the day the shop opens."""
    form = await read_form(request, OpeningForm)
    shop = await _shop(request)
    return await _save(
        request, shop, f"shop.test_mode_{form.test_mode}", shop.settings, test_mode=form.test_mode == "on"
    )


@post("/settings/visitors", opt={"who": "staff:settings.edit"})
async def let_visitors_in(request: Request[Any, Any, Any]) -> Response[Any]:
    """Whether visitors see the shop, or that it opens soon."""
    form = await read_form(request, VisitorsForm)
    shop = await _shop(request)
    act = "shop.closed" if form.coming_soon == "on" else "shop.shown"
    new = msgspec.structs.replace(shop.settings, coming_soon=form.coming_soon == "on")
    return await _save(request, shop, act, new)


async def _save(
    request: Request[Any, Any, Any], shop: Shop, act: str, new: ShopSettings, **columns: Any
) -> Response[Any]:
    staff_id = request.state.session.staff_id

    async def write(tx: db.Tx) -> None:
        await shops.change(tx, shop.id, settings=new, **columns)
        if "currency" in columns:
            await tx.execute(
                "UPDATE catalog_sku SET currency = $2 WHERE shop_id = $1 AND demo AND currency <> $2",
                shop.id,
                columns["currency"],
            )
        await audit.record(tx, f"staff:{staff_id}", act, f"shop:{shop.id}", shop_id=shop.id)

    await db.transaction(write)
    shops.forget()
    return flash(see_other("/admin/settings"), _("Saved."))


ROUTES = (settings, save_shop, save_selling, open_or_close, let_visitors_in)
