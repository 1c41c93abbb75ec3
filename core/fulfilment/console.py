"""Staff replace a bad code, or find it good."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.params import FromPath

from core.fulfilment import replacement
from core.jobs import bell, ring
from core.refused import Refused
from core.web.flash import flash
from core.web.forms import Line, read_form
from core.web.i18n import _
from core.web.render import see_other


class Why(msgspec.Struct):
    note: Line = ""


@post("/orders/{ref:str}/codes/{code_id:int}/replace", opt={"who": "staff:codes.replace"})
async def give_another(request: Request[Any, Any, Any], ref: FromPath[str], code_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, Why)
    visit, staff_id = request.scope["state"]["visit"], request.state.session.staff_id
    back = see_other(f"/admin/orders/{ref}")
    try:
        done = await replacement.give_another(visit.shop.id, ref, code_id, form.note, staff_id, visit.ip or None)
    except Refused as refused:
        return flash(back, refused.text, "error")
    await ring(*done.jobs)
    await bell.ring(f"order:{ref}", "changed")
    if not done.mask:
        return flash(
            back, _("No other code is in stock. It waits for a decision: import codes, then replace it."), "warning"
        )
    return flash(back, _("Replaced: the order has the new code %(mask)s.", mask=done.mask))


@post("/orders/{ref:str}/codes/{code_id:int}/good", opt={"who": "staff:codes.replace"})
async def is_good(request: Request[Any, Any, Any], ref: FromPath[str], code_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, Why)
    visit, staff_id = request.scope["state"]["visit"], request.state.session.staff_id
    back = see_other(f"/admin/orders/{ref}")
    try:
        await replacement.is_good(visit.shop.id, ref, code_id, form.note, staff_id, visit.ip or None)
    except Refused as refused:
        return flash(back, refused.text, "error")
    return flash(back, _("Closed: the code is good."))


ROUTES = (give_another, is_good)
