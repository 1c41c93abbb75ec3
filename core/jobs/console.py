"""The queue in the console: what waits, runs and failed, and a page for each job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath

from core import db
from core.db import Tx
from core.jobs import registry, service
from core.jobs.lists import JOBS
from core.jobs.queue import ring
from core.jobs.titles import title_of
from core.refused import Refused
from core.web.errors import Conflict, NotFound
from core.web.flash import flash
from core.web.i18n import Text, _
from core.web.list_page import list_page
from core.web.render import fragment, page, see_other

WHY_NOT = (_("This cannot be done now"), _("Look at the job again: it may have changed meanwhile."))


@get("/jobs", opt={"who": "staff:jobs.read", "repeats": ("col",)})
async def job_list(request: Request[Any, Any, Any]) -> Response[Any]:
    registry.import_core()
    return await list_page(request, JOBS, {"health": await service.health()}, template="jobs/list.html")


@get("/jobs/{number:int}", opt={"who": "staff:jobs.read"})
async def job_page(request: Request[Any, Any, Any], number: FromPath[int]) -> Response[str]:
    return page(request, "jobs/job.html", await _context(number))


@get("/jobs/{number:int}/progress", opt={"who": "staff:jobs.read"})
async def job_progress(request: Request[Any, Any, Any], number: FromPath[int]) -> Response[str]:
    return fragment(request, "jobs/_work.html", await _context(number))


@post("/jobs/{number:int}/retry", opt={"who": "staff:jobs.edit"})
async def retry(request: Request[Any, Any, Any], number: FromPath[int]) -> Response[Any]:
    return await _done(number, service.retry_now, _("The job begins now."))


@post("/jobs/{number:int}/cancel", opt={"who": "staff:jobs.edit"})
async def cancel(request: Request[Any, Any, Any], number: FromPath[int]) -> Response[Any]:
    return await _done(number, service.cancel, _("The job stops as soon as it safely can."))


async def _context(number: int) -> dict[str, Any]:
    work = await service.work(number)
    if work is None:
        raise NotFound()
    registry.import_core()
    return {
        "work": work,
        "ended": work.ended,
        "job": work.job,
        "title": str(title_of(work.job["name"])),
        "refresh": f"/admin/jobs/{number}/progress",
        "known": registry.find(work.job["name"]),
        "periodic": (work.job["key"] or "").startswith(service.PERIODIC),
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
