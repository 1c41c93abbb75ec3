"""The quality of stock in the console: suspect codes set aside, codes for many buyers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core import db
from core.refused import Refused
from core.vault import quarantine, reusable, stock
from core.vault.lists import ASIDE as LISTED
from core.vault.quarantine import Held
from core.vault.reusable import NewCode
from core.web.errors import FormError
from core.web.flash import flash
from core.web.forms import Line, errors_of, read_form
from core.web.i18n import _
from core.web.list_page import list_page
from core.web.render import page, see_other
from core.web.request import shop_of

ASIDE = "/admin/stock/aside"
REUSABLE = "/admin/stock/reusable"
Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class HoldCodes(msgspec.Struct):
    reason: Line
    codes: Annotated[str, Meta(max_length=400_000)] = ""
    batch: Id | None = None
    lot: Annotated[str, Meta(max_length=200)] = ""


class DecisionOnAll(msgspec.Struct):
    act: Literal["back", "off"]


class NewReusable(msgspec.Struct):
    sku: Id
    name: Line
    text: Annotated[str, Meta(max_length=5000)]
    cap: Annotated[int, Meta(ge=1, le=reusable.MOST_PLACES)]
    expires_on: date | None = None


class Cap(msgspec.Struct):
    cap: Annotated[int, Meta(ge=1, le=reusable.MOST_PLACES)]


# -- set aside --------------------------------------------------------------------------

BATCHES = """
SELECT batch.id, sku.code || ' · ' || batch.name FROM vault_batch batch JOIN catalog_sku sku ON sku.id = batch.sku_id
WHERE batch.shop_id = $1 AND batch.state = 'ready' ORDER BY batch.id DESC LIMIT 300
"""


@get("/stock/aside", opt={"who": "staff:stock.read", "repeats": ("col",)})
async def aside(request: Request[Any, Any, Any]) -> Response[Any]:
    return await _aside(request, {}, {})


async def _aside(
    request: Request[Any, Any, Any],
    kept: dict[str, Any],
    errors: dict[str, Any],
    held: Held | None = None,
    status: int = 200,
) -> Response[Any]:
    shop = shop_of(request)
    context = {
        "holds": await quarantine.holds(shop.id),
        "batches": await db.fetch(BATCHES, shop.id),
        "kept": kept,
        "errors": errors,
        "held": held,
    }
    return await list_page(request, LISTED, context, template="vault/aside.html", status=status)


@post("/stock/aside", opt={"who": "staff:codes.hold", "max_body": 1_000_000})
async def hold(request: Request[Any, Any, Any]) -> Response[Any]:
    """The answer is the page itself: which orders were delivered such codes is said once, here."""
    shop, staff_id = shop_of(request), request.state.session.staff_id
    try:
        form = await read_form(request, HoldCodes)
        if form.batch is not None:
            held = await db.transaction(
                quarantine.hold_batch, shop.id, form.batch, form.reason, staff_id, form.lot.strip()
            )
        else:
            held = await db.transaction(quarantine.hold_codes, shop.id, form.codes, form.reason, staff_id)
    except FormError as error:
        return await _aside(request, {"reason": error.kept.get("reason", "")}, dict(error.fields), status=422)
    except Refused as refused:
        kept = {"reason": form.reason, "batch": form.batch, "lot": form.lot}
        return await _aside(request, kept, errors_of(refused), status=422)
    return await _aside(request, {}, {}, held)


@post("/stock/aside/{hold_id:int}", opt={"who": "staff:codes.hold"})
async def decide_all(request: Request[Any, Any, Any], hold_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, DecisionOnAll)
    act = quarantine.put_all_back if form.act == "back" else quarantine.write_all_off
    return await _decided(request, act, hold_id, form.act)


async def _decided(
    request: Request[Any, Any, Any], act: Callable[..., Awaitable[int]], what: Any, way: str
) -> Response[Any]:
    count = await db.transaction(act, shop_of(request).id, what, request.state.session.staff_id)
    if way == "back":
        return flash(see_other(ASIDE), _("%(codes)d codes are on sale again.", codes=count))
    return flash(see_other(ASIDE), _("%(codes)d codes are written off.", codes=count))


# -- for many buyers --------------------------------------------------------------------


@get("/stock/reusable", opt={"who": "staff:stock.read"})
async def reusable_codes(request: Request[Any, Any, Any]) -> Response[str]:
    return await _reusable(request, {}, {})


async def _reusable(
    request: Request[Any, Any, Any], kept: dict[str, Any], errors: dict[str, Any], status: int = 200
) -> Response[str]:
    shop = shop_of(request)
    context = {
        "codes": await reusable.listed(shop.id),
        "skus": await db.fetch("SELECT id, code FROM catalog_sku WHERE shop_id = $1 ORDER BY code", shop.id),
        "kept": kept,
        "errors": errors,
    }
    return page(request, "vault/reusable.html", context, status=status)


@post("/stock/reusable", opt={"who": "staff:stock.import", "max_body": 50_000})
async def add_reusable(request: Request[Any, Any, Any]) -> Response[Any]:
    shop, staff_id = shop_of(request), request.state.session.staff_id
    try:
        form = await read_form(request, NewReusable)
    except FormError as error:
        kept = {name: value for name, value in error.kept.items() if name != "text"}
        return await _reusable(request, kept, dict(error.fields), 422)
    new = NewCode(form.sku, form.name, form.text, form.cap, form.expires_on)
    try:
        if form.expires_on is not None and form.expires_on < stock.today(shop.timezone):
            raise Refused(_("This day is over."), "expires_on")
        await db.transaction(reusable.add, shop.id, new, staff_id)
    except Refused as refused:
        kept = {"sku": form.sku, "name": form.name, "cap": form.cap, "expires_on": form.expires_on}
        return await _reusable(request, kept, errors_of(refused), 422)
    return flash(see_other(REUSABLE), _("On sale: this code can be given %(cap)s times.", cap=form.cap))


@post("/stock/reusable/{batch_id:int}/cap", opt={"who": "staff:stock.import"})
async def set_cap(request: Request[Any, Any, Any], batch_id: FromPath[int]) -> Response[Any]:
    shop, staff_id = shop_of(request), request.state.session.staff_id
    try:
        form = await read_form(request, Cap)
        await db.transaction(reusable.set_cap, shop.id, batch_id, form.cap, staff_id)
    except Refused as refused:
        return flash(see_other(REUSABLE), refused.text, "error")
    return flash(see_other(REUSABLE), _("Saved."))


ROUTES = (aside, hold, decide_all, reusable_codes, add_reusable, set_cap)
