"""Products in the console, with their SKUs and pictures."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from markupsafe import Markup

from core import db
from core.audit.person import person_of
from core.catalog import editing, guides, images, notes
from core.catalog.forms import (
    FIELD_ROWS,
    GATHER,
    KINDS,
    PERIODS,
    SKU_CODE,
    TITLE,
    ImageForm,
    ProductForm,
    SkuForm,
    SkuRowsForm,
    TiersForm,
    at_its_row,
    is_asked,
    product_as_form,
    product_draft,
    read_tiers,
    sku_as_form,
    sku_draft,
    sku_row,
    tier_rows,
)
from core.catalog.lists import PRODUCTS, STATES
from core.catalog.markdown import to_html
from core.catalog.service import words
from core.catalog.tiers import OF_SKU
from core.money import Money
from core.refused import Refused
from core.vault import stock
from core.web import languages
from core.web.errors import FormError, NotFound
from core.web.flash import flash
from core.web.forms import errors_of, read_form
from core.web.i18n import _, locale
from core.web.list_page import list_page
from core.web.merchant_text import BadTemplate
from core.web.render import page, see_other
from core.web.request import shop_of, visit_of
from core.web.visit import Shop

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
    shop_id = shop_of(request).id
    product = await _product(shop_id, product_id) if product_id is not None else None
    skus = await _skus(product_id) if product_id is not None else []
    for sku in skus:
        kept_here = (sku_kept or {}) if sku["id"] == open_sku else {}
        sku["form"].update(kept_here)
        sku["tier_rows"] = tier_rows(sku, kept_here.get("tiers"))
    form = {**product_as_form(product), **kept}
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
        "used_rows": [row for row in range(FIELD_ROWS) if is_asked(form["asked"], row)],
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
        row["form"] = sku_as_form(row)
    return rows


async def _categories(shop_id: int) -> list[Any]:
    return await db.fetch("SELECT * FROM catalog_category WHERE shop_id = $1 ORDER BY position, id", shop_id)


@post("/products/new", opt={"who": "staff:products.edit"})
async def add_product(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        form = await read_form(request, ProductForm, gather=GATHER)
        if form.act == "note":
            return await _product_page(request, None, {}, msgspec.to_builtins(form))
        product_id = await editing.add_product(person_of(request), product_draft(form, *_shop(request)))
    except FormError as error:
        return await _product_page(request, None, dict(error.fields), error.kept, status=422)
    except Refused as refused:
        return await _product_page(request, None, errors_of(refused), msgspec.to_builtins(form), status=422)
    return flash(see_other(f"/admin/products/{product_id}"), _("Product added. Now give it a SKU with a price."))


@post("/products/{product_id:int}", opt={"who": "staff:products.edit"})
async def save_product(request: Request[Any, Any, Any], product_id: FromPath[int]) -> Response[Any]:
    try:
        form = await read_form(request, ProductForm, gather=GATHER)
        if form.act == "note":
            return await _product_page(request, product_id, {}, msgspec.to_builtins(form))
        await editing.save_product(person_of(request), product_id, form.version, product_draft(form, *_shop(request)))
    except FormError as error:
        return await _product_page(request, product_id, dict(error.fields), error.kept, status=422)
    except editing.ChangedMeanwhile as changed:
        now = await _product(shop_of(request).id, product_id)
        kept = {**msgspec.to_builtins(form), "version": now["version"]}
        return await _product_page(request, product_id, {"form": changed.text}, kept, status=409)
    except Refused as refused:
        return await _product_page(request, product_id, errors_of(refused), msgspec.to_builtins(form), status=422)
    return flash(see_other(f"/admin/products/{product_id}"), _("Saved."))


@post("/products/{product_id:int}/duplicate", opt={"who": "staff:products.edit"})
async def duplicate_product(request: Request[Any, Any, Any], product_id: FromPath[int]) -> Response[Any]:
    await _product(shop_of(request).id, product_id)
    copy_id = await editing.duplicate_product(person_of(request), product_id)
    return flash(see_other(f"/admin/products/{copy_id}"), _("This is the copy: a draft that nobody sees yet."))


@post("/products/{product_id:int}/delete", opt={"who": "staff:products.edit"})
async def delete_product(request: Request[Any, Any, Any], product_id: FromPath[int]) -> Response[Any]:
    await _product(shop_of(request).id, product_id)
    try:
        await editing.delete_product(person_of(request), product_id)
    except Refused as refused:
        return await _product_page(request, product_id, errors_of(refused), {}, status=409)
    return flash(see_other("/admin/products"), _("Product deleted."))


@post("/products/{product_id:int}/image", opt={"who": "staff:products.edit", "max_body": 12_000_000})
async def upload_image(request: Request[Any, Any, Any], product_id: FromPath[int]) -> Response[Any]:
    who = person_of(request)
    await _product(who.shop_id, product_id)
    try:
        form = await read_form(request, ImageForm)
        body, width, height = await images.read(form.image.file)
    except FormError as error:
        return await _product_page(request, product_id, dict(error.fields), {}, status=422)
    except Refused as refused:
        return await _product_page(request, product_id, errors_of(refused), {}, status=422)
    image_id = await db.transaction(images.keep, who.shop_id, body, width, height)
    await editing.set_image(who, product_id, image_id)
    return flash(see_other(f"/admin/products/{product_id}"), _("Picture saved."))


@post("/products/{product_id:int}/image/remove", opt={"who": "staff:products.edit"})
async def remove_image(request: Request[Any, Any, Any], product_id: FromPath[int]) -> Response[Any]:
    await _product(shop_of(request).id, product_id)
    await editing.set_image(person_of(request), product_id, None)
    return flash(see_other(f"/admin/products/{product_id}"), _("Picture removed."))


# -- SKUs -------------------------------------------------------------------------------


@post("/products/{product_id:int}/skus", opt={"who": "staff:products.edit"})
async def add_sku(request: Request[Any, Any, Any], product_id: FromPath[int]) -> Response[Any]:
    return await _write_sku(request, product_id, None)


@post("/products/{product_id:int}/skus/{sku_id:int}", opt={"who": "staff:products.edit"})
async def save_sku(request: Request[Any, Any, Any], product_id: FromPath[int], sku_id: FromPath[int]) -> Response[Any]:
    return await _write_sku(request, product_id, sku_id)


async def _write_sku(request: Request[Any, Any, Any], product_id: int, sku_id: int | None) -> Response[Any]:
    open_sku: int | str = sku_id if sku_id is not None else "new"
    await _product(shop_of(request).id, product_id)
    if sku_id is not None:
        await _sku_version(product_id, sku_id)
    try:
        form = await read_form(request, SkuForm, gather=TITLE)
        draft = sku_draft(form, shop_of(request).currency)
        if not SKU_CODE.fullmatch(draft.code):
            raise Refused(_("A SKU code has letters, digits, dots, hyphens and underscores, 64 at most."), "code")
        if sku_id is None:
            await editing.add_sku(person_of(request), product_id, draft)
        else:
            await editing.save_sku(person_of(request), sku_id, form.version, draft)
    except FormError as error:
        return await _product_page(
            request, product_id, {}, {}, dict(error.fields), {"listed": False, **error.kept}, open_sku, status=422
        )
    except editing.ChangedMeanwhile as changed:
        kept = {**msgspec.to_builtins(form), "version": await _sku_version(product_id, sku_id)}
        return await _product_page(request, product_id, {}, {}, errors_of(changed), kept, open_sku, status=409)
    except Refused as refused:
        kept = msgspec.to_builtins(form)
        return await _product_page(request, product_id, {}, {}, errors_of(refused), kept, open_sku=open_sku, status=422)
    return flash(see_other(f"/admin/products/{product_id}"), _("SKU saved."))


@post("/products/{product_id:int}/prices", opt={"who": "staff:products.edit"})
async def save_sku_rows(request: Request[Any, Any, Any], product_id: FromPath[int]) -> Response[Any]:
    await _product(shop_of(request).id, product_id)
    form = await read_form(request, SkuRowsForm, gather={"skus": "sku_"})
    currency = shop_of(request).currency
    ids = sorted({int(name.partition("_")[0]) for name in form.skus if name.partition("_")[0].isdecimal()})
    try:
        rows = [sku_row(id, form.skus, currency) for id in ids]
        await editing.save_sku_rows(person_of(request), product_id, rows)
    except Refused as refused:
        status = 409 if isinstance(refused, editing.ChangedMeanwhile) else 422
        return await _product_page(
            request, product_id, {}, {}, {"rows": refused.text}, {"rows": form.skus}, open_sku="rows", status=status
        )
    return flash(see_other(f"/admin/products/{product_id}"), _("Saved."))


async def _sku_version(product_id: int, sku_id: int | None) -> int:
    version = await db.fetchval("SELECT version FROM catalog_sku WHERE product_id = $1 AND id = $2", product_id, sku_id)
    if version is None:
        raise NotFound()
    return int(version)


@post("/products/{product_id:int}/skus/{sku_id:int}/delete", opt={"who": "staff:products.edit"})
async def delete_sku(
    request: Request[Any, Any, Any], product_id: FromPath[int], sku_id: FromPath[int]
) -> Response[Any]:
    await _product(shop_of(request).id, product_id)
    await _sku_version(product_id, sku_id)
    try:
        await editing.delete_sku(person_of(request), sku_id)
    except Refused as refused:
        return await _product_page(request, product_id, errors_of(refused), {}, status=409)
    return flash(see_other(f"/admin/products/{product_id}"), _("SKU deleted."))


@post("/products/{product_id:int}/skus/{sku_id:int}/tiers", opt={"who": "staff:products.edit"})
async def save_tiers(
    request: Request[Any, Any, Any], product_id: FromPath[int], sku_id: FromPath[int]
) -> Response[Any]:
    await _product(shop_of(request).id, product_id)
    await _sku_version(product_id, sku_id)
    prefix = f"tier_{sku_id}_"
    form = await read_form(request, TiersForm, gather={"tiers": prefix})
    try:
        tiers = read_tiers(form.tiers, shop_of(request).currency)
        try:
            await editing.save_tiers(person_of(request), sku_id, form.version, tiers)
        except Refused as refused:
            raise at_its_row(refused, form.tiers) from None
    except editing.ChangedMeanwhile as changed:
        kept = {"tiers": form.tiers, "version": await _sku_version(product_id, sku_id)}
        return await _product_page(request, product_id, {}, {}, errors_of(changed), kept, sku_id, status=409)
    except Refused as refused:
        errors = {f"{prefix}{refused.field}": refused.text}
        return await _product_page(request, product_id, {}, {}, errors, {"tiers": form.tiers}, sku_id, status=422)
    return flash(see_other(f"/admin/products/{product_id}"), _("Prices saved."))


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
)
