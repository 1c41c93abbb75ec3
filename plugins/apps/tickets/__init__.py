"""Help on every order: what can be tried at once, then a ticket that knows the order already."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from core.api import Act, Nav, OrderView, Pages, Plugin, PluginContext, PluginJob, RemovedView, _, hookimpl

from . import console, pages, places, tickets
from .settings import Settings

Context = PluginContext[Settings]


async def close_silent(ctx: Context, args: Mapping[str, Any]) -> None:
    now = ctx.clock.now()
    await ctx.db.transaction(tickets.close_silent, now - timedelta(days=ctx.settings.close_days), now)


async def forget(ctx: Context, args: Mapping[str, Any]) -> None:
    now, settings = ctx.clock.now(), ctx.settings
    keep, images = timedelta(days=settings.keep_days), timedelta(days=settings.image_days)
    await tickets.forget(ctx.db, now - keep, now - images, now - timedelta(hours=2))


class TicketsPlugin(Plugin):
    Settings = Settings
    pages = Pages(
        buyer=pages.ROUTES,
        console=console.ROUTES,
        acts=[
            Act("apps.tickets.read", _("See tickets"), ("manager", "support", "finance", "readonly")),
            Act("apps.tickets.answer", _("Answer tickets and write canned replies"), ("manager", "support")),
        ],
        recorded={
            "answered": _("Answered a ticket"),
            "noted": _("Wrote a note on a ticket"),
            "given": _("Gave a ticket to somebody"),
            "solved": _("Closed a ticket as solved"),
            "reopened": _("Opened a ticket again"),
            "merged": _("Merged two tickets"),
            "reply_saved": _("Saved a canned reply"),
            "exported": _("Exported tickets"),
            "reply_removed": _("Removed a canned reply"),
        },
        nav=[Nav(_("Tickets"), pages.CONSOLE, "lifebuoy", group="sales", right="apps.tickets.read")],
        slots={
            "order.help": places.help_with_order,
            "orders.nav": places.way_in,
            "admin.top": places.bell,
            "admin.search": places.found,
            "admin.dashboard": places.on_dashboard,
            "admin.order.tab": places.tab,
            "admin.order.timeline": places.timeline,
        },
    )
    jobs = (
        PluginJob("close_silent", close_silent, every=3600),
        PluginJob("forget", forget, every=3600),
    )

    @hookimpl
    async def buyer_forgotten(self, ctx: Context, order: OrderView) -> None:
        await tickets.forget_order(ctx.db, order.ref)

    @hookimpl
    async def order_removed(self, ctx: Context, removed: RemovedView) -> None:
        await tickets.forget_order(ctx.db, removed.ref)


plugin = TicketsPlugin()
