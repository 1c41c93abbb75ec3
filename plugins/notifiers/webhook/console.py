"""Endpoints in the console: adding one (its secret is shown once), what was sent to it, and sending it again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from msgspec import Meta

from core.api import (
    FormError,
    NotFound,
    PluginContext,
    PluginTx,
    _,
    flash,
    page,
    plugin_context,
    read_form,
    record_act,
    see_other,
    visit_of,
)

from . import endpoints, events
from .endpoints import Draft, TooMany
from .signing import secret_of

AnyRequest = Request[Any, Any, Any]
P = ParamSpec("P")
T = TypeVar("T")

HERE = "/admin/x/notifiers.webhook"
READ = "staff:notifiers.webhook.read"
EDIT = "staff:notifiers.webhook.edit"
PAGE = 50
STATES = {
    "on": (_("On"), "good"),
    "off": (_("Off"), "neutral"),
    "given_up": (_("Switched off: nobody answers"), "bad"),
}
ENDS = {
    "queued": (_("Waiting"), "busy"),
    "sent": (_("Arrived"), "good"),
    "failed": (_("Failed"), "bad"),
}


class EndpointForm(msgspec.Struct):
    url: Annotated[str, Meta(max_length=500, extra={"strip": True})]
    note: Annotated[str, Meta(max_length=120, extra={"strip": True})] = ""
    events: list[str] = []


class NoForm(msgspec.Struct):
    pass


def shop_of(request: AnyRequest) -> str:
    return visit_of(request).shop.code


# -- looking ----------------------------------------------------------------------------


@get("/", opt={"who": READ})
async def endpoint_list(request: AnyRequest) -> Response[str]:
    return await _list(request, {}, {})


async def _list(request: AnyRequest, kept: dict[str, Any], errors: dict[str, Any], status: int = 200) -> Response[str]:
    rows = await endpoints.listed(plugin_context(request).db, shop_of(request))
    context = {
        "endpoints": rows,
        "kept": kept or {"events": list(events.EVENTS)},
        "errors": errors,
        "most": endpoints.MOST,
        **_common(),
    }
    return page(request, "notifiers.webhook/list.html", context, status=status)


def _common() -> dict[str, Any]:
    return {"here": HERE, "events": events.EVENTS, "states": STATES, "ends": ENDS}


@get("/{endpoint_id:int}", opt={"who": READ})
async def endpoint_page(
    request: AnyRequest, endpoint_id: FromPath[int], show: FromQuery[str] = "", start: FromQuery[int] = 0
) -> Response[str]:
    return await _one(request, await _endpoint(request, endpoint_id), show=show, start=max(start, 0))


async def _one(
    request: AnyRequest,
    endpoint: Any,
    *,
    show: str = "",
    start: int = 0,
    secret: str = "",
    kept: dict[str, Any] | None = None,
    errors: dict[str, Any] | None = None,
    status: int = 200,
) -> Response[str]:
    show = show if show in ENDS else ""
    start = min(start, 1_000_000)
    rows = await endpoints.log(plugin_context(request).db, endpoint["id"], show, PAGE + 1, start)
    context = {
        "endpoint": endpoint,
        "deliveries": rows[:PAGE],
        "older": start + PAGE if len(rows) > PAGE else None,
        "show": show,
        "secret": secret,
        "kept": kept or {"url": endpoint["url"], "note": endpoint["note"], "events": endpoint["events"]},
        "errors": errors or {},
        "it": f"{HERE}/{endpoint['id']}",
        **_common(),
    }
    return page(request, "notifiers.webhook/endpoint.html", context, status=status)


async def _endpoint(request: AnyRequest, endpoint_id: int) -> Any:
    found = await endpoints.one(plugin_context(request).db, shop_of(request), endpoint_id)
    if found is None:
        raise NotFound()
    return found


@get("/delivery/{delivery_id:int}", opt={"who": READ})
async def delivery_page(request: AnyRequest, delivery_id: FromPath[int]) -> Response[str]:
    delivery = await _delivery(request, delivery_id)
    context = {"delivery": delivery, "tries": await endpoints.tries(plugin_context(request).db, delivery_id)}
    return page(request, "notifiers.webhook/delivery.html", {**context, **_common()})


async def _delivery(request: AnyRequest, delivery_id: int) -> Any:
    found = await endpoints.delivery(plugin_context(request).db, shop_of(request), delivery_id)
    if found is None:
        raise NotFound()
    return found


# -- adding and changing ----------------------------------------------------------------


@post("/", opt={"who": EDIT, "fresh": True, "max_body": 16_384})
async def add(request: AnyRequest) -> Response[Any]:
    kept: dict[str, Any] = {}
    ctx = plugin_context(request)
    try:
        form = await read_form(request, EndpointForm)
        kept = msgspec.structs.asdict(form)
        endpoint = await ctx.db.transaction(_added, request, _draft(ctx, form))
    except FormError as error:
        return await _list(request, error.kept or kept, dict(error.fields), 422)
    except TooMany:
        wrong = {"url": _("There are %(most)s already. Take one out first.", most=endpoints.MOST)}
        return await _list(request, kept, wrong, 422)
    return await _one(request, endpoint, secret=_secret(ctx, endpoint))


async def _added(tx: PluginTx, request: AnyRequest, draft: Draft) -> Any:
    endpoint = await endpoints.add(tx, shop_of(request), draft)
    await record_act(tx, request, "added", f"webhook:{endpoint['id']}", _facts(draft))
    return endpoint


def _facts(draft: Draft) -> dict[str, Any]:
    """Without the whole address: many carry a key in it."""
    return {"server": urlsplit(draft.url).hostname, "events": list(draft.events)}


async def _do(
    request: AnyRequest,
    act: str,
    object: str,
    detail: dict[str, Any] | None,
    work: Callable[Concatenate[PluginTx, P], Awaitable[T]],
    *args: P.args,
    **named: P.kwargs,
) -> T:
    """Do it and write it down, both or neither; what turns out to be nothing is not written down."""

    async def both(tx: PluginTx) -> T:
        done = await work(tx, *args, **named)
        if done is not False:
            await record_act(tx, request, act, object, detail)
        return done

    return await plugin_context(request).db.transaction(both)


def _secret(ctx: PluginContext[None], endpoint: Any) -> str:
    return secret_of(ctx.secret, bytes(endpoint["salt"]))


def _draft(ctx: PluginContext[None], form: EndpointForm) -> Draft:
    wrong: dict[str, Any] = {}
    if not form.url.startswith(("https://", "http://")) or any(sign.isspace() for sign in form.url):
        wrong["url"] = _("Write an address such as https://example.com/hooks")
    elif not ctx.http.may_reach(form.url):
        wrong["url"] = _("This is a private address. The operator may allow it with VOUCHSAFE_ALLOW_PRIVATE_HOSTS.")
    if not form.events or not set(form.events) <= events.EVENTS.keys():
        wrong["events"] = _("Choose at least one.")
    if wrong:
        raise FormError(wrong, msgspec.structs.asdict(form))
    return Draft(form.url, form.note, tuple(sorted(set(form.events))))


@post("/{endpoint_id:int}", opt={"who": EDIT, "fresh": True, "max_body": 16_384})
async def change(request: AnyRequest, endpoint_id: FromPath[int]) -> Response[Any]:
    endpoint = await _endpoint(request, endpoint_id)
    kept: dict[str, Any] = {}
    ctx = plugin_context(request)
    try:
        form = await read_form(request, EndpointForm)
        kept = msgspec.structs.asdict(form)
        draft = _draft(ctx, form)
        await _do(request, "changed", f"webhook:{endpoint_id}", _facts(draft), endpoints.change, endpoint_id, draft)
    except FormError as error:
        kept = error.kept or kept
        return await _one(request, endpoint, kept={"events": [], **kept}, errors=dict(error.fields), status=422)
    return flash(see_other(f"{HERE}/{endpoint_id}"), _("Saved."))


@post("/{endpoint_id:int}/on", opt={"who": EDIT, "max_body": 4096})
async def switch_on(request: AnyRequest, endpoint_id: FromPath[int]) -> Response[Any]:
    return await _switch(request, endpoint_id, True, _("It is on."))


@post("/{endpoint_id:int}/off", opt={"who": EDIT, "max_body": 4096})
async def switch_off(request: AnyRequest, endpoint_id: FromPath[int]) -> Response[Any]:
    return await _switch(request, endpoint_id, False, _("It is off, and is told nothing."))


async def _switch(request: AnyRequest, endpoint_id: int, on: bool, said: Any) -> Response[Any]:
    await read_form(request, NoForm)
    await _endpoint(request, endpoint_id)
    act = "switched_on" if on else "switched_off"
    await _do(request, act, f"webhook:{endpoint_id}", None, endpoints.switch, endpoint_id, on)
    return flash(see_other(f"{HERE}/{endpoint_id}"), said)


@post("/{endpoint_id:int}/secret", opt={"who": EDIT, "fresh": True, "max_body": 4096})
async def new_secret(request: AnyRequest, endpoint_id: FromPath[int]) -> Response[Any]:
    await read_form(request, NoForm)
    await _endpoint(request, endpoint_id)
    ctx = plugin_context(request)
    it = f"webhook:{endpoint_id}"
    endpoint = await _do(request, "secret_renewed", it, None, endpoints.new_secret, endpoint_id, ctx.clock.now())
    return await _one(request, endpoint, secret=_secret(ctx, endpoint))


@post("/{endpoint_id:int}/delete", opt={"who": EDIT, "fresh": True, "max_body": 4096})
async def delete(request: AnyRequest, endpoint_id: FromPath[int]) -> Response[Any]:
    await read_form(request, NoForm)
    endpoint = await _endpoint(request, endpoint_id)
    facts = {"server": urlsplit(endpoint["url"]).hostname}
    await _do(request, "deleted", f"webhook:{endpoint_id}", facts, endpoints.delete, endpoint_id)
    return flash(see_other(HERE), _("The webhook and its log are gone."))


# -- sending ----------------------------------------------------------------------------


@post("/{endpoint_id:int}/test", opt={"who": EDIT, "max_body": 4096})
async def send_test(request: AnyRequest, endpoint_id: FromPath[int]) -> Response[Any]:
    await read_form(request, NoForm)
    endpoint = await _endpoint(request, endpoint_id)
    if endpoint["state"] != "on":
        return flash(see_other(f"{HERE}/{endpoint_id}"), _("Switch it on first."), "error")
    ctx = plugin_context(request)
    now = ctx.clock.now()
    body = events.body(events.TEST, now, {"shop": shop_of(request)})
    message = events.message_id(events.TEST, f"{endpoint_id}:{now.isoformat()}")
    told = (now, shop_of(request), events.TEST, message, body, endpoint_id)
    await _do(request, "tested", f"webhook:{endpoint_id}", None, endpoints.queue, *told)
    return flash(see_other(f"{HERE}/{endpoint_id}"), _("A test message is on its way. Look again in a moment."))


@post("/delivery/{delivery_id:int}/replay", opt={"who": EDIT, "max_body": 4096})
async def replay(request: AnyRequest, delivery_id: FromPath[int]) -> Response[Any]:
    await read_form(request, NoForm)
    delivery = await _delivery(request, delivery_id)
    here = f"{HERE}/delivery/{delivery_id}"
    if delivery["endpoint_state"] != "on":
        return flash(see_other(here), _("Switch the webhook on first."), "error")
    now = plugin_context(request).clock.now()
    facts = {"message": delivery["message"], "event": delivery["event"]}
    it = f"delivery:{delivery_id}"
    if not await _do(request, "replayed", it, facts, endpoints.replay, now, delivery_id):
        return flash(see_other(here), _("It waits to be sent already."), "info")
    return flash(see_other(here), _("It is sent once more, with the same id."))


ROUTES = (
    endpoint_list,
    endpoint_page,
    delivery_page,
    add,
    change,
    switch_on,
    switch_off,
    new_secret,
    delete,
    send_test,
    replay,
)
