"""Tickets in the console: the list, one ticket with its order beside it and what can be done, canned replies.

What changes an order is done by the shop itself, with the rights it wants for it; this only asks for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core.api import (
    FormError,
    NotFound,
    OrderCase,
    PluginContext,
    PluginTx,
    Refused,
    _,
    ask_gateway,
    colleagues,
    csv_text,
    flash,
    hide_codes,
    mail_buyer,
    order_case,
    page,
    plugin_context,
    read_form,
    record_act,
    replace_code,
    see_other,
    send_mail_again,
    visit_of,
)

from . import replies, tickets, words
from .pages import ANSWER, CONSOLE, NoForm, Words, picture_of, shop_of, ticket_path
from .settings import Settings
from .tickets import Row, Wanted, Who

AnyRequest = Request[Any, Any, Any]
Context = PluginContext[Settings]

READ = "staff:apps.tickets.read"
WRITE = f"staff:{ANSWER}"
SIZE = 50
EXPORTED = 10_000
FILTERS = ("q", "state", "holder", "reason", "late")
WHO = {"me": _("Mine"), "nobody": _("Nobody's")}

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Reply(msgspec.Struct):
    act: Literal["answer", "solve", "note", "insert"]
    text: Words = ""
    reply: int | None = None
    seen: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0


class Given(msgspec.Struct):
    to: int = 0
    held_by: int = 0


class NewState(msgspec.Struct):
    state: Literal["open", "solved"]


class Merge(msgspec.Struct):
    into: Id


class Why(msgspec.Struct):
    note: Annotated[str, Meta(max_length=300, extra={"strip": True})]


class ReplyForm(msgspec.Struct):
    title: Annotated[str, Meta(max_length=80, extra={"strip": True})]
    text: Annotated[str, Meta(max_length=replies.LONGEST, extra={"strip": True})]


def who(request: AnyRequest) -> Who:
    session = request.state.session
    return Who(session.staff_id, session.name or session.email)


def late_before(ctx: Context) -> Any:
    return ctx.clock.now() - timedelta(hours=ctx.settings.answer_hours)


# -- the list ---------------------------------------------------------------------------


def _asked(request: AnyRequest, given: Mapping[str, str]) -> tuple[Wanted, dict[str, str]]:
    """What the list is asked for, and what of that goes into addresses."""
    q, state, holder, reason, late = (given.get(name, "") for name in FILTERS)
    wanted = Wanted(
        state=state if state in (*words.STATES, "all") else "",
        holder=_holder(holder, request.state.session.staff_id),
        reason=reason if reason in words.REASONS else "",
        q=q[:80].replace("\0", ""),
        late=late_before(plugin_context(request)) if late else None,
    )
    chosen = {"q": wanted.q, "state": wanted.state, "holder": holder, "reason": wanted.reason, "late": late}
    return wanted, {name: value for name, value in chosen.items() if value}


@get("/", opt={"who": READ})
async def ticket_list(request: AnyRequest) -> Response[str]:
    asked = request.query_params.get("page", "")
    ctx: Context = plugin_context(request)
    shop, staff = shop_of(request), await colleagues(visit_of(request), ANSWER)
    number = max(1, int(asked)) if asked.isascii() and asked.isdecimal() and len(asked) < 6 else 1
    wanted, given = _asked(request, request.query_params)
    rows, total = await tickets.found(ctx.db, shop, wanted, number, SIZE)
    context = {
        "rows": rows,
        "total": total,
        "figures": await tickets.figures(ctx.db, shop, late_before(ctx)),
        "late_before": late_before(ctx),
        "given": given,
        "wanted": wanted,
        "holder": given.get("holder", ""),
        "late": given.get("late", ""),
        "holders": [*WHO.items(), *((str(one.id), one.name) for one in staff if one.id != who(request).id)],
        "states": [*((key, title) for key, (title, _kind) in words.STATES.items()), ("all", _("All"))],
        "reasons": [(key, title) for key, (title, _text, _icon) in words.REASONS.items()],
        "number": number,
        "pages": max(1, -(-total // SIZE)),
        "words": words,
        "here": CONSOLE,
    }
    return page(request, "apps.tickets/list.html", context)


class Export(msgspec.Struct):
    q: str = ""
    state: str = ""
    holder: str = ""
    reason: str = ""
    late: str = ""


@post("/export", opt={"who": "staff:lists.export", "max_body": 4096})
async def export(request: AnyRequest) -> Response[str]:
    """The tickets of these filters, all pages of them."""
    if not request.state.session.may("apps.tickets.read"):
        raise NotFound()
    wanted, given = _asked(request, msgspec.to_builtins(await read_form(request, Export)))
    ctx: Context = plugin_context(request)
    rows, _total = await tickets.found(ctx.db, shop_of(request), wanted, 1, EXPORTED)
    await ctx.db.transaction(record_act, request, "exported", "tickets", {**given, "rows": len(rows)})
    zone = ZoneInfo(visit_of(request).shop.timezone)
    head = [_("Ticket"), _("Reason"), _("Product"), _("State"), _("Since"), _("Order"), _("With"), _("Messages")]
    lines = [
        (
            row["id"],
            words.REASONS[row["reason"]][0],
            row["about"],
            words.STATES[row["state"]][0],
            f"{row['waiting_since'].astimezone(zone):%Y-%m-%d %H:%M:%S}",
            row["order_ref"],
            row["holder_name"] or "",
            row["said"],
        )
        for row in rows
    ]
    headers = {"content-disposition": 'attachment; filename="tickets.csv"', "cache-control": "no-store"}
    return Response(csv_text([head, *lines]), media_type="text/csv", status_code=200, headers=headers)


def _holder(text: str, me: int) -> int | None:
    if text.isascii() and text.isdecimal() and len(text) < 18:
        return int(text)
    return {"me": me, "nobody": 0}.get(text)


# -- one --------------------------------------------------------------------------------


async def _one(request: AnyRequest, ticket_id: int) -> tuple[Row, OrderCase]:
    """The ticket, and its order for whoever may see it."""
    row = await tickets.one(plugin_context(request).db, shop_of(request), ticket_id)
    case = await order_case(visit_of(request), row["order_ref"]) if row else None
    if row is None or case is None:
        raise NotFound()
    return row, case


@get("/{ticket_id:int}", opt={"who": READ})
async def ticket_page(request: AnyRequest, ticket_id: FromPath[int]) -> Response[Any]:
    row, case = await _one(request, ticket_id)
    if row["merged_into"]:
        return see_other(f"{CONSOLE}/{row['merged_into']}")
    return await _page(request, row, case)


async def _page(
    request: AnyRequest, row: Row, case: OrderCase, text: str = "", problem: Any = "", status: int = 200
) -> Response[str]:
    ctx: Context = plugin_context(request)
    said = await tickets.messages(ctx.db, row["id"])
    spoken = [one["id"] for one in said if one["author"] in ("buyer", "staff")]
    others = await tickets.of_orders(ctx.db, row["shop"], [row["order_ref"]])
    context = {
        "ticket": row,
        "case": case,
        "said": said,
        "newest": max(spoken, default=0),
        "others": [one for one in others if one["id"] != row["id"]],
        "replies": [(one["id"], one["title"]) for one in await replies.listed(ctx.db, row["shop"])],
        "staff": [(one.id, one.name) for one in await colleagues(visit_of(request), ANSWER)],
        "me": who(request),
        "late": row["state"] == "open" and row["waiting_since"] < late_before(ctx),
        "to_ask": any(one.state != "paid" for one in case.payments),
        "words": words,
        "text": text,
        "problem": problem,
        "list": CONSOLE,
        "here": f"{CONSOLE}/{row['id']}",
    }
    return page(request, "apps.tickets/ticket.html", context, status=status)


@post("/{ticket_id:int}/reply", opt={"who": WRITE, "max_body": 65_536})
async def answer(request: AnyRequest, ticket_id: FromPath[int]) -> Response[Any]:
    row, case = await _one(request, ticket_id)
    text = ""
    try:
        form = await read_form(request, Reply)
        text = form.text.replace("\r\n", "\n")
        if form.act == "insert":
            return await _page(request, row, case, await _inserted(request, row, case, form.reply, text))
        if not text:
            raise FormError({"text": _("Please write something.")})
        await _answer(request, row, form, await hide_codes(visit_of(request), case.ref, text))
    except FormError as error:
        kept = str(error.kept.get("text", text))
        return await _page(request, row, case, kept, next(iter(error.fields.values())), 422)
    except Refused as refused:
        return await _page(request, row, case, text, refused.text, 409)
    return see_other(f"{CONSOLE}/{ticket_id}")


async def _inserted(request: AnyRequest, row: Row, case: OrderCase, reply_id: int | None, text: str) -> str:
    """What was typed so far, and a canned reply filled in behind it."""
    canned = await replies.one(plugin_context(request).db, row["shop"], reply_id) if reply_id else None
    if canned is None:
        return text
    values = {
        "order": case.ref,
        "product": row["about"],
        "code": row["code_mask"] or (case.codes[0].mask if case.codes else ""),
        "total": case.total.text(case.locale),
        "shop": visit_of(request).shop.name,
        "me": who(request).name,
    }
    return f"{text}\n\n{replies.filled(canned['text'], values)}".strip()


async def _answer(request: AnyRequest, row: Row, form: Reply, text: str) -> None:
    ctx: Context = plugin_context(request)

    async def work(tx: PluginTx) -> None:
        if form.act == "note":
            await tickets.note(tx, row["id"], text, who(request), ctx.clock.now())
            await record_act(tx, request, "noted", f"ticket:{row['id']}")
            return
        solve = form.act == "solve"
        message_id = await tickets.reply(
            tx, row["id"], text, who(request), ctx.clock.now(), seen=form.seen, solve=solve
        )
        await record_act(tx, request, "solved" if solve else "answered", f"ticket:{row['id']}")
        await mail_buyer(
            tx,
            row["order_ref"],
            key=f"answer:{message_id}",
            title=_("There is an answer to your question"),
            text=text,
            path=ticket_path(row["id"]),
        )

    await ctx.db.transaction(work)


Work = Callable[[PluginTx], Awaitable[None]]


async def _change(request: AnyRequest, row: Row, case: OrderCase, work: Work, act: str, said: Any) -> Response[Any]:
    """Change the ticket and write down who did, both or neither."""

    async def both(tx: PluginTx) -> None:
        await work(tx)
        await record_act(tx, request, act, f"ticket:{row['id']}")

    try:
        await plugin_context(request).db.transaction(both)
    except Refused as refused:
        return await _page(request, row, case, "", refused.text, 409)
    return flash(see_other(f"{CONSOLE}/{row['id']}"), said)


@post("/{ticket_id:int}/give", opt={"who": WRITE, "max_body": 4096})
async def give(request: AnyRequest, ticket_id: FromPath[int]) -> Response[Any]:
    row, case = await _one(request, ticket_id)
    form = await read_form(request, Given)
    people = {one.id: Who(one.id, one.name) for one in await colleagues(visit_of(request), ANSWER)}
    if form.to and form.to not in people:
        raise NotFound()
    at = plugin_context(request).clock.now()

    async def work(tx: PluginTx) -> None:
        await tickets.give_to(tx, row["id"], people.get(form.to), form.held_by, at)

    return await _change(request, row, case, work, "given", _("Saved."))


@post("/{ticket_id:int}/state", opt={"who": WRITE, "max_body": 4096})
async def set_state(request: AnyRequest, ticket_id: FromPath[int]) -> Response[Any]:
    row, case = await _one(request, ticket_id)
    form = await read_form(request, NewState)
    at = plugin_context(request).clock.now()

    async def work(tx: PluginTx) -> None:
        await tickets.set_state(tx, row["id"], form.state, who(request), at)

    if form.state == "solved":
        return await _change(request, row, case, work, "solved", _("Closed as solved."))
    return await _change(request, row, case, work, "reopened", _("Open again."))


@post("/{ticket_id:int}/merge", opt={"who": WRITE, "max_body": 4096})
async def merge(request: AnyRequest, ticket_id: FromPath[int]) -> Response[Any]:
    row, case = await _one(request, ticket_id)
    form = await read_form(request, Merge)
    ctx: Context = plugin_context(request)

    async def work(tx: PluginTx) -> None:
        await tickets.merge(tx, row["shop"], row["id"], form.into, who(request), ctx.clock.now())

    return await _change(request, row, case, work, "merged", _("Merged."))


# -- what can be done -------------------------------------------------------------------


@post("/{ticket_id:int}/gateway", opt={"who": WRITE, "max_body": 4096})
async def ask_again(request: AnyRequest, ticket_id: FromPath[int]) -> Response[Any]:
    row, case = await _one(request, ticket_id)
    await read_form(request, NoForm)
    try:
        now = await ask_gateway(visit_of(request), case.ref)
    except Refused as refused:
        return await _page(request, row, case, "", refused.text, 409)
    came = now.payment_state == "paid" != case.payment_state
    said = _("The payment is here now.") if came else _("Asked. The payment service says nothing new.")
    return await _noted(request, row, "asked_gateway", "", said)


@post("/{ticket_id:int}/mail", opt={"who": WRITE, "max_body": 4096})
async def mail_again(request: AnyRequest, ticket_id: FromPath[int]) -> Response[Any]:
    row, case = await _one(request, ticket_id)
    await read_form(request, NoForm)
    try:
        await send_mail_again(visit_of(request), case.ref)
    except Refused as refused:
        return await _page(request, row, case, "", refused.text, 409)
    return await _noted(request, row, "mailed", "", _("The message is on its way again."))


@post("/{ticket_id:int}/codes/{code_id:int}/replace", opt={"who": WRITE, "max_body": 4096})
async def new_code(request: AnyRequest, ticket_id: FromPath[int], code_id: FromPath[int]) -> Response[Any]:
    row, case = await _one(request, ticket_id)
    form = await read_form(request, Why)
    try:
        mask = await replace_code(visit_of(request), case.ref, code_id, form.note)
    except Refused as refused:
        return await _page(request, row, case, "", refused.text, 409)
    if mask:
        return await _noted(
            request, row, "replaced", mask, _("Replaced: the order has the new code %(mask)s.", mask=mask)
        )
    said = _("No other code is in stock. It waits for a decision: import codes, then replace it.")
    return await _noted(request, row, "no_stock", "", said)


async def _noted(request: AnyRequest, row: Row, kind: str, text: str, said: Any) -> Response[Any]:
    """It was done; the ticket tells it. The shop itself has written down who did."""
    ctx: Context = plugin_context(request)
    await ctx.db.transaction(tickets.event, row["id"], kind, ctx.clock.now(), who(request), text)
    return flash(see_other(f"{CONSOLE}/{row['id']}"), said)


@get("/{ticket_id:int}/images/{image_id:int}", opt={"who": READ})
async def picture(request: AnyRequest, ticket_id: FromPath[int], image_id: FromPath[int]) -> Response[bytes]:
    await _one(request, ticket_id)
    return await picture_of(request, ticket_id, image_id, notes=True)


# -- canned replies ---------------------------------------------------------------------


@get("/replies", opt={"who": READ})
async def reply_list(request: AnyRequest) -> Response[str]:
    return await _replies(request, {}, {})


async def _replies(
    request: AnyRequest, kept: Mapping[str, Any], errors: Mapping[str, Any], status: int = 200
) -> Response[str]:
    context = {
        "rows": await replies.listed(plugin_context(request).db, shop_of(request)),
        "names": replies.NAMES,
        "kept": kept,
        "errors": errors,
        "list": CONSOLE,
        "here": f"{CONSOLE}/replies",
    }
    return page(request, "apps.tickets/replies.html", context, status=status)


@post("/replies", opt={"who": WRITE, "max_body": 32_768})
async def add_reply(request: AnyRequest) -> Response[Any]:
    try:
        form = await read_form(request, ReplyForm)
        await _save(request, None, form)
    except FormError as error:
        return await _replies(request, error.kept, dict(error.fields), 422)
    return flash(see_other(f"{CONSOLE}/replies"), _("Saved."))


@post("/replies/usual", opt={"who": WRITE, "max_body": 4096})
async def usual_replies(request: AnyRequest) -> Response[Any]:
    await read_form(request, NoForm)

    async def work(tx: PluginTx) -> None:
        await replies.add_usual(tx, shop_of(request))
        await record_act(tx, request, "reply_saved", "replies")

    await plugin_context(request).db.transaction(work)
    return flash(see_other(f"{CONSOLE}/replies"), _("Saved."))


@get("/replies/{reply_id:int}", opt={"who": READ})
async def reply_page(request: AnyRequest, reply_id: FromPath[int]) -> Response[str]:
    row = await _reply(request, reply_id)
    return _reply_page(request, row, dict(row), {})


def _reply_page(
    request: AnyRequest, row: Row, kept: Mapping[str, Any], errors: Mapping[str, Any], status: int = 200
) -> Response[str]:
    context = {
        "reply": row,
        "names": replies.NAMES,
        "kept": kept,
        "errors": errors,
        "list": f"{CONSOLE}/replies",
        "here": f"{CONSOLE}/replies/{row['id']}",
    }
    return page(request, "apps.tickets/reply.html", context, status=status)


async def _reply(request: AnyRequest, reply_id: int) -> Row:
    row = await replies.one(plugin_context(request).db, shop_of(request), reply_id)
    if row is None:
        raise NotFound()
    return row


@post("/replies/{reply_id:int}", opt={"who": WRITE, "max_body": 32_768})
async def edit_reply(request: AnyRequest, reply_id: FromPath[int]) -> Response[Any]:
    row = await _reply(request, reply_id)
    try:
        form = await read_form(request, ReplyForm)
        await _save(request, reply_id, form)
    except FormError as error:
        return _reply_page(request, row, error.kept, dict(error.fields), 422)
    return flash(see_other(f"{CONSOLE}/replies"), _("Saved."))


async def _save(request: AnyRequest, reply_id: int | None, form: ReplyForm) -> None:
    """:raises FormError: a name that nobody knows, or another reply has this title."""

    async def work(tx: PluginTx) -> None:
        saved = await replies.save(tx, shop_of(request), reply_id, form.title, form.text.replace("\r\n", "\n"))
        await record_act(tx, request, "reply_saved", f"reply:{saved}", {"title": form.title})

    try:
        await plugin_context(request).db.transaction(work)
    except Refused as refused:
        raise FormError({refused.field or "text": refused.text}, msgspec.structs.asdict(form)) from None


@post("/replies/{reply_id:int}/remove", opt={"who": WRITE, "max_body": 4096})
async def remove_reply(request: AnyRequest, reply_id: FromPath[int]) -> Response[Any]:
    row = await _reply(request, reply_id)
    await read_form(request, NoForm)

    async def work(tx: PluginTx) -> None:
        await replies.remove(tx, row["id"])
        await record_act(tx, request, "reply_removed", f"reply:{row['id']}", {"title": row["title"]})

    await plugin_context(request).db.transaction(work)
    return flash(see_other(f"{CONSOLE}/replies"), _("Removed."))


ROUTES = (
    ticket_list,
    export,
    reply_list,
    add_reply,
    usual_replies,
    reply_page,
    edit_reply,
    remove_reply,
    ticket_page,
    answer,
    give,
    set_state,
    merge,
    ask_again,
    mail_again,
    new_code,
    picture,
)
