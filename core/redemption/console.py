"""Own codes for staff: ordering batches and paper for them, the till, its log, and the keys of other programs."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from markupsafe import Markup
from msgspec import Meta

from core import clock, db
from core.jobs import service as jobs
from core.money import Money
from core.people import api_keys, sessions
from core.redemption import issue, log, redeem, words
from core.redemption.issue import Draft
from core.redemption.limits import guarded
from core.redemption.lists import KEYS, LOG, OWN
from core.redemption.redeem import Answer, Outcome, RequestReused, Till
from core.refused import Refused
from core.vault import sheets
from core.web.amounts import read_amount
from core.web.errors import Conflict, FormError, NotFound
from core.web.flash import flash
from core.web.forms import Line, errors_of, read_form
from core.web.i18n import _
from core.web.list_page import list_page
from core.web.render import fragment, page, see_other
from core.web.request import AnyRequest, shop_of, visit_of

Typed = Annotated[str, Meta(max_length=100)]
RequestId = Annotated[str, Meta(min_length=8, max_length=100)]
Reason = Annotated[str, Meta(max_length=redeem.MOST_REASON, extra={"strip": True})]
Place = Annotated[str, Meta(max_length=100, extra={"strip": True})]
PLACE = "till_place"
CAMERA = {"permissions-policy": "camera=(self)"}
"""Scanning needs the camera; no other page may use it."""


def today_in(shop: Any) -> date:
    return clock.now().astimezone(ZoneInfo(shop.timezone)).date()


def _amount(text: str, currency: str, field: str) -> int | None:
    if not text:
        return None
    amount = read_amount(text, currency, field).amount
    if amount <= 0:
        raise Refused(_("This must be more than nothing."), field)
    return amount


# -- own codes --------------------------------------------------------------------------


class NewBatch(msgspec.Struct):
    sku: Line
    name: Line
    count: int
    use: Line = "paper"
    prefix: Line = ""
    group: int = 5
    face_value: Line = ""
    expires_on: date | None = None
    note: Line = ""


class Sheet(msgspec.Struct):
    reason: Reason
    first: Annotated[int, Meta(ge=1, le=issue.MOST)] = 1
    count: Annotated[int, Meta(ge=1, le=sheets.MOST)] = 10


BATCHES = """
SELECT batch.id, batch.name, batch.note, batch.state, batch.created_at, own.*, sku.code AS sku_code,
       job.state AS job_state, job.error AS job_error
FROM redemption_batch own
JOIN vault_batch batch ON batch.id = own.batch_id
JOIN catalog_sku sku ON sku.id = batch.sku_id
LEFT JOIN jobs_job job ON job.id = own.job_id
WHERE own.shop_id = $1
"""

LEFT = """
SELECT count(*) FILTER (WHERE first_used_at IS NOT NULL) AS used, count(*) FILTER (WHERE balance = 0) AS used_up,
       count(*) FILTER (WHERE voided_at IS NOT NULL) AS void,
       coalesce(sum(balance) FILTER (WHERE voided_at IS NULL), 0)::bigint AS open
