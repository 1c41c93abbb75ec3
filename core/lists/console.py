"""What all lists of the console share: saved views, exports, acts on many rows, and the search over everything."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import asyncpg
import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core import db
from core.jobs import service as jobs
from core.lists import export, find, runs
from core.lists.runs import Run
from core.people import step_up
from core.refused import Refused
from core.web import lists
from core.web.errors import Conflict, Forbidden, NotFound
from core.web.flash import flash
from core.web.forms import Line, read_form, read_query
from core.web.hx import safe_next
from core.web.i18n import _, locale
from core.web.list_page import EXPORT, scope_of
from core.web.lists import DEEPEST, Ask, Listing, Wanted
from core.web.render import fragment, page, see_other
from core.web.request import AnyRequest, visit_of

Query = Annotated[str, Meta(max_length=4000)]
MOST_VIEWS = 30
LEFT_OUT_SHOWN = 200
ANYBODY = {"who": "staff:any"}


class ViewForm(msgspec.Struct):
    list: Line
    path: Line
    query: Query
    act: Literal["save", "drop", "default", "plain"]
    name: Annotated[str, Meta(min_length=1, max_length=60, extra={"strip": True})]
    first: bool = False


class ExportForm(msgspec.Struct):
    list: Line
    form: Literal["xlsx", "csv", "gb"]
    query: Query = ""


class BulkForm(msgspec.Struct):
    list: Line
    act: Line
    query: Query = ""
    ids: tuple[Line, ...] = ()
    all: bool = False


class SearchQuery(msgspec.Struct):
    q: Annotated[str, Meta(max_length=500, extra={"strip": True})] = ""


def _ip(request: AnyRequest) -> str | None:
    return visit_of(request).ip or None


def _listing(request: AnyRequest, name: str) -> Listing:
    listing = lists.known().get(name)
    if listing is None:
        raise NotFound()
    if not request.state.session.may(listing.right):
        raise Forbidden()
    return listing


async def _wanted(request: AnyRequest, name: str, query: str) -> Wanted:
    listing = _listing(request, name)
    return await lists.wanted(listing, scope_of(request), lists.read(listing, query))


# -- saved views ------------------------------------------------------------------------


@post("/lists/views", opt=ANYBODY)
async def save_view(request: AnyRequest) -> Response[Any]:
    form = await read_form(request, ViewForm)
    listing, staff_id = _listing(request, form.list), scope_of(request).staff_id
    query = lists.read(listing, form.query).query()
    try:
        await db.transaction(_save_view, staff_id, listing.name, form, query)
    except Refused as refused:
        raise Conflict(_("The view was not saved"), refused.text) from None
    path = safe_next(form.path, listing.path)
    if form.act == "drop":
        return flash(see_other(f"{path}?view=all"), _("The view is gone."))
    return flash(see_other(f"{path}?{query}"), _("Saved."))


async def _save_view(tx: db.Tx, staff_id: int, page_name: str, form: ViewForm, query: str) -> None:
    mine = (staff_id, page_name)
    if form.act == "drop":
        await tx.execute("DELETE FROM web_view WHERE staff_id = $1 AND page = $2 AND name = $3", *mine, form.name)
        return
    if form.act in ("default", "plain") or form.first:
        await tx.execute("UPDATE web_view SET is_default = false WHERE staff_id = $1 AND page = $2", *mine)
    if form.act == "save":
        await _add_view(tx, mine, form, query)
    elif form.act == "default":
        await tx.execute(
            "UPDATE web_view SET is_default = true WHERE staff_id = $1 AND page = $2 AND name = $3", *mine, form.name
        )


async def _add_view(tx: db.Tx, mine: tuple[int, str], form: ViewForm, query: str) -> None:
    if not query:
        raise Refused(_("There is nothing to keep: no filter, order or column is chosen."))
    if await tx.fetchval("SELECT count(*) FROM web_view WHERE staff_id = $1 AND page = $2", *mine) >= MOST_VIEWS:
        raise Refused(_("There are too many views of this list. Delete one first."))
    try:
        await tx.execute(
            "INSERT INTO web_view (staff_id, page, name, query, is_default) VALUES ($1, $2, $3, $4, $5)",
            *mine,
            form.name,
            query,
            form.first,
        )
    except asyncpg.UniqueViolationError:
        raise Refused(_("You have a view of this name already.")) from None


# -- exports ----------------------------------------------------------------------------


@post("/lists/export", opt={"who": f"staff:{EXPORT}"})
async def export_list(request: AnyRequest) -> Response[Any]:
    form = await read_form(request, ExportForm)
    want = await _wanted(request, form.list, form.query)
    if len(await want.keys(runs.EXPORTED_AT_ONCE + 1)) > runs.EXPORTED_AT_ONCE:
        return see_other(f"/admin/lists/runs/{await runs.export_later(want, form.form, locale(), _ip(request))}")
    name, content = await runs.export_now(want, form.form, _ip(request))
    return _file(name, content)


def _file(name: str, content: bytes) -> Response[bytes]:
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return Response(content, status_code=200, media_type=export.media_type(name), headers=headers)


# -- acts on many rows ------------------------------------------------------------------


@post("/lists/bulk", opt={**ANYBODY, "max_body": 200_000, "repeats": ("ids",)})
async def ask(request: AnyRequest) -> Response[Any]:
    """What is chosen is counted and shown; nothing is done before the next click."""
    form = await read_form(request, BulkForm)
    want = await _wanted(request, form.list, form.query)
    act = want.listing.act(form.act)
    if act is None:
        raise NotFound()
    if not want.scope.may(act.right):
        raise Forbidden()
    keys = await runs.matching(want) if form.all else await runs.known_keys(want, [*form.ids])
    if not keys:
        back = f"{want.listing.path}?{want.asked.query() or 'view=all'}"
        return flash(see_other(back), _("Choose at least one row."), "warning")
    run_id = await runs.ask(want, act, keys[:DEEPEST], locale(), _ip(request))
    return see_other(f"/admin/lists/runs/{run_id}")


async def _own(request: AnyRequest, run_id: int) -> Run:
    run = await runs.load(run_id, scope_of(request).staff_id)
    if run is None:
        raise NotFound()
    return run


@get("/lists/runs/{run_id:int}", opt=ANYBODY)
async def run_page(request: AnyRequest, run_id: FromPath[int]) -> Response[str]:
    run = await _own(request, run_id)
    if run.row["state"] == "asked":
        return await _dry_run(request, run)
    return page(request, "lists/run.html", await _facts(run))


async def _dry_run(
    request: AnyRequest, run: Run, fields: dict[str, str] | None = None, problem: Any = "", status: int = 200
) -> Response[str]:
    act, keys = run.act, run.row["keys"]
    fields = fields or _fields(run, request.query_params)
    context: dict[str, Any] = {
        "run": run.row,
        "listing": run.listing,
        "act": act,
        "fit": await Wanted(run.listing, run.scope, lists.Asked()).fitting(act, keys),
        "chosen": await _named(run, keys),
        "asks": [(one, await _options(one, run)) for one in act.fields],
        "fields": fields,
        "complete": all(fields.get(one.name) for one in act.fields),
        "preview": [],
        "problem": problem,
    }
    if act.preview and context["complete"] and not problem:
        try:
            context["preview"] = await act.preview(run.doing(fields), keys)
        except Refused as refused:
            context |= {"problem": refused.text, "complete": False}
    return page(request, "lists/dry_run.html", context, status=status)


async def _named(run: Run, keys: list[Any]) -> list[Any]:
    rows = await Wanted(run.listing, run.scope, lists.Asked()).rows(keys[: runs.NAMED])
    return [run.listing.label(row) for row in rows]


async def _options(one: Ask, run: Run) -> list[tuple[str, Any]] | None:
    return list(await lists.options_of(one.options, run.scope)) if one.options else None


def _fields(run: Run, given: Any) -> dict[str, str]:
    return {one.name: str(given.get(one.name, ""))[:300] for one in run.act.fields if given.get(one.name)}


class Go(msgspec.Struct):
    fields: dict[str, str] = {}


@post("/lists/runs/{run_id:int}/go", opt=ANYBODY)
async def go(request: AnyRequest, run_id: FromPath[int]) -> Response[Any]:
    run = await _own(request, run_id)
    if run.is_export:
        raise NotFound()
    await _proven(request, run)
    form = await read_form(request, Go, gather={"fields": "field_"})
    fields = _fields(run, form.fields)
    missing = next((one for one in run.act.fields if not fields.get(one.name)), None)
    if missing is not None:
        return await _dry_run(request, run, fields, _("Please fill this in."), 422)
    try:
        if run.act.preview:
            await run.act.preview(run.doing(fields), run.row["keys"][:1])
        await runs.start(run, fields)
    except Refused as refused:
        if not refused.field:
            raise Conflict(_("This cannot be done now"), refused.text) from None
        return await _dry_run(request, run, fields, refused.text, 422)
    return see_other(f"/admin/lists/runs/{run_id}")


async def _proven(request: AnyRequest, run: Run) -> None:
    """An act that says so is done by nobody who has not lately shown who they are; then it goes on with its form."""
    if run.is_export or not run.act.fresh:
        return
    state, config = request.scope["state"], request.app.state.config
    agent = request.headers.get("user-agent", "")
    state["form"] = await step_up.prove(config.base_url, state["visit"], state["form"], agent)
    state["session"] = state["visit"].session


@post("/lists/runs/{run_id:int}/on", opt=ANYBODY)
async def go_on(request: AnyRequest, run_id: FromPath[int]) -> Response[Any]:
    """What was stopped goes on with the rows nobody began."""
    run = await _own(request, run_id)
    await _proven(request, run)
    try:
        await runs.go_on(run)
    except Refused as refused:
        raise Conflict(_("This cannot be done now"), refused.text) from None
    return see_other(f"/admin/lists/runs/{run_id}")


async def _facts(run: Run) -> dict[str, Any]:
    work = await jobs.work(run.row["job_id"])
    stopped = run.row["state"] == "running" and (work is None or work.job["state"] in ("failed", "cancelled"))
    report = await runs.report(run.id)
    return {
        "run": run.row,
        "listing": run.listing,
        "act": None if run.is_export else run.act,
        "work": work,
        "job": work.job if work else None,
        "refresh": f"/admin/lists/runs/{run.id}/progress",
        "ended": run.row["state"] == "done" or stopped,
        "stopped": stopped,
        "report": report,
        "untouched": 0 if run.is_export else run.row["total"] - sum(report.values()),
        "left_out": await runs.left_out(run.id, LEFT_OUT_SHOWN),
        "names": {"skipped": (_("Left alone"), "warning"), "failed": (_("Failed"), "bad")},
    }


@get("/lists/runs/{run_id:int}/progress", opt=ANYBODY)
async def run_progress(request: AnyRequest, run_id: FromPath[int]) -> Response[Any]:
    run = await _own(request, run_id)
    facts = await _facts(run)
    if facts["ended"]:
        return Response(None, status_code=200, headers={"HX-Redirect": f"/admin/lists/runs/{run_id}"})
    return fragment(request, "jobs/_work.html", facts)


@post("/lists/runs/{run_id:int}/cancel", opt=ANYBODY)
async def cancel(request: AnyRequest, run_id: FromPath[int]) -> Response[Any]:
    """Whoever began it may stop it; what is done stays done."""
    run = await _own(request, run_id)
    if run.row["job_id"] is None:
        raise Conflict(_("This cannot be done now"), _("It is over."))
    try:
        await db.transaction(jobs.cancel, run.row["job_id"])
    except Refused:
        raise Conflict(_("This cannot be done now"), _("It is over.")) from None
    return see_other(f"/admin/lists/runs/{run_id}")


@post("/lists/runs/{run_id:int}/file", opt=ANYBODY)
async def fetch_file(request: AnyRequest, run_id: FromPath[int]) -> Response[Any]:
    """The exported list, or the report of what was not done."""
    run = await _own(request, run_id)
    if run.is_export:
        if not run.scope.may(EXPORT) or not run.scope.may(run.listing.right):
            raise Forbidden()
        content = await runs.file_of(run.id)
        if content is None:
            raise NotFound()
        return _file(run.row["file_name"], content)
    file = export.new_file("csv")
    file.add([[str(_("Row")), str(_("Outcome")), str(_("Why"))]])
    file.add([[row["label"], row["outcome"], row["reason"]] for row in await runs.left_out(run.id)])
    return _file(f"{run.listing.name}-{run.id}.csv", file.bytes())


# -- the search over everything ---------------------------------------------------------


@get("/search", opt=ANYBODY)
async def search_page(request: AnyRequest) -> Response[str]:
    asked = read_query(request, SearchQuery)
    return page(request, "lists/search.html", await _search(request, asked.q))


@post("/search", opt={**ANYBODY, "max_body": 4096})
async def search(request: AnyRequest) -> Response[str]:
    """The same, posted: what is looked for may be a code, and no code stands in an address."""
    form = await read_form(request, SearchQuery)
    context = await _search(request, form.q)
    if request.headers.get("hx-request") == "true":
        return fragment(request, "lists/_found.html", context)
    return page(request, "lists/search.html", context)


async def _search(request: AnyRequest, q: str) -> dict[str, Any]:
    found = await find.records(scope_of(request), q)
    return {"q": q, "needle": q.lower(), "found": found, "for_plugins": find.for_plugins(q, found)}


ROUTES = (
    save_view,
    export_list,
    ask,
    run_page,
    go,
    run_progress,
    go_on,
    cancel,
    fetch_file,
    search_page,
    search,
)
