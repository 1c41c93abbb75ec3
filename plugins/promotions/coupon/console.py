"""Coupons in the console: the list with what each has brought, making one or many, stopping, and their codes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core.api import (
    FormError,
    Money,
    NotFound,
    PluginContext,
    PluginTx,
    PromotionResult,
    Scope,
    Visit,
    _,
    csv_text,
    flash,
    page,
    plugin_context,
    promotion_code_uses,
    promotion_results,
    read_form,
    record_act,
    scope_choices,
    see_other,
    visit_of,
)

from . import codes, coupons
from .coupons import CodeTaken, Coupon, Draft
from .promotion import Coupons, title

AnyRequest = Request[Any, Any, Any]

HERE = "/admin/x/promotions.coupon"
MOST_CODES = 5_000
CODES_SHOWN = 5

STATES = {
    "running": (_("Running"), "good"),
    "waiting": (_("Not yet"), "busy"),
    "over": (_("Expired"), "neutral"),
    "stopped": (_("Stopped"), "bad"),
}

Sum = Annotated[str, Meta(max_length=30, extra={"strip": True})]
Limit = Annotated[int, Meta(ge=1, le=1_000_000)]


class CouponForm(msgspec.Struct):
    name: Annotated[str, Meta(max_length=120, extra={"strip": True})]
    kind: Literal["percent", "amount", "price"]
    value: Sum
    how: Literal["one", "many"] = "one"
    code: Annotated[str, Meta(max_length=40, extra={"strip": True})] = ""
    number: Annotated[int, Meta(ge=1, le=MOST_CODES)] = 1
    prefix: Annotated[str, Meta(max_length=codes.LONGEST_PREFIX, extra={"strip": True})] = ""
    most_off: Sum = ""
    least: Sum = ""
    goods: list[str] = []
    uses: Limit | None = None
    uses_per_code: Limit | None = None
    uses_per_buyer: Limit | None = None
    first_order: bool = False
    stacks: bool = False
    starts: Sum = ""
    ends: Sum = ""


class CodesForm(msgspec.Struct):
    number: Annotated[int, Meta(ge=1, le=MOST_CODES)]
    prefix: Annotated[str, Meta(max_length=codes.LONGEST_PREFIX, extra={"strip": True})] = ""


class NoForm(msgspec.Struct):
    pass


@dataclass(frozen=True, slots=True)
class Row:
    coupon: Coupon
    state: tuple[Any, str]
    title: dict[str, str]
    result: PromotionResult | None

    @property
    def used(self) -> int:
        return self.result.orders + self.result.waiting if self.result else 0

    @property
    def pays_back(self) -> int | None:
        """Profit in percent of what was taken off."""
        if self.result is None or not self.result.discount.amount:
            return None
        return round(self.result.profit.amount * 100 / self.result.discount.amount)


def shop_of(request: AnyRequest) -> str:
    return visit_of(request).shop.code


def words(texts: dict[str, str], visit: Visit) -> str:
    return texts["zh-CN" if visit.locale == "zh_CN" else "en"]


# -- looking ----------------------------------------------------------------------------


@get("/", opt={"who": "staff:promotions.coupon.read"})
async def coupon_list(request: AnyRequest) -> Response[str]:
    ctx, shop = plugin_context(request), shop_of(request)
    found = await coupons.listed(ctx.db, shop)
    results = await promotion_results(shop, Coupons.key)
    context = {"rows": [_row(ctx, one, results) for one in found], **_common(request)}
    return page(request, "promotions.coupon/list.html", context)


@get("/{coupon_id:int}", opt={"who": "staff:promotions.coupon.read"})
async def coupon_page(request: AnyRequest, coupon_id: FromPath[int]) -> Response[str]:
    return await _coupon_page(request, coupon_id, {}, {})


async def _coupon_page(
    request: AnyRequest, coupon_id: int, kept: dict[str, Any], errors: dict[str, Any], status: int = 200
) -> Response[str]:
    ctx = plugin_context(request)
    coupon = await _coupon(request, coupon_id)
    results = await promotion_results(coupon_shop := shop_of(request), Coupons.key, [coupon.key])
    called = {one.name: one.title for one in await scope_choices(coupon_shop, visit_of(request).locale)}
    context = {
        "row": _row(ctx, coupon, results),
        "coupon": coupon,
        "draft": coupon.draft,
        "codes": await coupons.codes_of(ctx.db, coupon, CODES_SHOWN),
        "goods": [called.get(name, name) for name in coupon.draft.goods],
        "kept": kept,
        "errors": errors,
        **_common(request),
    }
    return page(request, "promotions.coupon/one.html", context, status=status)


async def _coupon(request: AnyRequest, coupon_id: int) -> Coupon:
    coupon = await coupons.one(plugin_context(request).db, shop_of(request), coupon_id)
    if coupon is None:
        raise NotFound()
    return coupon


def _row(ctx: PluginContext[None], coupon: Coupon, results: dict[str, PromotionResult]) -> Row:
    return Row(coupon, STATES[coupon.state(ctx.clock.now())], title(coupon), results.get(coupon.key))


def _common(request: AnyRequest) -> dict[str, Any]:
    visit = visit_of(request)
    return {"here": HERE, "words": lambda texts: words(texts, visit), "most_codes": MOST_CODES}


# -- making -----------------------------------------------------------------------------


@get("/new", opt={"who": "staff:promotions.coupon.edit"})
async def new_coupon(request: AnyRequest) -> Response[str]:
    return await _new_coupon(request, {}, {})


async def _new_coupon(
    request: AnyRequest, kept: dict[str, Any], errors: dict[str, Any], status: int = 200
) -> Response[str]:
    choices = await scope_choices(shop_of(request), visit_of(request).locale)
    chosen = kept.get("goods") or []
    context = {
        "kept": kept,
        "errors": errors,
        "currency": visit_of(request).shop.currency,
        "choices": {kind: [one for one in choices if one.kind == kind] for kind in ("category", "product", "sku")},
        "chosen": [chosen] if isinstance(chosen, str) else chosen,
        **_common(request),
    }
    return page(request, "promotions.coupon/new.html", context, status=status)


@post("/new", opt={"who": "staff:promotions.coupon.edit", "max_body": 262_144})
async def make_coupon(request: AnyRequest) -> Response[Any]:
    kept: dict[str, Any] = {}
    try:
        form = await read_form(request, CouponForm)
        kept = msgspec.structs.asdict(form)
        coupon_id = await _make(request, form)
    except FormError as error:
        return await _new_coupon(request, error.kept or kept, dict(error.fields), 422)
    return flash(see_other(f"{HERE}/{coupon_id}"), _("The coupon is there."))


async def _make(request: AnyRequest, form: CouponForm) -> int:
    """:raises FormError: naming every field that is wrong."""
    shop = shop_of(request)
    draft = await _draft(request, form)
    made_by = request.state.session.name or request.state.session.email

    async def work(tx: PluginTx) -> int:
        coupon_id = await coupons.make(tx, shop, draft, made_by)
        if form.how == "one":
            await coupons.add_code(tx, shop, coupon_id, form.code)
        else:
            await coupons.add_random(tx, shop, coupon_id, form.prefix.upper(), form.number)
        number = 1 if form.how == "one" else form.number
        await record_act(tx, request, "made", f"coupon:{coupon_id}", {"name": draft.name, "codes": number})
        return coupon_id

    try:
        return await plugin_context(request).db.transaction(work)
    except CodeTaken:
        raise FormError({"code": _("Another coupon has this code already.")}) from None


async def _draft(request: AnyRequest, form: CouponForm) -> Draft:
    shop = visit_of(request).shop
    wrong = _wrong_code(form)
    known = {one.name for one in await scope_choices(shop.code, visit_of(request).locale)}
    if not known.issuperset(form.goods):
        wrong["goods"] = _("Some of these goods are not there any more.")
    draft = Draft(
        name=form.name,
        kind=form.kind,
        percent=_percent(form.value, wrong) if form.kind == "percent" else None,
        amount=_sum(form.value, shop.currency, "value", wrong) if form.kind != "percent" else None,
        currency=shop.currency,
        most_off=_sum(form.most_off, shop.currency, "most_off", wrong) if form.most_off else None,
        least=_sum(form.least, shop.currency, "least", wrong) if form.least else Money(0, shop.currency),
        goods=tuple(sorted(Scope.of(form.goods).names)) if "goods" not in wrong else (),
        uses=form.uses,
        uses_per_code=form.uses_per_code if form.how == "one" else form.uses_per_code or 1,
        uses_per_buyer=form.uses_per_buyer,
        first_order=form.first_order,
        alone=not form.stacks,
        starts_at=_moment(form.starts, shop.timezone, "starts", wrong),
        ends_at=_moment(form.ends, shop.timezone, "ends", wrong),
    )
    if form.kind == "amount" and "value" not in wrong and draft.amount is not None and not draft.amount.amount:
        wrong["value"] = _("Write an amount above zero.")
    if draft.starts_at and draft.ends_at and draft.ends_at <= draft.starts_at:
        wrong["ends"] = _("The end comes after the beginning.")
    if wrong:
        raise FormError(wrong, msgspec.structs.asdict(form))
    return draft


def _wrong_code(form: CouponForm) -> dict[str, Any]:
    if form.how == "one" and not codes.SHAPE.fullmatch(form.code):
        return {"code": _("A code is 3 to 40 letters, digits, - or _, and begins with a letter or a digit.")}
    if form.how == "many" and not _good_prefix(form.prefix):
        return {"prefix": _("Letters, digits, - or _, and a letter or a digit first.")}
    return {}


def _good_prefix(prefix: str) -> bool:
    return not prefix or codes.SHAPE.fullmatch(f"{prefix}000") is not None


def _percent(text: str, wrong: dict[str, Any]) -> int | None:
    whole, _point, part = text.removesuffix("%").strip().partition(".")
    if (whole + part).isdecimal() and len(whole) <= 3 and len(part) <= 2:
        hundredths = int(whole or "0") * 100 + int(part.ljust(2, "0"))
        if 1 <= hundredths <= 10_000:
            return hundredths
    wrong["value"] = _("Write a percentage from 0.01 to 100.")
    return None


def _sum(text: str, currency: str, field: str, wrong: dict[str, Any]) -> Money:
    try:
        money = Money.parse(text, currency)
    except ValueError:
        wrong[field] = _("Write an amount in digits, such as 19.90.")
        return Money(0, currency)
    if money.amount < 0 or (field == "most_off" and not money.amount):
        wrong[field] = _("Write an amount above zero.")
    return money


def _moment(text: str, timezone: str, field: str, wrong: dict[str, Any]) -> datetime | None:
    """A time on the clocks of the shop."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC)
    except (ValueError, OverflowError):
        wrong[field] = _("Write a day and a time, such as 2026-12-31 23:59.")
        return None


