"""Categories in the console."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath

from core import db
from core.audit.person import person_of
from core.catalog import editing
from core.catalog.forms import TITLE, CategoryForm, title_of
from core.refused import Refused
from core.web import languages
from core.web.errors import FormError
from core.web.flash import flash
from core.web.forms import errors_of, read_form
from core.web.i18n import _
from core.web.render import page, see_other
from core.web.request import shop_of


@get("/categories", opt={"who": "staff:products.read"})
async def category_list(request: Request[Any, Any, Any]) -> Response[str]:
    return await _category_page(request, {}, {}, "")


async def _category_page(
    request: Request[Any, Any, Any], errors: dict[str, Any], kept: dict[str, Any], open_id: int | str, status: int = 200
) -> Response[str]:
    rows = await db.fetch(
        "SELECT category.*, (SELECT count(*) FROM catalog_product product WHERE product.category_id = category.id)"
        " AS products FROM catalog_category category WHERE shop_id = $1 ORDER BY position, id",
        shop_of(request).id,
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
        await editing.save_category(person_of(request), category_id, slug, title, form.position, form.visible)
    except FormError as error:
        return await _category_page(request, dict(error.fields), {"visible": False, **error.kept}, open_id, 422)
    except Refused as refused:
        return await _category_page(request, errors_of(refused), msgspec.to_builtins(form), open_id, 422)
    return flash(see_other("/admin/categories"), _("Saved."))


@post("/categories/{category_id:int}/delete", opt={"who": "staff:products.edit"})
async def delete_category(request: Request[Any, Any, Any], category_id: FromPath[int]) -> Response[Any]:
    await editing.delete_category(person_of(request), category_id)
    return flash(see_other("/admin/categories"), _("Category deleted; its products stay."))


ROUTES = (category_list, add_category, save_category, delete_category)
