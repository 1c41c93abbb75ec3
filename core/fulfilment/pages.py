"""The buyer says that a delivered code does not work; suppliers tell what became of purchases."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, post, route
from litestar.params import FromPath
from msgspec import Meta

from core import db
from core.audit import service as audit
from core.fulfilment import buying, replacement
from core.fulfilment import service as fulfilment
from core.fulfilment.replacement import Reporter
from core.hooks import callbacks
from core.jobs import bell, enqueue, ring
from core.orders import words
from core.orders.view import OrderView
from core.payments.method import Answer, CallbackRequest, Forged
from core.refused import Refused
from core.supply import answers, purchases, sync
from core.supply.supplier import OfferNews, PurchaseNews, Supplier, SupplierUnavailable
from core.vault import keys
from core.web import limits
from core.web.errors import NotFound, Unavailable
from core.web.flash import flash
from core.web.forms import Line, read_form
from core.web.i18n import _, source
from core.web.render import see_other
from core.web.request import visit_of
from core.web.visit import Visit


class Report(msgspec.Struct):
    code: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    why: Line
    note: Annotated[str, Meta(max_length=500)] = ""


@post("/o/{ref:str}/report", opt={"who": "buyer", "limit": "report", "max_body": 8192})
async def report(request: Request[Any, Any, Any], ref: FromPath[str]) -> Response[Any]:
    form = await read_form(request, Report)
    visit = visit_of(request)
    session_hash = visit.session.id_hash if visit.session else b""
    who = Reporter(session_hash, visit.ip or None, request.headers.get("user-agent", ""))
    try:
        await replacement.report(ref, form.code, form.why, form.note, who)
    except Refused as refused:
        return flash(see_other(f"/o/{ref}"), refused.text, "error")
    return flash(see_other(f"/o/{ref}"), _("Thank you. A person of the shop looks at it and writes to you."))


def report_form(asked: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The small form in the help of an order, while there is a code that was not reported. It is open for whoever said
    that a line did not work."""
    order: OrderView = asked["order"]
    lines = [line for line in order.lines if line.id == asked["line"]] or order.lines
    codes = [code for line in lines for code in line.codes if not code.reported and code.replaced_by is None]
    if order.payment_state != "paid" or not codes:
        return None
    context = {"order": order, "codes": [(code.id, code.mask) for code in codes], "reasons": words.BAD_CODE}
    return "fulfilment/_report.html", {**context, "open": asked["line"] is not None}


# -- the suppliers' door ----------------------------------------------------------------

MAX_CALL = 262_144
HOOK = "register_suppliers"
NEWS = (PurchaseNews, OfferNews, Answer)


@route(
    "/supply/{key:str}/notify",
    http_method=["GET", "POST"],
    opt={"who": "gateway", "max_body": MAX_CALL},
    status_code=200,
)
async def notify(request: Request[Any, Any, Any], key: FromPath[str]) -> Response[bytes]:
    visit = visit_of(request)
    supplier = sync.supplier(key)
    if supplier is None:
        raise NotFound()
    keys.current().check_opens_codes()
    body, query = await request.body(), request.scope["query_string"]
    call = CallbackRequest(
        method=visit.method,
        query=query,
        body=body,
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]},
        client_ip=visit.ip,
    )
    try:
        news = await callbacks.read(HOOK, supplier, call, gives=NEWS, says=(Forged, SupplierUnavailable))
    except Forged as forged:
        if await limits.below("forged", visit.ip):
            await db.transaction(_alarm, "supply.forged", key, source(forged), visit, {})
        return _answer(supplier.refused)
    except SupplierUnavailable as error:
        raise Unavailable() from error
    match news:
        case PurchaseNews():
            return await _of_purchase(supplier, news, body or query, visit)
        case OfferNews():
            await ring(await db.transaction(sync.begin, key, news.items))
            return _answer(news.reply or supplier.accepted)
        case _:
            return _answer(news or supplier.accepted)


async def _of_purchase(supplier: Supplier, news: PurchaseNews, raw: bytes, visit: Visit) -> Response[bytes]:
    await answers.keep_call(supplier.key, news.ref, raw)
    row = await purchases.by_ref(supplier.key, news.ref)
    if row is None or row["state"] == "created":
        # Nothing was asked of the supplier under this reference.
        words = _("a verified call names a purchase that was never sent")
        await db.transaction(_alarm, "supply.unknown", supplier.key, words, visit, {"purchase": news.ref[:64]})
        return _answer(supplier.refused)
    if news.answer is not None:
        await buying.take_or_doubt(supplier, row, news.answer)
        await bell.ring(f"order:{row['order_ref']}", "purchase")
    elif row["state"] in purchases.LIVE:
        await ring(await db.transaction(enqueue, fulfilment.BUY, {"purchase": row["id"]}))
    return _answer(news.reply or supplier.accepted)


async def _alarm(tx: db.Tx, kind: str, key: str, reason: Any, visit: Visit, detail: dict[str, Any]) -> None:
    await audit.alarm(tx, kind, f"supplier:{key}", reason, {"request": visit.id, **detail}, ip=visit.ip)


def _answer(answer: Answer) -> Response[bytes]:
    # The framework adds the character set itself.
    kind = answer.content_type.partition(";")[0]
    return Response(answer.body, status_code=answer.status, media_type=kind)


ROUTES = (report, notify)
