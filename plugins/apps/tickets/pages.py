"""Help for buyers: what is wrong, what can be tried at once, the question with all the shop knows, and its thread.

Whoever may open the order in this browser may read and write what belongs to it; for all others it is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core.api import (
    CaseCode,
    CaseLine,
    FormError,
    NotFound,
    OrderCase,
    PluginContext,
    PluginTx,
    Refused,
    TooMany,
    Upload,
    _,
    ask_gateway,
    flash,
    hide_codes,
    mail_staff,
    order_case,
    orders_of_visitor,
    page,
    plugin_context,
    read_form,
    report_code,
    see_other,
    send_mail_again,
    visit_of,
)

from . import pictures, tickets, words
from .settings import Settings
from .tickets import New, Row

AnyRequest = Request[Any, Any, Any]
Context = PluginContext[Settings]

HERE = "/x/apps.tickets"
CONSOLE = "/admin/x/apps.tickets"
ANSWER = "apps.tickets.answer"
DEVICES = ("ios", "android", "pc", "tv")

Words = Annotated[str, Meta(max_length=tickets.LONGEST, extra={"strip": True})]


class Asked(msgspec.Struct):
    """``line`` and ``code`` are what the buyer means; ``device`` is where they tried it."""

    reason: Annotated[str, Meta(max_length=20)]
    text: Words = ""
    line: int | None = None
    code: int | None = None
    device: Annotated[str, Meta(max_length=20)] = ""
    images: list[Upload] = []


class Answered(msgspec.Struct):
    text: Words = ""
    images: list[Upload] = []


class Judged(msgspec.Struct):
    helped: bool


class NoForm(msgspec.Struct):
    pass


def shop_of(request: AnyRequest) -> str:
    return str(visit_of(request).shop.code)


def ticket_path(ticket_id: int) -> str:
    return f"{HERE}/t/{ticket_id}"


async def case_of(request: AnyRequest, ref: str) -> OrderCase:
    case = await order_case(visit_of(request), ref)
    if case is None:
        raise NotFound()
    return case


# -- asking for help --------------------------------------------------------------------


@get("/", opt={"who": "anyone", "session": True})
async def mine(request: AnyRequest) -> Response[str]:
    """All questions about the orders of this browser."""
    refs = await orders_of_visitor(visit_of(request))
    rows = await tickets.of_orders(plugin_context(request).db, shop_of(request), refs)
    context = {"rows": rows, "known": bool(refs), "words": words, "here": HERE}
    return page(request, "apps.tickets/mine.html", context)


@get("/help/{ref:str}", opt={"who": "anyone", "session": True})
async def help_page(request: AnyRequest, ref: FromPath[str]) -> Response[str]:
    asked = request.query_params
    return await _help(request, await case_of(request, ref), dict(asked), {})


async def _help(
    request: AnyRequest, case: OrderCase, kept: Mapping[str, Any], errors: Mapping[str, Any], status: int = 200
) -> Response[str]:
    offered = words.offered(case)
    reason = kept.get("reason") if kept.get("reason") in words.REASONS else ""
    line = _line(case, kept.get("line"))
    context = {
        "case": case,
        "reasons": [(key, *words.REASONS[key]) for key in offered],
        "reason": reason,
        "words": words,
        "line": line,
        "device": kept.get("device") if kept.get("device") in DEVICES else "",
        "codes": _choices(case, line) if reason in words.OF_CODES else [],
        "kept": kept,
        "errors": errors,
        "open": [
            row
            for row in await tickets.of_orders(plugin_context(request).db, shop_of(request), [case.ref])
            if row["state"] != "solved"
        ],
        "evidence": evidence(case, _code(case, kept.get("code"))),
        "accepted": pictures.ACCEPTED,
        "here": f"{HERE}/help/{case.ref}",
        "thread": ticket_path,
    }
    return page(request, "apps.tickets/help.html", context, status=status)


def _choices(case: OrderCase, line: CaseLine | None) -> list[tuple[int, str]]:
    """Codes that can be meant: those of the line, if one was named, and none that was replaced."""
    lines = [line] if line and line.codes else list(case.lines)
    return [(code.id, f"{one.title} · {code.mask}") for one in lines for code in one.codes if code.state != "replaced"]


def _line(case: OrderCase, line_id: Any) -> CaseLine | None:
    return next((one for one in case.lines if str(one.id) == str(line_id)), None)


def _code(case: OrderCase, code_id: Any) -> CaseCode | None:
    codes = [one for one in case.codes if one.state != "replaced"]
    found = next((one for one in codes if str(one.id) == str(code_id)), None)
    return found or (codes[0] if len(codes) == 1 else None)


def evidence(case: OrderCase, code: CaseCode | None) -> dict[str, Any]:
    """What goes along with a question, as plain facts."""
    sent = [mail for mail in case.mails if mail.state == "sent"]
    return {
        "payment_state": case.payment_state,
        "fulfilment_state": case.fulfilment_state,
        "placed_at": case.placed_at.isoformat(),
        "paid_at": case.paid_at.isoformat() if case.paid_at else "",
        "delivered_at": case.delivered_at.isoformat() if case.delivered_at else "",
        "mails": len(sent),
        "mailed_at": sent[-1].at.isoformat() if sent else "",
        "shown": code.shown if code else sum(one.shown for one in case.codes),
        "first_shown": code.first_shown.isoformat() if code and code.first_shown else "",
    }


@post("/help/{ref:str}/check", opt={"who": "buyer", "limit": "report", "max_body": 4096})
async def check_payment(request: AnyRequest, ref: FromPath[str]) -> Response[Any]:
    """Ask the payment service now."""
    await case_of(request, ref)
    await read_form(request, NoForm)
    case = await ask_gateway(visit_of(request), ref)
    if case.payment_state == "paid":
        return flash(see_other(f"/o/{ref}"), _("Your payment is here. The order goes on."))
    said = _("The payment service knows of no payment for this order yet. You can tell the shop about it below.")
    return flash(see_other(f"{HERE}/help/{ref}?reason=paid_nothing"), said, "info")


@post("/help/{ref:str}/mail", opt={"who": "buyer", "limit": "report", "max_body": 4096})
async def mail_again(request: AnyRequest, ref: FromPath[str]) -> Response[Any]:
    await case_of(request, ref)
    await read_form(request, NoForm)
    back = see_other(f"{HERE}/help/{ref}?reason=not_received")
    try:
        await send_mail_again(visit_of(request), ref)
    except Refused as refused:
        return flash(back, refused.text, "error")
    return flash(back, _("The mail is on its way again. Look into the spam folder too."))


@post("/help/{ref:str}", opt={"who": "buyer", "limit": "report", "max_body": pictures.BODY})
async def ask(request: AnyRequest, ref: FromPath[str]) -> Response[Any]:
    case = await case_of(request, ref)
    kept: dict[str, Any] = {}
    try:
        form = await read_form(request, Asked)
        kept = {**msgspec.structs.asdict(form), "images": None}
        images = await pictures.read(form.images)
        if form.reason not in words.REASONS:
            raise FormError({"reason": _("Choose what is wrong.")})
        if form.reason == "other" and not form.text:
            raise FormError({"text": _("Please say what is wrong.")})
        if form.reason in words.OF_CODES and case.codes and _code(case, form.code) is None:
            raise FormError({"code": _("Choose the code you mean.")})
        if form.reason == "paid_nothing" and await _is_paid_now(request, case):
            return flash(see_other(f"/o/{ref}"), _("Your payment is here. The order goes on."))
        ticket_id = await _open(request, case, form, images)
    except FormError as error:
        return await _help(request, case, error.kept or kept, dict(error.fields), 422)
    except Refused as refused:
        return await _help(request, case, kept, {"text": refused.text}, 409)
    return flash(see_other(ticket_path(ticket_id)), _("Sent. You can add to it here at any time."))


async def _is_paid_now(request: AnyRequest, case: OrderCase) -> bool:
    """The payment service is asked before a person is."""
    if case.payment_state == "paid":
        return False
    try:
        return (await ask_gateway(visit_of(request), case.ref)).payment_state == "paid"
    except TooMany:
        return False  # it was asked a moment ago


async def _open(request: AnyRequest, case: OrderCase, form: Asked, images: list[tickets.Image]) -> int:
    ctx: Context = plugin_context(request)
    visit = visit_of(request)
    code = _code(case, form.code) if form.reason in words.OF_CODES else None
    line = _line(case, form.line) or next((one for one in case.lines if code in one.codes), None) or case.lines[0]
    agent = request.headers.get("user-agent", "")
    text = await hide_codes(visit, case.ref, form.text.replace("\r\n", "\n"))
    if code is not None and case.payment_state == "paid":
        why = form.reason if form.reason in ("invalid", "used") else "other"
        await report_code(visit, case.ref, code.id, why, text[:500], agent)
    new = New(
        shop=case.shop,
        order_ref=case.ref,
        reason=form.reason,
        locale=case.locale,
        text=text,
        line_id=line.id,
        code_id=code.id if code else None,
        code_mask=code.mask if code else "",
        about=line.title[:300],
        device=f"{form.device} · {agent}"[:300] if form.device in DEVICES else agent[:300],
        evidence=evidence(case, code),
        images=images,
    )
    return await ctx.db.transaction(_opened, ctx, new)


async def _opened(tx: PluginTx, ctx: Context, new: New) -> int:
    ticket_id = await tickets.open_one(tx, new, ctx.clock.now())
    title = _("Question #%(number)s: %(reason)s", number=ticket_id, reason=words.REASONS[new.reason][0])
    await _tell_staff(tx, ctx, new.shop, ticket_id, f"opened:{ticket_id}", title, new.text or new.about, None)
    return ticket_id


async def _tell_staff(
    tx: PluginTx, ctx: Context, shop: str, ticket_id: int, key: str, title: Any, text: str, holder: int | None
) -> None:
    if ctx.settings.mail_staff:
        path = f"{CONSOLE}/{ticket_id}"
        await mail_staff(
            tx, shop, ANSWER, key=key, title=title, text=text, path=path, only=[holder] if holder else None
        )


# -- the thread -------------------------------------------------------------------------


async def _mine(request: AnyRequest, ticket_id: int) -> tuple[Row, OrderCase]:
    row = await tickets.one(plugin_context(request).db, shop_of(request), ticket_id)
    case = await order_case(visit_of(request), row["order_ref"]) if row else None
    if row is None or case is None:
        raise NotFound()
    return row, case


@get("/t/{ticket_id:int}", opt={"who": "anyone", "session": True})
async def thread(request: AnyRequest, ticket_id: FromPath[int]) -> Response[Any]:
    row, case = await _mine(request, ticket_id)
    if row["merged_into"]:
        return see_other(ticket_path(row["merged_into"]))
    return await _thread(request, row, case, "", {})


async def _thread(
    request: AnyRequest, row: Row, case: OrderCase, text: str, errors: Mapping[str, Any], status: int = 200
) -> Response[str]:
    db = plugin_context(request).db
    said = [
        one
        for one in await tickets.messages(db, row["id"])
        if one["author"] in ("buyer", "staff") or one["kind"] in words.FOR_BUYERS
    ]
    if said:
        await tickets.seen(db, row["id"], said[-1]["id"])
    context = {
        "ticket": row,
        "case": case,
        "said": said,
        "words": words,
        "text": text,
        "errors": errors,
        "accepted": pictures.ACCEPTED,
        "here": ticket_path(row["id"]),
    }
    return page(request, "apps.tickets/thread.html", context, status=status)


@post("/t/{ticket_id:int}", opt={"who": "buyer", "limit": "report", "max_body": pictures.BODY})
async def write(request: AnyRequest, ticket_id: FromPath[int]) -> Response[Any]:
    row, case = await _mine(request, ticket_id)
    text = ""
    try:
        form = await read_form(request, Answered)
        text = form.text
        images = await pictures.read(form.images)
        if not text and not images:
            raise FormError({"text": _("Please write something.")})
        await _write(request, row, await hide_codes(visit_of(request), case.ref, text.replace("\r\n", "\n")), images)
    except FormError as error:
        return await _thread(request, row, case, error.kept.get("text", text), dict(error.fields), 422)
    except Refused as refused:
        return await _thread(request, row, case, text, {"text": refused.text}, 409)
    return flash(see_other(ticket_path(ticket_id)), _("Sent."))


async def _write(request: AnyRequest, row: Row, text: str, images: list[tickets.Image]) -> None:
    ctx: Context = plugin_context(request)

    async def work(tx: PluginTx) -> None:
        days = ctx.settings.reopen_days
        message_id, news = await tickets.answer(tx, row["id"], text, images, ctx.clock.now(), days)
        if news:
            title = _("The buyer answered in #%(number)s", number=row["id"])
            await _tell_staff(tx, ctx, row["shop"], row["id"], f"message:{message_id}", title, text, row["holder"])

    await ctx.db.transaction(work)


@post("/t/{ticket_id:int}/helped", opt={"who": "buyer", "limit": "report", "max_body": 4096})
async def judge(request: AnyRequest, ticket_id: FromPath[int]) -> Response[Any]:
    row, _case = await _mine(request, ticket_id)
    form = await read_form(request, Judged)
    ctx: Context = plugin_context(request)
    await ctx.db.transaction(tickets.judge, row["id"], helped=form.helped, at=ctx.clock.now())
    said = _("Thank you. We are glad that it works.") if form.helped else _("Thank you for telling us.")
    return flash(see_other(ticket_path(ticket_id)), said)


@get("/t/{ticket_id:int}/images/{image_id:int}", opt={"who": "anyone", "session": True})
async def picture(request: AnyRequest, ticket_id: FromPath[int], image_id: FromPath[int]) -> Response[bytes]:
    await _mine(request, ticket_id)
    return await picture_of(request, ticket_id, image_id, notes=False)


async def picture_of(request: AnyRequest, ticket_id: int, image_id: int, *, notes: bool) -> Response[bytes]:
    """As the picture it is by its first bytes; opened by itself it is saved, not shown."""
    found = await tickets.image(plugin_context(request).db, ticket_id, image_id, notes=notes)
    if found is None:
        raise NotFound()
    name = f"{ticket_id}-{image_id}.{found.type.partition('/')[2]}"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(found.body, media_type=found.type, headers=headers)


ROUTES = (mine, help_page, check_payment, mail_again, ask, thread, write, judge, picture)
