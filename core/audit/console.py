"""What people did, and what looked like an attack."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core import db
from core.audit import service
from core.money import Money
from core.web.errors import NotFound
from core.web.forms import Line, read_query
from core.web.i18n import Text, _, in_language, locale
from core.web.render import page, see_other

PAGE = 100

KINDS: dict[str, Text] = {
    "payment.forged": _("Forged callback"),
    "channel.forged": _("Forged call of a partner"),
    "channel.foreign_order": _("Partner asked for another's order"),
    "supply.forged": _("Forged call of a supplier"),
    "supply.unknown": _("A supplier's call about no purchase"),
    "supply.odd_purchase": _("Odd purchase"),
    "supply.below_margin": _("Sold below its cost"),
    "supply.low_balance": _("Little balance at a supplier"),
    "payment.unknown": _("Payment of no order"),
    "payment.wrong_amount": _("Wrong amount"),
    "payment.chargeback": _("Charged back"),
    "order.wrong_link": _("Wrong link to an order"),
    "order.foreign_reveal": _("Codes of another's order asked for"),
    "order.second_reveal": _("Codes asked for in a second browser"),
    "staff.too_many_codes": _("Staff asked for too many codes"),
    "passkey.copied": _("A passkey may have been copied"),
    "redemption.guessing": _("Codes were guessed"),
}

AMOUNTS = ("amount", "asked", "came", "balance", "floor", "price", "cost", "list_price", "face_value")
"""What details give in minor units, in the currency beside it."""


class Filters(msgspec.Struct):
    q: Line = ""
    page: Annotated[int, Meta(ge=1, le=100_000)] = 1


def mine(request: Request[Any, Any, Any]) -> tuple[int, bool]:
    """Whose rows to show; what belongs to no shop is for the staff of the main one."""
    session = request.state.session
    return session.shop_id, session.whole_server


def readable(detail: dict[str, Any]) -> dict[str, Any]:
    """Details with money in place of minor units and their currencies."""
    shown, said = dict(detail), set()
    for key in AMOUNTS:
        currency = f"{key}_currency" if f"{key}_currency" in detail else "currency"
        money = _money(detail.get(key), detail.get(currency))
        if money:
            shown[key] = money.text(locale())
            said.add(currency)
    return {key: value for key, value in shown.items() if key not in said}


def _money(amount: Any, currency: Any) -> Money | None:
    """None when it is none: plugins write details too."""
    try:
        return Money(amount, currency.strip()) if isinstance(currency, str) else None
    except ValueError:
        return None


@get("/audit", opt={"who": "staff:audit.read"})
async def log(request: Request[Any, Any, Any]) -> Response[str]:
    filters = read_query(request, Filters)
    rows = await db.fetch(
        "SELECT entry.*, staff.name, staff.email FROM audit_entry entry"
        " LEFT JOIN people_staff staff ON entry.actor = 'staff:' || staff.id"
        " WHERE (entry.shop_id = $1 OR (entry.shop_id IS NULL AND $2))"
        " AND ($3 = '' OR entry.object = $3 OR entry.act = $3 OR entry.actor = $3 OR entry.object = 'order:' || $3)"
        " ORDER BY entry.id DESC LIMIT $4 OFFSET $5",
        *mine(request),
        filters.q,
        PAGE + 1,
        (filters.page - 1) * PAGE,
    )
    shown = [{**row, "title": service.title(row["act"]), "detail": readable(row["detail"])} for row in rows[:PAGE]]
    context = {"entries": shown, "more": len(rows) > PAGE, "filters": filters}
    return page(request, "audit/log.html", context)


@get("/alarms", opt={"who": "staff:audit.read"})
async def alarms(request: Request[Any, Any, Any]) -> Response[str]:
    rows = await db.fetch(
        "SELECT * FROM audit_alarm WHERE (shop_id = $1 OR (shop_id IS NULL AND $2))"
        " ORDER BY seen_at IS NOT NULL, id DESC LIMIT 200",
        *mine(request),
    )
    shown = [{**row, "reason": in_language(row["reason"]), "detail": readable(row["detail"])} for row in rows]
    return page(request, "audit/alarms.html", {"alarms": shown, "kinds": KINDS})


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
