"""The buyer says that a delivered code does not work."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, post
from litestar.params import FromPath
from msgspec import Meta

from core.fulfilment import replacement
from core.fulfilment.replacement import Reporter
from core.orders import words
from core.orders.view import OrderView
from core.refused import Refused
from core.web.flash import flash
from core.web.forms import Line, read_form
from core.web.i18n import _
from core.web.render import see_other


class Report(msgspec.Struct):
    code: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    why: Line
    note: Annotated[str, Meta(max_length=500)] = ""


@post("/o/{ref:str}/report", opt={"who": "buyer", "limit": "report", "max_body": 8192})
async def report(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    form = await read_form(request, Report)
    visit = request.scope["state"]["visit"]
    session_hash = visit.session.id_hash if visit.session else b""
    who = Reporter(session_hash, visit.ip or None, request.headers.get("user-agent", ""))
    try:
        await replacement.report(ref, form.code, form.why, form.note, who)
    except Refused as refused:
        return flash(see_other(f"/o/{ref}"), refused.text, "error")
    return flash(see_other(f"/o/{ref}"), _("Thank you. A person of the shop looks at it and writes to you."))


def report_form(order: OrderView) -> tuple[str, dict[str, Any]] | None:
    """The small form under the codes, while there is one that was not reported."""
    codes = [(code.id, code.mask) for code in order.codes if not code.reported and code.replaced_by is None]
    if order.payment_state != "paid" or not codes:
        return None
    return "fulfilment/_report.html", {"order": order, "codes": codes, "reasons": words.BAD_CODE}


ROUTES = (report,)
