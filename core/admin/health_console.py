"""How the shop is doing, and the day it opens."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, get, post

from core import db
from core.admin import health, opening
from core.admin.jobs import LOOK_OUTSIDE
from core.config import Config
from core.jobs import enqueue, ring
from core.refused import Refused
from core.shops import service as shops
from core.shops.service import Shop
from core.web.flash import flash
from core.web.forms import read_form
from core.web.i18n import _
from core.web.render import page, see_other
from core.web.request import AnyRequest, shop_of, visit_of


class Nothing(msgspec.Struct):
    pass


class Opening(msgspec.Struct):
    clean: bool = False


def _config(request: AnyRequest) -> Config:
    config: Config = request.app.state.config
    return config


async def _shop(request: AnyRequest) -> Shop:
    return await shops.by_id(shop_of(request).id)


def seen(request: AnyRequest) -> health.Seen:
    """A proxy that is trusted has put the visitor's address in its own place; of another its own is left."""
    visit = visit_of(request)
    passed_on = request.headers.get("x-forwarded-for", "")
    untrusted = passed_on and visit.ip not in {part.strip() for part in passed_on.split(",")}
    return health.Seen(visit.origin, visit.ip, visit.ip if untrusted else "")


@get("/health", opt={"who": "staff:health.read"})
async def health_page(request: AnyRequest) -> Response[str]:
    context = {"checks": await health.look(_config(request), seen(request)), "stored": await _shop(request)}
    return page(request, "admin/health.html", context)


@post("/health/outside", opt={"who": "staff:health.read", "limit": "outside", "max_body": 4096})
async def look_outside(request: AnyRequest) -> Response[Any]:
    """By a worker: the page does not wait for the network."""
    await read_form(request, Nothing)
    await ring(await db.transaction(enqueue, LOOK_OUTSIDE, {}))
    said = _("A worker calls the shop by its own address. Look again in a few seconds.")
    return flash(see_other("/admin/health"), said)


@post("/health/key", opt={"who": "staff:backups.manage"})
async def key_kept(request: AnyRequest) -> Response[Any]:
    await health.keep_key((await _shop(request)).id, request.state.session.staff_id)
    return flash(see_other("/admin/health"), _("Good. Look after that copy."))


@get("/go-live", opt={"who": "staff:settings.edit"})
async def go_live_page(request: AnyRequest) -> Response[str]:
    return await _go_live(request)


async def _go_live(request: AnyRequest, problem: Any = "", status: int = 200) -> Response[str]:
    shop = await _shop(request)
    ready = await opening.readiness(shop, _config(request), request.state.session.staff_id)
    return page(request, "admin/go_live.html", {"stored": shop, "ready": ready, "problem": problem}, status=status)


@post("/go-live", opt={"who": "staff:settings.edit", "fresh": True})
async def go_live(request: AnyRequest) -> Response[Any]:
    form = await read_form(request, Opening)
    try:
        await opening.open_shop(
            await _shop(request), _config(request), request.state.session.staff_id, clean=form.clean
        )
    except Refused as refused:
        return await _go_live(request, refused.text, 409)
    return flash(see_other("/admin"), _("Your shop is open. Good luck!"))


@post("/go-live/clean", opt={"who": "staff:settings.edit", "fresh": True})
async def clean(request: AnyRequest) -> Response[Any]:
    await opening.clean(await _shop(request), request.state.session.staff_id)
    return flash(see_other("/admin/go-live"), _("Test orders and demo goods are gone."))


@post("/checklist/hide", opt={"who": "staff:settings.edit"})
async def hide_checklist(request: AnyRequest) -> Response[Any]:
    return await _show_checklist(request, hidden=True)


@post("/checklist/show", opt={"who": "staff:settings.edit"})
async def show_checklist(request: AnyRequest) -> Response[Any]:
    return await _show_checklist(request, hidden=False)


async def _show_checklist(request: AnyRequest, *, hidden: bool) -> Response[Any]:
    shop = await _shop(request)

    async def write(tx: db.Tx) -> None:
        await shops.set_settings(tx, shop.id, checklist_hidden=hidden)

    await db.transaction(write)
    shops.forget()
    return see_other("/admin")


ROUTES = (health_page, look_outside, key_kept, go_live_page, go_live, clean, hide_checklist, show_checklist)
