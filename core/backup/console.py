"""Backups in the console: the plan, the key they are sealed to, those that were made."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import File
from msgspec import Meta

from core.backup import service
from core.backup.lists import BACKUPS
from core.backup.service import Plan
from core.jobs import ring
from core.refused import Refused
from core.vault import sealed_file
from core.web.errors import FormError, NotFound
from core.web.flash import flash
from core.web.forms import read_form
from core.web.i18n import _
from core.web.list_page import list_page
from core.web.render import page, see_other

MINE = {"who": "staff:backups.manage"}
FRESH = {**MINE, "fresh": True}


class PlanForm(msgspec.Struct):
    every_hours: Annotated[int, Meta(ge=1, le=720)]
    keep: Annotated[int, Meta(ge=1, le=1000)]
    public_key: Annotated[str, Meta(max_length=200, extra={"strip": True})] = ""


@get("/backups", opt={**MINE, "repeats": ("col",)})
async def backups(request: Request[Any, Any, Any]) -> Response[str]:
    return await _backups(request)


async def _backups(
    request: Request[Any, Any, Any],
    errors: dict[str, Any] | None = None,
    kept: dict[str, Any] | None = None,
    status: int = 200,
) -> Response[str]:
    plan = await service.plan()
    context = {
        "plan": {**{name: getattr(plan, name) for name in ("public_key", "every_hours", "keep")}, **(kept or {})},
        "planned": bool(plan.public_key),
        "standing": await service.standing(),
        "errors": errors or {},
    }
    return await list_page(request, BACKUPS, context, template="backup/backups.html", status=status)


@post("/backups/plan", opt=FRESH)
async def save(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        form = await read_form(request, PlanForm)
        await service.save_plan(Plan(form.public_key, form.every_hours, form.keep), request.state.session.staff_id)
    except FormError as error:
        return await _backups(request, dict(error.fields), error.kept, 422)
    except Refused as refused:
        return await _backups(request, {refused.field: refused.text}, msgspec.to_builtins(form), 422)
    return flash(see_other("/admin/backups"), _("Saved."))


@post("/backups/key", opt=FRESH)
async def make_key(request: Request[Any, Any, Any]) -> Response[Any]:
    """A new key: its secret half is on this page once and nowhere else."""
    secret, public = sealed_file.new_key()
    plan = await service.plan()
    await service.save_plan(Plan(public, plan.every_hours, plan.keep), request.state.session.staff_id)
    return page(request, "backup/key.html", {"secret": secret.reveal(), "public": public})


@post("/backups/now", opt=MINE)
async def make_now(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        await ring(await service.ask_for_one(request.state.session.staff_id))
    except Refused as refused:
        return await _backups(request, {refused.field: refused.text}, status=409)
    return flash(see_other("/admin/backups"), _("A backup is being made. It stands in the list when it is done."))


@post("/backups/{file_id:int}/fetch", opt=FRESH, status_code=200)
async def fetch(request: Request[Any, Any, Any], file_id: FromPath[int]) -> File:
    file = await service.file_here(file_id)
    if file is None:
        raise NotFound()
    client = request.client
    await service.fetched(file_id, request.state.session.staff_id, client.host if client else None)
    return File(path=file, filename=file.name, media_type="application/octet-stream")


ROUTES = (backups, save, make_key, make_now, fetch)