FROM redemption_voucher WHERE batch_id = $1
"""


@get("/own-codes", opt={"who": "staff:stock.read", "repeats": ("col",)})
async def batches(request: AnyRequest) -> Response[Any]:
    return await list_page(request, OWN, template="redemption/batches.html")


def _worth(row: Any) -> Money | None:
    return None if row["face_value"] is None else Money(row["face_value"], row["currency"])


@get("/own-codes/new", opt={"who": "staff:codes.generate"})
async def new_batch(request: AnyRequest) -> Response[str]:
    return await _new_batch(request, {"sku": request.query_params.get("sku", "")}, {})


async def _new_batch(request: AnyRequest, kept: Any, errors: dict[str, Any], status: int = 200) -> Response[str]:
    skus = await db.fetch(
        "SELECT sku.code, sku.title, product.title AS product_title FROM catalog_sku sku"
        " JOIN catalog_product product ON product.id = sku.product_id WHERE sku.shop_id = $1"
        " ORDER BY product.position, product.id, sku.position, sku.id",
        shop_of(request).id,
    )
    context = {"skus": skus, "kept": kept, "errors": errors, "most": issue.MOST}
    return page(request, "redemption/new_batch.html", context, status=status)


@post("/own-codes", opt={"who": "staff:codes.generate"})
async def order(request: AnyRequest) -> Response[Any]:
    shop = shop_of(request)
    try:
        form = await read_form(request, NewBatch)
    except FormError as error:
        return await _new_batch(request, error.kept, dict(error.fields), 422)
    try:
        draft = await _draft(shop, form)
        batch_id = await issue.order(shop.id, shop.currency, today_in(shop), draft, request.state.session.staff_id)
    except Refused as refused:
        return await _new_batch(request, msgspec.to_builtins(form), errors_of(refused), 422)
    return see_other(f"/admin/own-codes/{batch_id}")


async def _draft(shop: Any, form: NewBatch) -> Draft:
    sku_id = await db.fetchval("SELECT id FROM catalog_sku WHERE shop_id = $1 AND code = $2", shop.id, form.sku)
    if form.use not in ("paper", "sale"):
        raise Refused(_("Please choose one of the values offered."), "use")
    return Draft(
        sku_id=sku_id or 0,
        name=form.name,
        count=form.count,
        prefix=form.prefix.upper(),
        group=form.group,
        face_value=_amount(form.face_value, shop.currency, "face_value"),
        expires_on=form.expires_on,
        on_paper=form.use == "paper",
        note=form.note,
    )


@get("/own-codes/{batch_id:int}", opt={"who": "staff:stock.read"})
async def one_batch(request: AnyRequest, batch_id: FromPath[int]) -> Response[str]:
    return await _one_batch(request, batch_id, {}, {})


async def _one_batch(
    request: AnyRequest, batch_id: int, kept: Any, errors: dict[str, Any], status: int = 200
) -> Response[str]:
    batch = await _known(request, batch_id)
    left = await db.fetchrow(LEFT, batch_id)
    assert left is not None  # noqa: S101 - an aggregate has one row
    worth = _worth(batch)
    context = {
        "batch": batch,
        **await _at_work(batch),
        "worth": worth,
        "left": left,
        "open": Money(left["open"], worth.currency) if worth else None,
        "kept": kept,
        "errors": errors,
        "most": sheets.MOST,
    }
    return page(request, "redemption/batch.html", context, status=status)


async def _known(request: AnyRequest, batch_id: int) -> Any:
    batch = await db.fetchrow(f"{BATCHES} AND own.batch_id = $2", shop_of(request).id, batch_id)
    if batch is None:
        raise NotFound()
    return batch


async def _at_work(batch: Any) -> dict[str, Any]:
    refresh = f"/admin/own-codes/{batch['batch_id']}/progress"
    stopped = batch["state"] == "importing" and batch["job_state"] in ("failed", "cancelled")
    return {
        "work": await jobs.work(batch["job_id"]),
        "ended": batch["state"] != "importing" or stopped,
        "stopped": stopped,
        "refresh": refresh,
        "note": _("Making codes"),
    }


@get("/own-codes/{batch_id:int}/progress", opt={"who": "staff:stock.read"})
async def progress(request: AnyRequest, batch_id: FromPath[int]) -> Response[Any]:
    """Asked by the page until all codes are made; then it loads the page anew."""
    batch = await _known(request, batch_id)
    facts = await _at_work(batch)
    if facts["ended"] or facts["work"] is None:
        return Response(None, status_code=200, headers={"HX-Redirect": f"/admin/own-codes/{batch_id}"})
    return fragment(request, "jobs/_work.html", facts)


@post("/own-codes/{batch_id:int}/sheet", opt={"who": "staff:codes.print", "fresh": True, "limit": "staff-reveal"})
async def sheet(request: AnyRequest, batch_id: FromPath[int]) -> Response[str]:
    batch = await _known(request, batch_id)
    visit = visit_of(request)
    try:
        form = await read_form(request, Sheet)
    except FormError as error:
        return await _one_batch(request, batch_id, error.kept, dict(error.fields), 422)
    printing = sheets.Printing(
        shop_of(request).id,
        batch_id,
        form.first,
        form.count,
        form.reason,
        request.state.session.staff_id,
        visit.ip or None,
        request.headers.get("user-agent", ""),
    )
    try:
        codes = await sheets.print_codes(printing)
    except Refused as refused:
        return await _one_batch(request, batch_id, msgspec.to_builtins(form), errors_of(refused), 422)
    drawn = [(code, Markup(code.picture)) for code in codes]  # noqa: S704 - drawn by segno out of our own signs
    return page(request, "redemption/sheet.html", {"batch": batch, "worth": _worth(batch), "codes": drawn})


# -- the till ---------------------------------------------------------------------------


class LookForm(msgspec.Struct):
    code: Typed
    place: Place = ""


class RedeemForm(msgspec.Struct):
    code: Typed
    request_id: RequestId
    place: Place = ""
    amount: Line = ""
    currency: Annotated[str, Meta(max_length=3)] = ""


class VoidForm(msgspec.Struct):
    code: Typed
    request_id: RequestId
    reason: Reason
    place: Place = ""


def _till(request: AnyRequest, place: str) -> Till:
    session, visit = request.state.session, visit_of(request)
    name = place or session.name or visit.shop.name
    return Till(visit.shop.id, visit.shop.timezone, f"staff:{session.staff_id}", name, visit.ip or None)


def _desk(
    request: AnyRequest,
    *,
    answer: Answer | None = None,
    code: str = "",
    errors: dict[str, Any] | None = None,
    place: str | None = None,
    status: int = 200,
) -> Response[str]:
    card = answer.card if answer else None
    context = {
        "answer": answer,
        "card": card,
        "code": code,
        "place": place if place is not None else request.state.session.data.get(PLACE, ""),
        "balance": Money(card.balance, card.currency) if card and card.currency else None,
        "face_value": Money(card.face_value or 0, card.currency) if card and card.currency else None,
        "taken": Money(answer.amount, card.currency) if answer and answer.amount and card and card.currency else None,
        "says": words.SAYS,
        "advice": words.ADVICE,
        "errors": errors or {},
    }
    return page(request, "redemption/till.html", context, status=status, headers=CAMERA)


@get("/redeem", opt={"who": "staff:codes.redeem"})
async def desk(request: AnyRequest) -> Response[str]:
    return _desk(request)


@get("/redeem/{try_id:int}", opt={"who": "staff:codes.redeem"})
async def done(request: AnyRequest, try_id: FromPath[int]) -> Response[str]:
    """What one's own redemption came to."""
    answer = await log.answer_of(shop_of(request).id, f"staff:{request.state.session.staff_id}", try_id)
    if answer is None:
        raise NotFound()
    return _desk(request, answer=answer)


