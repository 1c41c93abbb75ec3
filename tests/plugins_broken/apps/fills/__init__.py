from datetime import UTC, datetime

from core.api import Column, Fragment, Link, Pages, Plugin, SetupRow, StateRow, TimelineRow

EVIL = "<script>alert(1)</script>"


def mark(place):
    return f"[{place}]{EVIL}"


def fragment(place):
    async def fill(ctx, visit, subject):
        return Fragment("apps.fills/piece.html", {"mark": mark(place), "subject": repr(subject)})

    return fill


def link(place):
    return lambda ctx, visit, subject: [Link(mark(place), '/x/apps.fills/"><b>', icon="bell", count=3)]


def column(ctx, visit, orders):
    return Column(mark("admin.orders.column"), {order.ref: f"cell of {order.ref}{EVIL}" for order in orders})


class Fills(Plugin):
    pages = Pages(
        slots={
            **{name: link(name) for name in ("shop.nav", "orders.nav", "admin.top", "admin.order.tab", "admin.search")},
            **{
                name: fragment(name)
                for name in (
                    "shop.footer",
                    "home.top",
                    "home.bottom",
                    "product.before_price",
                    "product.after_price",
                    "product.more",
                    "checkout.before_pay",
                    "order.top",
                    "order.help",
                    "order.bottom",
                    "orders.more",
                    "account.points",
                    "account.more",
                    "admin.dashboard",
                    "admin.order.action",
                    "admin.order.detail",
                    "admin.product.detail",
                    "admin.plugin",
                )
            },
            "admin.orders.column": column,
            "admin.setup": lambda ctx, visit, subject: SetupRow(mark("admin.setup"), "/x/apps.fills", False, EVIL),
            "admin.health": lambda ctx, visit, subject: StateRow(mark("admin.health"), "bad", EVIL),
            "admin.order.timeline": lambda ctx, visit, order: TimelineRow(
                datetime(2026, 11, 22, tzinfo=UTC), mark("admin.order.timeline"), EVIL, "good"
            ),
        }
    )


plugin = Fills()
