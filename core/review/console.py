"""The review queue: what a person must decide, who is at it, and what risk rules did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core import db
from core.audit import service as audit
from core.hooks import runtime
from core.people.sessions import Session
from core.refused import Refused
from core.review import claims
from core.review import queue as the_queue
from core.review.lists import REFUSED, REVIEW
from core.shops import service as shops
from core.web.errors import FormError
from core.web.flash import flash
from core.web.forms import Line, read_form
from core.web.hx import safe_next
from core.web.i18n import Text, _
from core.web.list_page import list_page
from core.web.render import page, see_other
from core.web.request import visit_of

Points = Annotated[int, Meta(ge=1, le=1000)]


class Back(msgspec.Struct):
    next: Line = ""


class TakeOver(msgspec.Struct):
    holder: Annotated[int, Meta(ge=1)]
    next: Line = ""


class RulesForm(msgspec.Struct):
    risk_review: Points
    risk_refuse: Points


def _staff_id(request: Request[Any, Any, Any]) -> int:
    session: Session = request.state.session
    return session.staff_id or 0


@get("/review", opt={"who": "staff:review.read", "repeats": ("col",)})
async def queue(request: Request[Any, Any, Any]) -> Response[Any]:
    return await _queue(request)


async def _queue(request: Request[Any, Any, Any], problem: Any = "", status: int = 200) -> Response[Any]:
    return await list_page(request, REVIEW, {"problem": problem}, template="review/queue.html", status=status)


# -- who is at it -----------------------------------------------------------------------


@post("/review/{item_id:int}/claim", opt={"who": "staff:review.decide"})
async def claim(request: Request[Any, Any, Any], item_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, Back)

    async def act(tx: db.Tx) -> None:
        await claims.claim(tx, visit_of(request).shop.id, item_id, _staff_id(request))

    return await _acted(request, act, form.next, _("Yours for the next quarter of an hour."))


@post("/review/{item_id:int}/take-over", opt={"who": "staff:review.decide"})
async def take_over(request: Request[Any, Any, Any], item_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, TakeOver)
    visit = visit_of(request)

    async def act(tx: db.Tx) -> None:
        await claims.take_over(tx, visit.shop.id, item_id, _staff_id(request), form.holder, visit.ip or None)

    return await _acted(request, act, form.next, _("It is yours now."))


@post("/review/{item_id:int}/release", opt={"who": "staff:review.decide"})
async def release(request: Request[Any, Any, Any], item_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, Back)

    async def act(tx: db.Tx) -> None:
        await claims.release(tx, visit_of(request).shop.id, item_id, _staff_id(request))

    return await _acted(request, act, form.next, _("Left to the others."))


async def _acted(
    request: Request[Any, Any, Any], act: Callable[[db.Tx], Awaitable[None]], back: str, said: Text
) -> Response[Any]:
    try:
        await db.transaction(act)
    except Refused as refused:
        return await _queue(request, refused.text, 409)
    return flash(see_other(safe_next(back, "/admin/review")), said)


# -- risk rules -------------------------------------------------------------------------


@get("/review/refused", opt={"who": "staff:review.read", "repeats": ("col",)})
async def refused_list(request: Request[Any, Any, Any]) -> Response[Any]:
    return await list_page(request, REFUSED, template="review/refused.html")


@get("/review/rules", opt={"who": "staff:review.read"})
async def rules(request: Request[Any, Any, Any]) -> Response[str]:
    return await _rules(request, {}, {})


async def _rules(
    request: Request[Any, Any, Any], errors: dict[str, Any], kept: dict[str, Any], status: int = 200
) -> Response[str]:
    shop = await shops.by_id(visit_of(request).shop.id)
    plugins = runtime.current()
    on = plugins.risk_rules_in(shop.id)
    form = {"risk_review": shop.settings.risk_review, "risk_refuse": shop.settings.risk_refuse, **kept}
    context = {
        "rules": [
            (key, one.item.title, one.plugin)
            for key, one in sorted(plugins.delivered("register_risk_rules").items())
            if key in on
        ],
        "lately": await the_queue.lately(shop.id),
        "form": form,
        "errors": errors,
    }
    return page(request, "review/rules.html", context, status=status)


@post("/review/rules", opt={"who": "staff:settings.edit"})
async def save_rules(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        form = await read_form(request, RulesForm)
    except FormError as error:
        return await _rules(request, dict(error.fields), error.kept, 422)
    if form.risk_refuse < form.risk_review:
        wrong = {"risk_refuse": _("Not below the number from which a person is asked.")}
        return await _rules(request, wrong, msgspec.to_builtins(form), 422)
    shop = await shops.by_id(visit_of(request).shop.id)
    new = msgspec.structs.replace(shop.settings, **msgspec.structs.asdict(form))

    async def write(tx: db.Tx) -> None:
        await shops.change(tx, shop.id, settings=new)
        detail = msgspec.to_builtins(form)
        await audit.record(
            tx, f"staff:{_staff_id(request)}", "shop.risk_saved", f"shop:{shop.id}", detail, shop_id=shop.id
        )

    await db.transaction(write)
    shops.forget()
    return flash(see_other("/admin/review/rules"), _("Saved."))


ROUTES = (queue, claim, take_over, release, refused_list, rules, save_rules)