# -- more codes, stopping, downloading --------------------------------------------------


@post("/{coupon_id:int}/codes", opt={"who": "staff:promotions.coupon.edit", "max_body": 8192})
async def more_codes(request: AnyRequest, coupon_id: FromPath[int]) -> Response[Any]:
    coupon = await _coupon(request, coupon_id)
    shop = shop_of(request)
    try:
        form = await read_form(request, CodesForm)
        if not _good_prefix(form.prefix):
            wrong = {"prefix": _("Letters, digits, - or _, and a letter or a digit first.")}
            raise FormError(wrong, msgspec.structs.asdict(form))
    except FormError as error:
        return await _coupon_page(request, coupon_id, error.kept, dict(error.fields), 422)

    async def work(tx: PluginTx) -> None:
        await coupons.add_random(tx, shop, coupon.id, form.prefix.upper(), form.number)
        await record_act(tx, request, "codes_added", f"coupon:{coupon.id}", {"codes": form.number})

    await plugin_context(request).db.transaction(work)
    return flash(see_other(f"{HERE}/{coupon_id}"), _("The new codes are there."))


@post("/{coupon_id:int}/stop", opt={"who": "staff:promotions.coupon.edit", "max_body": 8192})
async def stop_coupon(request: AnyRequest, coupon_id: FromPath[int]) -> Response[Any]:
    return await _stop(request, coupon_id, plugin_context(request).clock.now(), _("The coupon is stopped."))


