"""What people did, and what looked like an attack."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath

from core import db
from core.audit.lists import ALARMS, LOG
from core.web.errors import NotFound
from core.web.list_page import list_page
from core.web.render import see_other


def mine(request: Request[Any, Any, Any]) -> tuple[int, bool]:
    """Whose rows to show; what belongs to no shop is for the staff of the main one."""
    session = request.state.session
    return session.shop_id, session.whole_server


@get("/audit", opt={"who": "staff:audit.read", "repeats": ("col",)})
async def log(request: Request[Any, Any, Any]) -> Response[Any]:
    return await list_page(request, LOG)


@get("/alarms", opt={"who": "staff:audit.read", "repeats": ("col",)})
async def alarms(request: Request[Any, Any, Any]) -> Response[Any]:
    return await list_page(request, ALARMS, template="audit/alarms.html")


@post("/alarms/{alarm_id:int}/seen", opt={"who": "staff:audit.read"})
async def seen(request: Request[Any, Any, Any], alarm_id: FromPath[int]) -> Response[Any]:
    found = await db.fetchval(
        "UPDATE audit_alarm SET seen_at = coalesce(seen_at, now()), seen_by = coalesce(seen_by, $4)"
        " WHERE id = $3 AND (shop_id = $1 OR (shop_id IS NULL AND $2)) RETURNING id",
        *mine(request),
        alarm_id,
        request.state.session.staff_id,
    )
    if found is None:
        raise NotFound()
    return see_other("/admin/alarms")


@post("/alarms/seen", opt={"who": "staff:audit.read"})
async def all_seen(request: Request[Any, Any, Any]) -> Response[Any]:
    await db.execute(
        "UPDATE audit_alarm SET seen_at = now(), seen_by = $3"
        " WHERE seen_at IS NULL AND (shop_id = $1 OR (shop_id IS NULL AND $2))",
        *mine(request),
        request.state.session.staff_id,
    )
    return see_other("/admin/alarms")
