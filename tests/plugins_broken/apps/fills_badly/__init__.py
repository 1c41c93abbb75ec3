import asyncio

from core.api import Column, Fragment, Link, Pages, Plugin, TimelineRow


async def breaks(ctx, visit, subject):
    raise RuntimeError("no fragment today")


async def hangs(ctx, visit, subject):
    await asyncio.Event().wait()


async def cancels(ctx, visit, subject):
    raise asyncio.CancelledError


def exits(ctx, visit, subject):
    raise SystemExit(3)


class FillsBadly(Plugin):
    pages = Pages(
        slots={
            "home.top": breaks,
            "home.bottom": hangs,
            "shop.footer": exits,
            "shop.nav": lambda ctx, visit, subject: Link("Elsewhere", "https://elsewhere.example"),
            "product.before_price": lambda ctx, visit, subject: "<b>only text</b>",
            "product.after_price": lambda ctx, visit, subject: Fragment("catalog/_buy.html"),
            "product.more": lambda ctx, visit, subject: Fragment("apps.fills_badly/missing.html"),
            "orders.nav": cancels,
            "admin.top": lambda ctx, visit, subject: Link("There", None),
            "admin.orders.column": lambda ctx, visit, subject: Column("Odd", None),
            "admin.order.timeline": lambda ctx, visit, subject: TimelineRow("today", "When?"),
            "admin.plugin": breaks,
        }
    )


plugin = FillsBadly()
