"""The page of the lists."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath

from core.api import (
    FormError,
    PluginTx,
    Upload,
    _,
    flash,
    page,
    plugin_context,
    read_form,
    record_act,
    see_other,
)
from plugins.risk.network import lists
from plugins.risk.network.ranges import Read, read

HERE = "/admin/x/risk.network"
MOST_BYTES = 5_000_000
AnyRequest = Request[Any, Any, Any]
Line = Annotated[str, msgspec.Meta(max_length=300, extra={"strip": True})]

ORDER = re.compile(r"/admin/orders/[0-9A-Z]{1,40}")
KINDS = {
    "hosting": _("Hosting networks"),
    "proxy": _("Proxies"),
    "bad": _("Addresses of bad repute"),
}
ENTRY_KINDS = {
    "contact": _("Contact"),
    "domain": _("Mail domain"),
    "network": _("Address or network"),
}


class Entry(msgspec.Struct):
    act: Literal["block", "allow"]
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=254, extra={"strip": True})]
    note: Line = ""
    next: Line = ""


class NewList(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=120, extra={"strip": True})]
    kind: Literal["hosting", "proxy", "bad"]
    url: Line = ""
    file: Upload | None = None


class Asked(msgspec.Struct):
    contact: Line = ""
    ip: Line = ""


@get("/", opt={"who": "staff:risk.network.read"})
async def overview(request: AnyRequest) -> Response[Any]:
    return await _overview(request)


async def _overview(
    request: AnyRequest, errors: Any = None, kept: Any = None, found: Any = None, status: int = 200
) -> Response[Any]:
    ctx = plugin_context(request)
    context = {
        "entries": await lists.entries(ctx),
        "lists": await lists.lists(ctx),
        "kinds": KINDS,
        "entry_kinds": ENTRY_KINDS,
        "settings": ctx.settings,
        "errors": errors or {},
        "kept": kept or {},
        "found": found,
        "here": HERE,
    }
    return page(request, "risk.network/overview.html", context, status=status)


@post("/entries", opt={"who": "staff:risk.network.edit"})
async def add_entry(request: AnyRequest) -> Response[Any]:
    kept: dict[str, Any] = {}
    try:
        form = await read_form(request, Entry)
        kept = msgspec.to_builtins(form)
        await plugin_context(request).db.transaction(_add_entry, request, form)
    except FormError as error:
        return await _overview(request, error.fields, error.kept or kept, status=422)
    return flash(see_other(_back(form.next)), _("Written down. It counts from the next order on."))


async def _add_entry(tx: PluginTx, request: AnyRequest, form: Entry) -> None:
    row = await lists.add(tx, plugin_context(request).clock.now(), form.act, form.value, form.note)
    act = "blocked" if form.act == "block" else "allowed"
    await record_act(tx, request, act, f"entry:{row['id']}", {"kind": row["kind"]})


def _back(path: str) -> str:
    """Where the button was: this page, or that of an order."""
    return path if ORDER.fullmatch(path) else HERE


@post("/entries/{entry_id:int}/remove", opt={"who": "staff:risk.network.edit"})
async def remove_entry(request: AnyRequest, entry_id: FromPath[int]) -> Response[Any]:
    async def work(tx: PluginTx) -> None:
        row = await lists.remove(tx, entry_id)
        if row is not None:
            await record_act(tx, request, "removed", f"entry:{entry_id}", dict(row))

    await plugin_context(request).db.transaction(work)
    return flash(see_other(HERE), _("Removed."))


@post("/look", opt={"who": "staff:risk.network.read"})
async def look(request: AnyRequest) -> Response[Any]:
    try:
        form = await read_form(request, Asked)
    except FormError as error:
        return await _overview(request, error.fields, error.kept, status=422)
    if form.ip:
        try:
            lists.ends(form.ip)
        except ValueError:
            wrong = {"ip": _("Write an address such as 203.0.113.7")}
            return await _overview(request, wrong, msgspec.to_builtins(form), status=422)
    first = str(lists.ends(form.ip)[0]) if form.ip else ""
    found = await lists.look_up(plugin_context(request), form.contact.lower(), first)
    return await _overview(request, kept=msgspec.to_builtins(form), found=found)


@post("/lists", opt={"who": "staff:risk.network.edit", "max_body": MOST_BYTES})
async def add_list(request: AnyRequest) -> Response[Any]:
    try:
        form = await read_form(request, NewList)
    except FormError as error:
        return await _overview(request, error.fields, error.kept, status=422)
    db = plugin_context(request).db
    if form.url.startswith(("https://", "http://")):
        await db.transaction(_add_list, request, form, None)
        return flash(see_other(HERE), _("It is being fetched; look again in a moment."))
    if form.file is None or form.url:
        wrong = {"url": _("Write an address that begins with https://, or choose a file.")}
        return await _overview(request, wrong, {"name": form.name, "kind": form.kind, "url": form.url}, status=422)
    found = await asyncio.to_thread(read, form.file.file.read().decode("utf-8", "replace"))
    await db.transaction(_add_list, request, form, found)
    said = _("Ranges: %(ranges)d. Lines left out: %(left_out)d.", ranges=len(found.ranges), left_out=found.left_out)
    return flash(see_other(HERE), said)


async def _add_list(tx: PluginTx, request: AnyRequest, form: NewList, found: Read | None) -> None:
    """From its address when nothing was found in a file."""
    if found is None:
        list_id = await lists.add_by_address(tx, form.name, form.kind, form.url)
    else:
        list_id = await lists.add_file(tx, plugin_context(request).clock.now(), form.name, form.kind, found)
    await record_act(tx, request, "list_added", f"list:{list_id}", {"name": form.name, "kind": form.kind})


@post("/lists/{list_id:int}/remove", opt={"who": "staff:risk.network.edit"})
async def remove_list(request: AnyRequest, list_id: FromPath[int]) -> Response[Any]:
    await plugin_context(request).db.transaction(_with_list, request, "list_removed", list_id)
    return flash(see_other(HERE), _("Removed."))


@post("/lists/{list_id:int}/fetch", opt={"who": "staff:risk.network.edit"})
async def fetch_list(request: AnyRequest, list_id: FromPath[int]) -> Response[Any]:
    await plugin_context(request).db.transaction(_with_list, request, "list_fetched", list_id)
    return flash(see_other(HERE), _("It is being fetched; look again in a moment."))


async def _with_list(tx: PluginTx, request: AnyRequest, act: str, list_id: int) -> None:
    row = await (lists.drop if act == "list_removed" else lists.fetch_again)(tx, list_id)
    if row is not None:
        await record_act(tx, request, act, f"list:{list_id}", {"name": row["name"]})


ROUTES = (overview, add_entry, remove_entry, look, add_list, remove_list, fetch_list)
