"""The first page of the console, and the end of the demo."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
from litestar import Request, Response, get, post

from core import db
from core.admin import checklist, demo, overview
from core.audit import service as audit
from core.backup import service as backups
from core.insight import alerts, figures, span
from core.insight.console import drawn, given_of
from core.orders import words
from core.refused import Refused
from core.shops import service as shops
from core.vault import keyring
from core.web.flash import flash
from core.web.forms import Line, read_query
from core.web.i18n import _
from core.web.render import page, see_other
from core.web.request import shop_of


class Asked(msgspec.Struct):
    range: Line = "7"
    since: date | None = None
    until: date | None = None


@get("/", opt={"who": "staff:dashboard.read"})
async def dashboard(request: Request[Any, Any, Any]) -> Response[str]:
    asked, session = read_query(request, Asked), request.state.session
    shop = await shops.by_id(shop_of(request).id)
    days = span.of(asked.range, asked.since, asked.until, shop.timezone)
    found = await figures.of(shop, days) if session.may("insight.read") else None
    seen = await alerts.of(shop, whole_server=session.whole_server)
    context = {
        "span": days,
        "span_names": span.NAMES,
        "given": given_of(days),
        "figures": found,
        "points": drawn(found.trend, days) if found else [],
        "before_points": drawn(found.before_trend, days) if found else [],
        "alerts": seen.seen_with(session.may),
        "backup": await backups.standing(),
        "orders": await overview.latest_orders(shop) if session.may("orders.read") else None,
        "checklist": await checklist.of(shop, session.staff_id),
        "may_see_cost": session.may("finance.read"),
        "words": words,
        "without_key": await keyring.problems(),
    }
    return page(request, "admin/dashboard.html", context)


@get("/demo", opt={"who": "staff:demo.edit"})
async def demo_page(request: Request[Any, Any, Any]) -> Response[str]:
    return await _demo_page(request)


async def _demo_page(request: Request[Any, Any, Any], problem: Any = "", status: int = 200) -> Response[str]:
    there = await db.fetch(
        "SELECT id, title FROM catalog_product WHERE shop_id = $1 AND demo ORDER BY id",
        shop_of(request).id,
    )
    return page(request, "admin/demo.html", {"products": there, "problem": problem}, status=status)


@post("/demo/remove", opt={"who": "staff:demo.edit"})
async def remove_demo(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        await demo.remove()
    except Refused as refused:
        return await _demo_page(request, refused.text, 409)
    staff_id = request.state.session.staff_id

    async def write(tx: db.Tx) -> None:
        await audit.record(tx, f"staff:{staff_id}", "demo.removed", "shop")

    await db.transaction(write)
    return flash(see_other("/admin"), _("The demo products are gone."))


@post("/demo/add", opt={"who": "staff:demo.edit"})
async def add_demo(request: Request[Any, Any, Any]) -> Response[Any]:
    await demo.seed()
    return flash(see_other("/admin/demo"), _("The demo products are in the shop."))


ROUTES = (dashboard, demo_page, remove_demo, add_demo)