@post("/redeem/look", opt={"who": "staff:codes.redeem", "limit": "till"})
async def look(request: AnyRequest) -> Response[Any]:
    try:
        form = await read_form(request, LookForm)
    except FormError as error:
        return _desk(request, errors=dict(error.fields), status=422)
    await _keep_place(request, form.place)
    answer = await guarded(redeem.verify, _till(request, form.place), form.code)
    status = 422 if answer.outcome is Outcome.MISTYPED else 200
    return _desk(request, answer=answer, code=form.code, place=form.place, status=status)


async def _keep_place(request: AnyRequest, place: str) -> None:
    session: sessions.Session = request.state.session
    if session.data.get(PLACE, "") != place:
        await db.transaction(sessions.remember, session.id_hash, {PLACE: place})


@post("/redeem", opt={"who": "staff:codes.redeem", "limit": "till"})
async def redeem_code(request: AnyRequest) -> Response[Any]:
    form = await read_form(request, RedeemForm)
    till = _till(request, form.place)
    try:
        amount = _amount(form.amount, form.currency, "amount") if form.currency else None
    except Refused as refused:
        answer = await guarded(redeem.verify, till, form.code)
        return _desk(request, answer=answer, code=form.code, errors=errors_of(refused), status=422)
    answer = await _once(redeem.redeem, till, form.request_id, form.code, amount, form.currency or None)
    return see_other(f"/admin/redeem/{answer.id}")


@post("/redeem/void", opt={"who": "staff:codes.void", "limit": "till"})
async def void_code(request: AnyRequest) -> Response[Any]:
    form = await read_form(request, VoidForm)
    answer = await _once(redeem.void, _till(request, form.place), form.request_id, form.code, form.reason)
    return see_other(f"/admin/redeem/{answer.id}")


async def _once(act: Any, till: Till, *args: Any) -> Answer:
    try:
        return await guarded(act, till, *args)
    except RequestReused:
        raise Conflict(
            why=_("This page was used before, for something else."), action=_("Look at the code again.")
        ) from None


# -- the log ----------------------------------------------------------------------------


@get("/redemptions", opt={"who": "staff:codes.redeem", "repeats": ("col",)})
async def redemptions(request: AnyRequest) -> Response[Any]:
    return await list_page(request, LOG, template="redemption/log.html")


# -- keys for programs ------------------------------------------------------------------


class NewKey(msgspec.Struct):
    name: Line
    scopes: list[Line] = []
    days: Annotated[int, Meta(ge=1, le=3650)] | None = None


@get("/api-keys", opt={"who": "staff:keys.manage", "repeats": ("col",)})
async def keys_page(request: AnyRequest) -> Response[str]:
    return await _keys_page(request)


async def _keys_page(
    request: AnyRequest, kept: Any = None, errors: dict[str, Any] | None = None, token: str = "", status: int = 200
) -> Response[str]:
    context = {
        "scopes": api_keys.SCOPES,
        "kept": kept or {},
        "errors": errors or {},
        "token": token,
    }
    return await list_page(request, KEYS, context, template="redemption/api_keys.html", status=status)


@post("/api-keys", opt={"who": "staff:keys.manage", "fresh": True})
async def make_key(request: AnyRequest) -> Response[Any]:
    try:
        form = await read_form(request, NewKey)
    except FormError as error:
        return await _keys_page(request, error.kept, dict(error.fields), status=422)
    staff_id = request.state.session.staff_id
    try:
        token = await api_keys.make(shop_of(request).id, form.name, list(form.scopes), form.days, staff_id)
    except Refused as refused:
        return await _keys_page(request, msgspec.to_builtins(form), errors_of(refused), status=422)
    return await _keys_page(request, token=token)


@post("/api-keys/{key_id:int}/revoke", opt={"who": "staff:keys.manage"})
async def revoke_key(request: AnyRequest, key_id: FromPath[int]) -> Response[Any]:
    try:
        await api_keys.revoke(shop_of(request).id, key_id, request.state.session.staff_id)
    except Refused as refused:
        return await _keys_page(request, errors=errors_of(refused), status=409)
    return flash(
        see_other("/admin/api-keys"), _("The key was withdrawn. Programs that used it are refused from now on.")
    )


ROUTES = (
    batches,
    new_batch,
    order,
    one_batch,
    progress,
    sheet,
    desk,
    done,
    look,
    redeem_code,
    void_code,
    redemptions,
    keys_page,
    make_key,
    revoke_key,
)
