"""What is shown on pages of the shop: help on an order, its tickets in the console, what waits on the dashboard."""

from __future__ import annotations

from typing import Any

from core.api import (
    Fragment,
    HelpShown,
    Link,
    OrderShown,
    PluginContext,
    SearchShown,
    TimelineRow,
    Visit,
    _,
    orders_of_visitor,
)

from . import tickets, words
from .console import late_before
from .pages import CONSOLE, HERE
from .settings import Settings

Context = PluginContext[Settings]
READ = "apps.tickets.read"


def _may(visit: Visit) -> bool:
    return visit.session is not None and visit.session.may(READ)


def _shop(visit: Visit) -> str:
    return str(getattr(visit.shop, "code", ""))


async def help_with_order(ctx: Context, visit: Visit, shown: HelpShown) -> Fragment:
    """The way to help, with what the buyer said already, and the questions there are."""
    rows = await tickets.of_orders(ctx.db, _shop(visit), [shown.ref])
    asked = {"line": shown.line, "device": shown.device} if shown.reason else {}
    context = {
        "ref": shown.ref,
        "rows": rows[:5],
        "asked": {name: value for name, value in asked.items() if value},
        "did_not_work": bool(shown.reason),
        "words": words,
        "here": HERE,
    }
    return Fragment("apps.tickets/_help.html", context)


async def way_in(ctx: Context, visit: Visit, subject: None) -> Link | None:
    """Beside My orders, for whoever has asked something."""
    rows = await tickets.of_orders(ctx.db, _shop(visit), await orders_of_visitor(visit))
    return Link(_("My questions"), HERE, "lifebuoy", sum(row["unread"] for row in rows)) if rows else None


async def bell(ctx: Context, visit: Visit, subject: None) -> Link | None:
    """In the head of the console: how many wait for an answer."""
    if not _may(visit):
        return None
    figures = await tickets.figures(ctx.db, _shop(visit), late_before(ctx))
    return Link(_("Tickets"), CONSOLE, "lifebuoy", figures["open"]) if figures["open"] else None


async def found(ctx: Context, visit: Visit, shown: SearchShown) -> list[Link]:
    """By their number or that of their order, and by what was sold."""
    if not _may(visit):
        return []
    rows = await tickets.search(ctx.db, _shop(visit), shown.text.strip())
    return [
        Link(
            _("Ticket #%(number)s · %(about)s", number=row["id"], about=row["about"] or row["order_ref"]),
            f"{CONSOLE}/{row['id']}",
            "lifebuoy",
        )
        for row in rows
    ]


async def on_dashboard(ctx: Context, visit: Visit, subject: None) -> Fragment | None:
    if not _may(visit):
        return None
    figures = await tickets.figures(ctx.db, _shop(visit), late_before(ctx))
    if not figures["open"] and not figures["waiting"]:
        return None
    return Fragment("apps.tickets/_dashboard.html", {"figures": figures, "here": CONSOLE})


async def tab(ctx: Context, visit: Visit, shown: OrderShown) -> Link | None:
    if not _may(visit):
        return None
    rows = await tickets.of_orders(ctx.db, _shop(visit), [shown.ref])
    if not rows:
        return None
    path = f"{CONSOLE}/{rows[0]['id']}" if len(rows) == 1 else f"{CONSOLE}?q={shown.ref}&state=all"
    return Link(_("Tickets"), path, "lifebuoy", len(rows))


async def timeline(ctx: Context, visit: Visit, shown: OrderShown) -> list[TimelineRow]:
    if not _may(visit):
        return []
    found: list[TimelineRow] = []
    for row in await tickets.of_orders(ctx.db, _shop(visit), [shown.ref]):
        reason: Any = words.REASONS[row["reason"]][0]
        found.append(TimelineRow(row["opened_at"], _("Ticket #%(number)s opened", number=row["id"]), reason, "warning"))
        if row["answered_at"]:
            title = _("Ticket #%(number)s answered", number=row["id"])
            found.append(TimelineRow(row["answered_at"], title, row["holder_name"]))
        if row["solved_at"]:
            title = _("Ticket #%(number)s solved", number=row["id"])
            found.append(TimelineRow(row["solved_at"], title, state="good"))
    return sorted(found, key=lambda one: one.at)
