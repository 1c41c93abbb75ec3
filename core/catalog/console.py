"""The catalogue in the console: products with their SKUs, categories, pictures."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from markupsafe import Markup
from msgspec import Meta

from core import db
from core.catalog import editing, guides, images, notes
from core.catalog.buyer_fields import BuyerField
from core.catalog.editing import Editor, ProductDraft, SkuDraft
from core.catalog.lists import PRODUCTS, STATES
from core.catalog.markdown import to_html
from core.catalog.service import words
from core.catalog.tiers import MOST_TIERS, OF_SKU
from core.money import Money
from core.refused import Refused
from core.vault import stock
from core.web import languages
from core.web.amounts import read_amount_from_zero
from core.web.errors import FormError, NotFound
from core.web.flash import flash
from core.web.forms import Line, Upload, read_form
from core.web.i18n import Text, _, locale
from core.web.list_page import list_page
from core.web.merchant_text import BadTemplate
from core.web.render import page, see_other
from core.web.request import shop_of, visit_of
from core.web.visit import Shop

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Version = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Small = Annotated[int, Meta(ge=-100_000, le=100_000)]
Count = Annotated[int, Meta(ge=1, le=1000)]
PAGE = 50
FIELD_ROWS = 4
COMMAS = re.compile("[,，、;；]")
WHOLE = re.compile("-?[0-9]{1,6}")
SKU_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

PERIODS: dict[str, Text] = {
    "none": _("No period"),
    "day": _("Day"),
    "week": _("Week"),
    "month": _("Month"),
    "season": _("Season"),
    "year": _("Year"),
    "lifetime": _("For ever"),
}
KINDS: dict[str, Text] = {
    "text": _("Text"),
    "email": _("E-mail"),
    "phone": _("Phone number"),
    "number": _("Number"),
    "select": _("Choice"),
}


TEXTS = {
    "title": "title",
    "summary": "summary",
    "description": "description",
    "note": "delivery_note",
    "seo_title": "seo_title",
    "seo_description": "seo_description",
}
"""Texts of a product in every language: their names in the form, and their columns."""
GATHER = {"asked": "asked_", **{name: f"{name}_" for name in TEXTS}}
TITLE = {"title": "title_"}
LONGEST_TEXT = 20_000


class ProductForm(msgspec.Struct):
    act: Literal["save", "note"] = "save"
    title: dict[str, str] = {}
    slug: Line = ""
    summary: dict[str, str] = {}
    description: dict[str, str] = {}
    note: dict[str, str] = {}
    category: Id | None = None
    guide: Id | None = None
    state: Literal["draft", "listed", "archived"] = "draft"
    position: Small = 0
    version: Version = 0
    tags: Line = ""
    seo_title: dict[str, str] = {}
    seo_description: dict[str, str] = {}
    asked: dict[str, str] = {}


class SkuRowsForm(msgspec.Struct):
    skus: dict[str, str] = {}


class SkuForm(msgspec.Struct):
    code: Line
    price: Line
    title: dict[str, str] = {}
    face_value: Line = ""
    period: Literal["none", "day", "week", "month", "season", "year", "lifetime"] = "none"
    min_per_order: Count = 1
    max_per_order: Count = 10
    max_per_buyer: Count | None = None
    low_stock: Annotated[int, Meta(ge=0, le=1_000_000)] = 5
    min_days_left: Annotated[int, Meta(ge=0, le=3650)] = 1
    burn_hours: Annotated[int, Meta(ge=0, le=8760)] | None = None
    listed: bool = False
    position: Small = 0
    version: Version = 0


class TiersForm(msgspec.Struct):
    version: Version
    tiers: dict[str, str] = {}


class ImageForm(msgspec.Struct):
    image: Upload


class CategoryForm(msgspec.Struct):
    title: dict[str, str] = {}
    slug: Line = ""
    position: Small = 0
    visible: bool = False


def editor(request: Request[Any, Any, Any]) -> Editor:
    return Editor(shop_of(request).id, request.state.session.staff_id)


def title_of(typed: dict[str, str]) -> dict[str, str]:
    title = languages.read(typed, "title")
    if not title:
        raise Refused(_("Give it a name, in at least one language."), "title_zh")
    return title


# -- the list ---------------------------------------------------------------------------


@get("/products", opt={"who": "staff:products.read", "repeats": ("col",)})
async def product_list(request: Request[Any, Any, Any]) -> Response[Any]:
    return await list_page(request, PRODUCTS, template="catalog/product_list.html")


# -- one product ------------------------------------------------------------------------


@get("/products/new", opt={"who": "staff:products.edit"})
async def new_product(request: Request[Any, Any, Any]) -> Response[str]:
    return await _product_page(request, None, {}, {})


@get("/products/{product_id:int}", opt={"who": "staff:products.read"})
async def product_page(request: Request[Any, Any, Any], product_id: FromPath[int]) -> Response[str]:
    return await _product_page(request, product_id, {}, {})


async def _product_page(
    request: Request[Any, Any, Any],
    product_id: int | None,
    errors: dict[str, Any],
    kept: dict[str, Any],
    sku_errors: dict[str, Any] | None = None,
    sku_kept: dict[str, Any] | None = None,
    open_sku: int | str = "",
    status: int = 200,
) -> Response[str]:
    shop_id = editor(request).shop_id
    product = await _product(shop_id, product_id) if product_id is not None else None
    skus = await _skus(product_id) if product_id is not None else []
    for sku in skus:
        kept_here = (sku_kept or {}) if sku["id"] == open_sku else {}
        sku["form"].update(kept_here)
        sku["tier_rows"] = _tier_rows(sku, kept_here.get("tiers"))
    form = {**_as_form(product), **kept}
    form["asked"] = form.get("asked") or {}
    shown, shown_of = await _notes(request, product, form["note"], errors)
    context = {
        "notes": shown,
        "note_of": shown_of,
        "variables": notes.VARIABLES,
        "product": product,
        "form": form,
        "skus": skus,
        "categories": [(row["id"], words(row["title"], locale())) for row in await _categories(shop_id)],
        "guides": await guides.names(shop_id),
        "errors": errors,
        "sku_errors": sku_errors or {},
        "new_sku": {"listed": True, **((sku_kept or {}) if open_sku == "new" else {})},
        "open_sku": open_sku,
        "sku_rows": (sku_kept or {}).get("rows", {}),
        "states": STATES,
        "periods": PERIODS,
        "kinds": KINDS,
        "field_rows": range(FIELD_ROWS),
        "used_rows": [row for row in range(FIELD_ROWS) if _is_asked(form["asked"], row)],
        "image": await _image(product),
        "currency": shop_of(request).currency,
    }
    return page(request, "catalog/product_edit.html", context, status=status)


def _shop(request: Request[Any, Any, Any]) -> tuple[Shop, str]:
    """The shop and its address."""
    visit = visit_of(request)
    return visit.shop, visit.origin


async def _notes(
    request: Request[Any, Any, Any], product: Any, typed: dict[str, str], errors: dict[str, Any]
) -> tuple[list[tuple[str, str, Markup]], str]:
    """The delivery note as a buyer reads it, by language, and the order it is filled in for. What is wrong with it is
    put to ``errors``."""
    shop, address = _shop(request)
    newest = None
    if product is not None and request.state.session.may("orders.read"):
        newest = await notes.newest_sold(shop.id, product["id"], address)
    shown = []
    for end, tag, language in languages.offered():
        text = typed.get(end, "").strip()
        try:
            filled = notes.fill(text, newest or notes.sample(shop, address, tag), shop, address, tag)
        except BadTemplate as error:
            errors.setdefault(f"note_{end}", str(error))
            continue
        if filled:
            shown.append((tag, language, to_html(filled)))
    return shown, newest.ref if newest else ""


async def _product(shop_id: int, product_id: int) -> Any:
    product = await db.fetchrow("SELECT * FROM catalog_product WHERE shop_id = $1 AND id = $2", shop_id, product_id)
    if product is None:
        raise NotFound()
    return product


async def _image(product: Any) -> Any:
    if product is None or product["image_id"] is None:
        return None
    return await db.fetchrow("SELECT id, sha256, width, height FROM catalog_media WHERE id = $1", product["image_id"])


SKUS = f"""
SELECT sku.*, {OF_SKU.format(sku="sku")} AS tiers FROM catalog_sku sku WHERE product_id = $1 ORDER BY position, id
"""  # noqa: S608 - put together from constants


async def _skus(product_id: int) -> list[dict[str, Any]]:
    rows = [dict(row) for row in await db.fetch(SKUS, product_id)]
    free = await stock.free_counts([row["id"] for row in rows])
    for row in rows:
        row["money"] = Money(row["price"], row["currency"])
        row["free"] = free[row["id"]]
        row["form"] = _sku_as_form(row)
    return rows


async def _categories(shop_id: int) -> list[Any]:
    return await db.fetch("SELECT * FROM catalog_category WHERE shop_id = $1 ORDER BY position, id", shop_id)


def _as_form(product: Any) -> dict[str, Any]:
    if product is None:
        return {"state": "draft", "position": 0, "version": 0, "asked": {}, **{name: {} for name in TEXTS}}
    form: dict[str, Any] = {name: product[name] for name in ("slug", "state", "position", "version")}
    form["category"], form["guide"] = product["category_id"], product["guide_id"]
    form["tags"] = ", ".join(product["tags"])
    form.update({name: languages.shown(product[column]) for name, column in TEXTS.items()})
    form["asked"] = {
        f"{row}_{name}": value
        for row, field in enumerate(product["buyer_fields"])
        for name, value in _field_as_form(field).items()
    }
    return form


def _field_as_form(field: dict[str, Any]) -> dict[str, str]:
    return {
        "key": field["key"],
        **languages.shown(field["label"]),
        "kind": field.get("kind", "text"),
        "required": "on" if field.get("required", True) else "",
        "options": "\n".join(field.get("options", [])),
        **{f"help_{end}": text for end, text in languages.shown(field.get("help", {})).items()},
    }


def _is_asked(asked: dict[str, str], row: int) -> bool:
    return any(_asked(asked, f"{row}_").values())


def _asked(asked: dict[str, str], prefix: str) -> dict[str, str]:
    """What was typed into the fields of this name, by their ends."""
    return {end: asked.get(f"{prefix}{end}", "") for end, _tag, _name in languages.offered()}


def _buyer_fields(asked: dict[str, str]) -> list[BuyerField]:
    fields = []
    for row in range(FIELD_ROWS):
        label = languages.read(_asked(asked, f"{row}_"), f"asked_{row}")
        if not label:
            continue
        kind = asked.get(f"{row}_kind", "text")
        key = asked.get(f"{row}_key", "").strip() or f"q{row + 1}"
        options = [line.strip() for line in asked.get(f"{row}_options", "").splitlines() if line.strip()]
        if kind not in KINDS or not key.isidentifier() or not key.isascii():
            raise Refused(_("A question to the buyer is not complete."), "asked")
        if kind == "select" and not options:
            raise Refused(_("Write the choices of this question, one in each line."), "asked")
        required = bool(asked.get(f"{row}_required"))
        hint = languages.read(_asked(asked, f"{row}_help_"), f"asked_{row}_help")
        fields.append(BuyerField(key, label, kind, required, help=hint, options=options))  # type: ignore[arg-type]
    if len({field.key for field in fields}) < len(fields):
        raise Refused(_("Two questions to the buyer have the same key."), "asked")
    return fields


def _draft(form: ProductForm, shop: Shop, address: str) -> ProductDraft:
    title = title_of(form.title)
    note = languages.read(form.note, "note", LONGEST_TEXT)
    for end, wrong in _wrong_notes(note, shop, address).items():
        raise Refused(wrong, f"note_{end}")
    slug = form.slug.lower() or editing.slug_from(title.get("en", ""))
    if editing.slug_from(slug) != slug:
        raise Refused(_("An address has only small letters, digits and hyphens."), "slug")
    return ProductDraft(
        slug=slug,
        title=title,
        summary=languages.read(form.summary, "summary"),
        description=languages.read(form.description, "description", LONGEST_TEXT),
        delivery_note=note,
        buyer_fields=_buyer_fields(form.asked),
        category_id=form.category,
        guide_id=form.guide,
        state=form.state,
        position=form.position,
        tags=_tags(form.tags),
        seo_title=languages.read(form.seo_title, "seo_title"),
        seo_description=languages.read(form.seo_description, "seo_description"),
    )


def _wrong_notes(note: dict[str, str], shop: Shop, address: str) -> dict[str, str]:
    """What is wrong with the delivery note, by the ends of its fields."""
    found = {end: notes.wrong(note.get(tag, ""), shop, address, tag) for end, tag, _name in languages.offered()}
    return {end: wrong for end, wrong in found.items() if wrong}


def _tags(text: str) -> list[str]:
    return list(dict.fromkeys(tag.strip() for tag in COMMAS.split(text) if tag.strip()))


@post("/products/new", opt={"who": "staff:products.edit"})
async def add_product(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        form = await read_form(request, ProductForm, gather=GATHER)
        if form.act == "note":
            return await _product_page(request, None, {}, msgspec.to_builtins(form))
        product_id = await editing.add_product(editor(request), _draft(form, *_shop(request)))
    except FormError as error:
        return await _product_page(request, None, dict(error.fields), error.kept, status=422)
    except Refused as refused:
        return await _product_page(request, None, _named(refused), msgspec.to_builtins(form), status=422)
    return flash(see_other(f"/admin/products/{product_id}"), _("Product added. Now give it a SKU with a price."))


@post("/products/{product_id:int}", opt={"who": "staff:products.edit"})
async def save_product(request: Request[Any, Any, Any], product_id: FromPath[int]) -> Response[Any]:
    try:
        form = await read_form(request, ProductForm, gather=GATHER)
        if form.act == "note":
            return await _product_page(request, product_id, {}, msgspec.to_builtins(form))
        await editing.save_product(editor(request), product_id, form.version, _draft(form, *_shop(request)))
    except FormError as error:
        return await _product_page(request, product_id, dict(error.fields), error.kept, status=422)
    except editing.ChangedMeanwhile as changed:
        now = await _product(editor(request).shop_id, product_id)
        kept = {**msgspec.to_builtins(form), "version": now["version"]}
        return await _product_page(request, product_id, {"form": changed.text}, kept, status=409)
    except Refused as refused:
        return await _product_page(request, product_id, _named(refused), msgspec.to_builtins(form), status=422)
    return flash(see_other(f"/admin/products/{product_id}"), _("Saved."))


@post("/products/{product_id:int}/duplicate", opt={"who": "staff:products.edit"})
async def duplicate_product(request: Request[Any, Any, Any], product_id: FromPath[int]) -> Response[Any]:
    await _product(editor(request).shop_id, product_id)
    copy_id = await editing.duplicate_product(editor(request), product_id)
    return flash(see_other(f"/admin/products/{copy_id}"), _("This is the copy: a draft that nobody sees yet."))


@post("/products/{product_id:int}/delete", opt={"who": "staff:products.edit"})
async def delete_product(request: Request[Any, Any, Any], product_id: FromPath[int]) -> Response[Any]:
    await _product(editor(request).shop_id, product_id)
    try:
        await editing.delete_product(editor(request), product_id)
    except Refused as refused:
        return await _product_page(request, product_id, _named(refused), {}, status=409)
    return flash(see_other("/admin/products"), _("Product deleted."))


@post("/products/{product_id:int}/image", opt={"who": "staff:products.edit", "max_body": 12_000_000})
async def upload_image(request: Request[Any, Any, Any], product_id: FromPath[int]) -> Response[Any]:
    who = editor(request)
    await _product(who.shop_id, product_id)
    try:
        form = await read_form(request, ImageForm)
        body, width, height = await images.read(form.image.file)
    except FormError as error:
        return await _product_page(request, product_id, dict(error.fields), {}, status=422)
    except Refused as refused:
        return await _product_page(request, product_id, _named(refused), {}, status=422)
    image_id = await db.transaction(images.keep, who.shop_id, body, width, height)
    await editing.set_image(who, product_id, image_id)
    return flash(see_other(f"/admin/products/{product_id}"), _("Picture saved."))


@post("/products/{product_id:int}/image/remove", opt={"who": "staff:products.edit"})
async def remove_image(request: Request[Any, Any, Any], product_id: FromPath[int]) -> Response[Any]:
    await _product(editor(request).shop_id, product_id)
    await editing.set_image(editor(request), product_id, None)
    return flash(see_other(f"/admin/products/{product_id}"), _("Picture removed."))


# -- SKUs -------------------------------------------------------------------------------


def _sku_as_form(row: dict[str, Any]) -> dict[str, Any]:
    names = (
        "code",
        "period",
        "min_per_order",
        "max_per_order",
        "max_per_buyer",
        "low_stock",
        "min_days_left",
        "burn_hours",
        "listed",
        "position",
        "version",
    )
    form = {name: row[name] for name in names}
    form["title"] = languages.shown(row["title"])
    form["price"] = row["money"].plain()
    form["face_value"] = "" if row["face_value"] is None else Money(row["face_value"], row["currency"]).plain()
    return form


def _sku_draft(form: SkuForm, currency: str) -> SkuDraft:
    if form.max_per_order < form.min_per_order:
        raise Refused(_("The most per order is below the least."), "max_per_order")
    return SkuDraft(
        code=form.code,
        title=title_of(form.title),
        price=_price(form.price, currency),
        currency=currency,
        face_value=read_amount_from_zero(form.face_value, currency, "face_value").amount if form.face_value else None,
        period=form.period,
        min_per_order=form.min_per_order,
        max_per_order=form.max_per_order,
        max_per_buyer=form.max_per_buyer,
        low_stock=form.low_stock,
        listed=form.listed,
        position=form.position,
        burn_hours=form.burn_hours,
        min_days_left=form.min_days_left,
    )


def _price(text: str, currency: str) -> int:
    price = read_amount_from_zero(text, currency, "price").amount
    if price == 0:
        raise Refused(_("A price must be above zero: nobody can pay nothing."), "price")
    return price


@post("/products/{product_id:int}/skus", opt={"who": "staff:products.edit"})
async def add_sku(request: Request[Any, Any, Any], product_id: FromPath[int]) -> Response[Any]:
    return await _write_sku(request, product_id, None)


@post("/products/{product_id:int}/skus/{sku_id:int}", opt={"who": "staff:products.edit"})
async def save_sku(request: Request[Any, Any, Any], product_id: FromPath[int], sku_id: FromPath[int]) -> Response[Any]:
    return await _write_sku(request, product_id, sku_id)


async def _write_sku(request: Request[Any, Any, Any], product_id: int, sku_id: int | None) -> Response[Any]:
    open_sku: int | str = sku_id if sku_id is not None else "new"
    await _product(editor(request).shop_id, product_id)
    if sku_id is not None:
        await _sku_version(product_id, sku_id)
    try:
        form = await read_form(request, SkuForm, gather=TITLE)
        draft = _sku_draft(form, shop_of(request).currency)
        if not SKU_CODE.fullmatch(draft.code):
            raise Refused(_("A SKU code has letters, digits, dots, hyphens and underscores, 64 at most."), "code")
        if sku_id is None:
            await editing.add_sku(editor(request), product_id, draft)
        else:
            await editing.save_sku(editor(request), sku_id, form.version, draft)
    except FormError as error:
        return await _product_page(
            request, product_id, {}, {}, dict(error.fields), {"listed": False, **error.kept}, open_sku, status=422
        )
    except editing.ChangedMeanwhile as changed:
        kept = {**msgspec.to_builtins(form), "version": await _sku_version(product_id, sku_id)}
        return await _product_page(request, product_id, {}, {}, _named(changed), kept, open_sku, status=409)
    except Refused as refused:
        kept = msgspec.to_builtins(form)
        return await _product_page(request, product_id, {}, {}, _named(refused), kept, open_sku=open_sku, status=422)
    return flash(see_other(f"/admin/products/{product_id}"), _("SKU saved."))


@post("/products/{product_id:int}/prices", opt={"who": "staff:products.edit"})
async def save_sku_rows(request: Request[Any, Any, Any], product_id: FromPath[int]) -> Response[Any]:
    await _product(editor(request).shop_id, product_id)
    form = await read_form(request, SkuRowsForm, gather={"skus": "sku_"})
    currency = shop_of(request).currency
    ids = sorted({int(name.partition("_")[0]) for name in form.skus if name.partition("_")[0].isdecimal()})
    try:
        rows = [_sku_row(id, form.skus, currency) for id in ids]
        await editing.save_sku_rows(editor(request), product_id, rows)
    except Refused as refused:
        status = 409 if isinstance(refused, editing.ChangedMeanwhile) else 422
        return await _product_page(
            request, product_id, {}, {}, {"rows": refused.text}, {"rows": form.skus}, open_sku="rows", status=status
        )
    return flash(see_other(f"/admin/products/{product_id}"), _("Saved."))


def _sku_row(id: int, typed: dict[str, str], currency: str) -> editing.SkuRow:
    version, position = typed.get(f"{id}_version", ""), typed.get(f"{id}_position", "").strip() or "0"
    if not WHOLE.fullmatch(version) or not WHOLE.fullmatch(position):
        raise Refused(_("Write a number, in digits."))
    listed = bool(typed.get(f"{id}_listed"))
    return editing.SkuRow(id, int(version), _price(typed.get(f"{id}_price", ""), currency), int(position), listed)


async def _sku_version(product_id: int, sku_id: int | None) -> int:
    version = await db.fetchval("SELECT version FROM catalog_sku WHERE product_id = $1 AND id = $2", product_id, sku_id)
    if version is None:
        raise NotFound()
    return int(version)


@post("/products/{product_id:int}/skus/{sku_id:int}/delete", opt={"who": "staff:products.edit"})
async def delete_sku(
    request: Request[Any, Any, Any], product_id: FromPath[int], sku_id: FromPath[int]
) -> Response[Any]:
    await _product(editor(request).shop_id, product_id)
    await _sku_version(product_id, sku_id)
    try:
        await editing.delete_sku(editor(request), sku_id)
    except Refused as refused:
        return await _product_page(request, product_id, _named(refused), {}, status=409)
    return flash(see_other(f"/admin/products/{product_id}"), _("SKU deleted."))


# -- prices for larger quantities -------------------------------------------------------


def _tier_rows(sku: dict[str, Any], kept: dict[str, str] | None) -> list[dict[str, Any]]:
    """The rows of its form: as they were filled in, else as they are stored, with some to spare."""
    if kept is not None:
        return [{"from": kept.get(f"{row}_from"), "price": kept.get(f"{row}_price")} for row in range(_rows_of(kept))]
    rows = [{"from": least, "price": Money(price, sku["currency"]).plain()} for least, price in sku["tiers"]]
    spare = min(max(3, len(rows) + 1), MOST_TIERS)
    return rows + [{"from": "", "price": ""}] * (spare - len(rows))


def _rows_of(tiers: dict[str, str]) -> int:
    return min(len(tiers) // 2, MOST_TIERS)


def _tiers(tiers: dict[str, str], currency: str) -> dict[int, int]:
    """From how many, and the price of one; what is wrong is refused at the row it stands in."""
    found: dict[int, int] = {}
    for row in range(_rows_of(tiers)):
        least, price = tiers.get(f"{row}_from", "").strip(), tiers.get(f"{row}_price", "").strip()
        if not least and not price:
            continue
        if not (least.isascii() and least.isdecimal() and len(least) < 5):
            raise Refused(_("Write a number, in digits."), f"{row}_from")
        if int(least) in found:
            raise Refused(_("This quantity stands here twice."), f"{row}_from")
        found[int(least)] = read_amount_from_zero(price, currency, f"{row}_price").amount
    return found


@post("/products/{product_id:int}/skus/{sku_id:int}/tiers", opt={"who": "staff:products.edit"})
async def save_tiers(
    request: Request[Any, Any, Any], product_id: FromPath[int], sku_id: FromPath[int]
) -> Response[Any]:
    await _product(editor(request).shop_id, product_id)
    await _sku_version(product_id, sku_id)
    prefix = f"tier_{sku_id}_"
    form = await read_form(request, TiersForm, gather={"tiers": prefix})
    try:
        tiers = _tiers(form.tiers, shop_of(request).currency)
        try:
            await editing.save_tiers(editor(request), sku_id, form.version, tiers)
        except Refused as refused:
            raise _at_its_row(refused, form.tiers) from None
    except editing.ChangedMeanwhile as changed:
        kept = {"tiers": form.tiers, "version": await _sku_version(product_id, sku_id)}
        return await _product_page(request, product_id, {}, {}, _named(changed), kept, sku_id, status=409)
    except Refused as refused:
        errors = {f"{prefix}{refused.field}": refused.text}
        return await _product_page(request, product_id, {}, {}, errors, {"tiers": form.tiers}, sku_id, status=422)
    return flash(see_other(f"/admin/products/{product_id}"), _("Prices saved."))


def _at_its_row(refused: Refused, tiers: dict[str, str]) -> Refused:
    """A refusal that names a quantity, naming its row; any other as it is."""
    least, _line, column = (refused.field or "").partition("_")
    row = next((row for row in range(_rows_of(tiers)) if tiers.get(f"{row}_from", "").strip() == least), None)
    return refused if row is None or not column else Refused(refused.text, f"{row}_{column}")


# -- categories -------------------------------------------------------------------------


@get("/categories", opt={"who": "staff:products.read"})
async def category_list(request: Request[Any, Any, Any]) -> Response[str]:
    return await _category_page(request, {}, {}, "")


async def _category_page(
    request: Request[Any, Any, Any], errors: dict[str, Any], kept: dict[str, Any], open_id: int | str, status: int = 200
) -> Response[str]:
    rows = await db.fetch(
        "SELECT category.*, (SELECT count(*) FROM catalog_product product WHERE product.category_id = category.id)"
        " AS products FROM catalog_category category WHERE shop_id = $1 ORDER BY position, id",
        editor(request).shop_id,
    )
    named = languages.shown
    context = {"categories": rows, "errors": errors, "kept": kept, "open_id": open_id, "named": named}
    return page(request, "catalog/category_list.html", context, status=status)


@post("/categories", opt={"who": "staff:products.edit"})
async def add_category(request: Request[Any, Any, Any]) -> Response[Any]:
    return await _write_category(request, None)


@post("/categories/{category_id:int}", opt={"who": "staff:products.edit"})
async def save_category(request: Request[Any, Any, Any], category_id: FromPath[int]) -> Response[Any]:
    return await _write_category(request, category_id)


async def _write_category(request: Request[Any, Any, Any], category_id: int | None) -> Response[Any]:
    open_id: int | str = category_id if category_id is not None else "new"
    try:
        form = await read_form(request, CategoryForm, gather=TITLE)
        title = title_of(form.title)
        slug = form.slug.lower() or editing.slug_from(title.get("en", ""))
        if editing.slug_from(slug) != slug:
            raise Refused(_("An address has only small letters, digits and hyphens."), "slug")
        await editing.save_category(editor(request), category_id, slug, title, form.position, form.visible)
    except FormError as error:
        return await _category_page(request, dict(error.fields), {"visible": False, **error.kept}, open_id, 422)
    except Refused as refused:
        return await _category_page(request, _named(refused), msgspec.to_builtins(form), open_id, 422)
    return flash(see_other("/admin/categories"), _("Saved."))


@post("/categories/{category_id:int}/delete", opt={"who": "staff:products.edit"})
async def delete_category(request: Request[Any, Any, Any], category_id: FromPath[int]) -> Response[Any]:
    await editing.delete_category(editor(request), category_id)
    return flash(see_other("/admin/categories"), _("Category deleted; its products stay."))


def _named(refused: Refused) -> dict[str, Any]:
    return {refused.field or "form": refused.text}


ROUTES = (
    product_list,
    new_product,
    add_product,
    product_page,
    save_product,
    duplicate_product,
    delete_product,
    upload_image,
    remove_image,
    add_sku,
    save_sku,
    save_sku_rows,
    delete_sku,
    save_tiers,
    category_list,
    add_category,
    save_category,
    delete_category,
)
