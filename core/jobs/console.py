"""The queue in the console: what waits, runs and failed, and a page for each job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core import db
from core.db import Tx
from core.jobs import registry, service
from core.jobs.queue import ring
from core.refused import Refused
from core.web.errors import Conflict, NotFound
from core.web.flash import flash
from core.web.forms import Line, read_query
from core.web.i18n import Text, _
from core.web.render import fragment, page, see_other

PAGE = 50
STATES: dict[str, tuple[Text, str]] = {
    "queued": (_("Waiting"), "neutral"),
    "running": (_("Running"), "busy"),
    "done": (_("Done"), "good"),
    "failed": (_("Failed"), "bad"),
    "cancelled": (_("Cancelled"), "neutral"),
}
WHY_NOT = (_("This cannot be done now"), _("Look at the job again: it may have changed meanwhile."))


class Filters(msgspec.Struct):
    state: Line = ""
    name: Line = ""
    periodic: Line = ""
    page: Annotated[int, Meta(ge=1, le=100_000)] = 1


@get("/jobs", opt={"who": "staff:jobs.read"})
async def job_list(request: Request[Any, Any, Any]) -> Response[str]:
    filters = read_query(request, Filters)
    registry.import_core()
    rows = await service.listed(
        filters.state, filters.name, bool(filters.periodic), PAGE + 1, (filters.page - 1) * PAGE
    )
    context = {
        "jobs": rows[:PAGE],
        "more": len(rows) > PAGE,
        "health": await service.health(),
        "names": await service.names(),
        "known": set(registry.names()),
        "states": STATES,
        "filters": filters,
        "given": {name: value for name, value in msgspec.to_builtins(filters).items() if value not in ("", 1)},
    }
    return page(request, "jobs/list.html", context)


@get("/jobs/{number:int}", opt={"who": "staff:jobs.read"})
async def job_page(request: Request[Any, Any, Any], number: FromPath[int]) -> Response[str]:
    return page(request, "jobs/job.html", await _context(number))


@get("/jobs/{number:int}/progress", opt={"who": "staff:jobs.read"})
async def job_progress(request: Request[Any, Any, Any], number: FromPath[int]) -> Response[str]:
    return fragment(request, "jobs/_job.html", await _context(number))


@post("/jobs/{number:int}/retry", opt={"who": "staff:jobs.edit"})
async def retry(request: Request[Any, Any, Any], number: FromPath[int]) -> Response[Any]:
    return await _done(number, service.retry_now, _("The job begins now."))


@post("/jobs/{number:int}/cancel", opt={"who": "staff:jobs.edit"})
async def cancel(request: Request[Any, Any, Any], number: FromPath[int]) -> Response[Any]:
    return await _done(number, service.cancel, _("The job stops as soon as it safely can."))


async def _context(number: int) -> dict[str, Any]:
    job = await service.one(number)
    if job is None:
        raise NotFound()
    registry.import_core()
    return {
        "job": job,
        "states": STATES,
        "known": registry.find(job["name"]),
        "periodic": (job["key"] or "").startswith(service.PERIODIC),
        "ended": job["state"] in ("done", "failed", "cancelled"),
    }


async def _done(number: int, act: Callable[[Tx, int], Awaitable[None]], said: Text) -> Response[Any]:
    if await service.one(number) is None:
        raise NotFound()
    try:
        await db.transaction(act, number)
    except Refused as refused:
        raise Conflict(WHY_NOT[0], refused.text, WHY_NOT[1]) from None
    await ring(number)
    return flash(see_other(f"/admin/jobs/{number}"), said)