@post("/{coupon_id:int}/resume", opt={"who": "staff:promotions.coupon.edit", "max_body": 8192})
async def resume_coupon(request: AnyRequest, coupon_id: FromPath[int]) -> Response[Any]:
    return await _stop(request, coupon_id, None, _("The coupon runs again."))


async def _stop(request: AnyRequest, coupon_id: int, at: datetime | None, said: Any) -> Response[Any]:
    await read_form(request, NoForm)
    coupon = await _coupon(request, coupon_id)

    async def work(tx: PluginTx) -> None:
        await coupons.stop(tx, shop_of(request), coupon.id, at)
        await record_act(tx, request, "stopped" if at else "resumed", f"coupon:{coupon.id}")

    await plugin_context(request).db.transaction(work)
    return flash(see_other(f"{HERE}/{coupon_id}"), said)


@post("/{coupon_id:int}/codes.csv", opt={"who": "staff:promotions.coupon.edit", "max_body": 8192})
async def download_codes(request: AnyRequest, coupon_id: FromPath[int]) -> Response[str]:
    """Every code of the coupon, and how often it was used."""
    await read_form(request, NoForm)
    coupon = await _coupon(request, coupon_id)
    every = await coupons.codes_of(plugin_context(request).db, coupon, coupon.codes)
    await plugin_context(request).db.transaction(
        record_act, request, "codes_taken", f"coupon:{coupon.id}", {"codes": len(every)}
    )
    uses: dict[str, int] = {}
    for typed, orders in (await promotion_code_uses(shop_of(request), Coupons.key, coupon.key)).items():
        uses[codes.matched(typed)] = uses.get(codes.matched(typed), 0) + orders
    rows = [(str(_("Coupon code")), str(_("Uses"))), *((code, uses.get(codes.matched(code), 0)) for code in every)]
    return Response(
        csv_text(rows),
        media_type="text/csv",
        status_code=200,
        headers={
            "content-disposition": f'attachment; filename="coupon-{coupon.id}.csv"',
            "cache-control": "no-store",
        },
    )


ROUTES = (
    coupon_list,
    coupon_page,
    new_coupon,
    make_coupon,
    more_codes,
    stop_coupon,
    resume_coupon,
    download_codes,
)
