"""Plain codes in the console: staff look at those of one order, or take many with a colleague's consent."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Stream
from msgspec import Meta

from core import db
from core.audit.person import person_of
from core.refused import Refused
from core.vault import export, staff_reveal
from core.vault.export import Wanted
from core.vault.staff_reveal import Onlooker
from core.web.errors import FormError
from core.web.flash import flash
from core.web.forms import Line, errors_of, read_form
from core.web.i18n import _
from core.web.render import page, see_other
from core.web.request import visit_of

SHOWN_SECONDS = 60
EXPORTS = "/admin/exports"
BATCHES = """
SELECT batch.id, sku.code || ' · ' || batch.name FROM vault_batch batch JOIN catalog_sku sku ON sku.id = batch.sku_id
WHERE batch.shop_id = $1 AND batch.state = 'ready' ORDER BY batch.id DESC LIMIT 200
"""
Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Look(msgspec.Struct):
    reason: Line
    code: Id | None = None


class NewExport(msgspec.Struct):
    sku: Id
    reason: Line
    code_state: Literal["free", "delivered"] = "free"
    batch: Id | None = None


class File(msgspec.Struct):
    password: Annotated[str, Meta(min_length=20, max_length=100)]


# -- the codes of one order -------------------------------------------------------------


@post("/orders/{ref:str}/codes", opt={"who": "staff:codes.reveal", "fresh": True, "limit": "staff-reveal"})
async def look(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    form = await read_form(request, Look)
    visit, who = visit_of(request), person_of(request)
    most = visit.shop.settings.staff_codes_per_day
    onlooker = Onlooker(who.shop_id, who.staff_id, most, who.ip, request.headers.get("user-agent", ""))
    try:
        codes = await staff_reveal.look(onlooker, ref, form.reason, form.code)
    except Refused as refused:
        return flash(see_other(f"/admin/orders/{ref}"), refused.text, "error")
    context = {
        "ref": ref,
        "codes": codes,
        "reason": form.reason,
        "seconds": SHOWN_SECONDS,
        "left": await staff_reveal.left_today(who.staff_id, most),
    }
    return page(request, "vault/staff_codes.html", context)


# -- many codes -------------------------------------------------------------------------


@get("/exports", opt={"who": "staff:codes.export"})
async def exports(request: Request[Any, Any, Any]) -> Response[str]:
    return await _exports(request, {}, {})


async def _exports(
    request: Request[Any, Any, Any], kept: dict[str, Any], errors: dict[str, Any], status: int = 200
) -> Response[str]:
    who = person_of(request)
    context = {
        "exports": await export.listed(who.shop_id),
        "me": who.staff_id,
        "skus": await db.fetch("SELECT id, code FROM catalog_sku WHERE shop_id = $1 ORDER BY code", who.shop_id),
        "batches": await db.fetch(BATCHES, who.shop_id),
        "states": export.STATES,
        "most_files": export.MOST_FILES,
        "password": export.new_password(),
        "kept": kept,
        "errors": errors,
    }
    return page(request, "vault/exports.html", context, status=status)


@post("/exports", opt={"who": "staff:codes.export", "fresh": True})
async def ask(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        form = await read_form(request, NewExport)
        await export.ask(person_of(request), Wanted(form.sku, form.batch, form.code_state, form.reason))
    except FormError as error:
        return await _exports(request, error.kept, dict(error.fields), 422)
    except Refused as refused:
        return await _exports(request, msgspec.to_builtins(form), errors_of(refused), 422)
    return flash(see_other(EXPORTS), _("Asked for. Now somebody else has to approve it."))


@post("/exports/{export_id:int}/approve", opt={"who": "staff:codes.export", "fresh": True})
async def approve(request: Request[Any, Any, Any], export_id: FromPath[int]) -> Response[Any]:
    return await _done(
        export.approve(person_of(request), export_id), _("Approved: the one who asked can take the file.")
    )


@post("/exports/{export_id:int}/refuse", opt={"who": "staff:codes.export"})
async def refuse(request: Request[Any, Any, Any], export_id: FromPath[int]) -> Response[Any]:
    return await _done(export.refuse(person_of(request), export_id), _("Refused: no codes leave."))


async def _done(act: Awaitable[None], said: Any) -> Response[Any]:
    try:
        await act
    except Refused as refused:
        return flash(see_other(EXPORTS), refused.text, "error")
    return flash(see_other(EXPORTS), said)


@post("/exports/{export_id:int}/file", opt={"who": "staff:codes.export", "fresh": True})
async def file(request: Request[Any, Any, Any], export_id: FromPath[int]) -> Response[Any] | Stream:
    form = await read_form(request, File)
    who = person_of(request)
    try:
        taken = await export.take(who, export_id)
    except Refused as refused:
        return flash(see_other(EXPORTS), refused.text, "error")
    headers = {
        "content-disposition": f'attachment; filename="codes-{export_id}.zip"',
        "cache-control": "no-store",
    }
    return Stream(
        export.zipped(who, taken, form.password), media_type="application/zip", status_code=200, headers=headers
    )


ROUTES = (look, exports, ask, approve, refuse, file)
