"""The inbox of buyers, reached from their orders, and that of staff behind the bell of the console."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromQuery
from msgspec import Meta

from core.api import _, flash, orders_of_visitor, page, plugin_context, read_form, see_other, visit_of

from . import messages

AnyRequest = Request[Any, Any, Any]

FOR_BUYERS = "/x/notifiers.inbox"
FOR_STAFF = "/admin/x/notifiers.inbox"
READ = "staff:notifiers.inbox.read"
PAGE = 50


class UpTo(msgspec.Struct):
    up_to: Annotated[int, Meta(ge=0, le=2**62)]


@get("/", opt={"who": "anyone", "session": True})
async def inbox(request: AnyRequest) -> Response[str]:
    """Whoever is not known sees how to find their orders."""
    refs = await orders_of_visitor(visit_of(request))
    found = await messages.of_buyer(plugin_context(request).db, refs)
    context = {"messages": found, "known": bool(refs), "here": FOR_BUYERS, "unread": any(not one.seen for one in found)}
    return page(request, "notifiers.inbox/buyer.html", context)


@post("/read", opt={"who": "buyer", "max_body": 4096})
async def read(request: AnyRequest) -> Response[Any]:
    form = await read_form(request, UpTo)
    await messages.read_by_buyer(plugin_context(request).db, await orders_of_visitor(visit_of(request)), form.up_to)
    return flash(see_other(FOR_BUYERS), _("All are marked as read."))


@get("/", opt={"who": READ})
async def staff_inbox(request: AnyRequest, before: FromQuery[int] = 0) -> Response[str]:
    visit, session = visit_of(request), request.state.session
    found = await messages.of_staff(
        plugin_context(request).db,
        visit.shop.code,
        session.staff_id,
        messages.kinds_for(session),
        min(max(before, 0), 2**62),
        PAGE + 1,
    )
    context = {
        "messages": found[:PAGE],
        "older": found[PAGE - 1].id if len(found) > PAGE else None,
        "unread": any(not one.seen for one in found[:PAGE]),
        "first_page": not before,
        "here": FOR_STAFF,
    }
    return page(request, "notifiers.inbox/staff.html", context)


@post("/read", opt={"who": READ, "max_body": 4096})
async def staff_read(request: AnyRequest) -> Response[Any]:
    form = await read_form(request, UpTo)
    await messages.read_by_staff(plugin_context(request).db, request.state.session.staff_id, form.up_to)
    return flash(see_other(FOR_STAFF), _("All are marked as read."))
