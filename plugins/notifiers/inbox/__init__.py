"""Messages inside the shop: news of their orders for buyers, what needs them for staff."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from core.api import (
    Act,
    Link,
    OrderView,
    Pages,
    Plugin,
    PluginContext,
    PluginJob,
    PluginSettings,
    RefundView,
    ReviewView,
    StockView,
    Visit,
    _,
    failed_jobs,
    hookimpl,
    orders_of_visitor,
    setting,
)

from . import messages, pages
from .messages import New

LOOK_SECONDS = 30
LOOK_BACK = timedelta(hours=1)
MAIN_SHOP = "main"


class Settings(PluginSettings):
    keep_days: int = setting(_("Messages are kept for"), unit=_("days"), default=90, ge=1, le=3650)


Context = PluginContext[Settings]


async def buyers_way_in(ctx: Context, visit: Visit, subject: Any) -> Link | None:
    """Beside My orders: nothing for whoever has none."""
    refs = await orders_of_visitor(visit)
    if not refs:
        return None
    unread = await messages.unread_of_buyer(ctx.db, refs)
    return Link(_("Messages"), pages.FOR_BUYERS, icon="mail", count=unread)


async def bell(ctx: Context, visit: Visit, subject: None) -> Link | None:
    session = visit.session
    if session is None or not session.may("notifiers.inbox.read"):
        return None
    kinds = messages.kinds_for(session)
    unread = await messages.unread_of_staff(ctx.db, visit.shop.code, session.staff_id, kinds)
    return Link(_("Inbox"), pages.FOR_STAFF, icon="bell", count=unread)


async def look_for_failed_jobs(ctx: Context, args: Mapping[str, Any]) -> None:
    for job in await failed_jobs(ctx.clock.now() - LOOK_BACK):
        facts = {"job": job.id, "name": job.name, "error": job.error[:300]}
        await messages.to_staff(ctx.db, New(MAIN_SHOP, "job", f"job:{job.id}:{job.at.isoformat()}", data=facts))


async def sweep(ctx: Context, args: Mapping[str, Any]) -> None:
    await messages.sweep(ctx.db, ctx.settings.keep_days)


class InboxPlugin(Plugin):
    Settings = Settings
    pages = Pages(
        buyer=[pages.inbox, pages.read],
        console=[pages.staff_inbox, pages.staff_read],
        acts=[
            Act(
                "notifiers.inbox.read",
                _("See the inbox of staff"),
                ("manager", "stock", "support", "finance", "readonly"),
            )
        ],
        slots={"orders.nav": buyers_way_in, "admin.top": bell},
    )
    jobs = (
        PluginJob("look_for_failed_jobs", look_for_failed_jobs, every=LOOK_SECONDS),
        PluginJob("sweep", sweep, every=3600),
    )

    @hookimpl
    async def order_paid(self, ctx: Context, order: OrderView) -> None:
        # what is delivered in the same moment is told as delivered
        if order.fulfilment_state != "delivered":
            await messages.to_buyer(ctx.db, New(order.shop, "paid", f"paid:{order.ref}", order.ref))

    @hookimpl
    async def order_delivered(self, ctx: Context, order: OrderView) -> None:
        await messages.to_buyer(ctx.db, New(order.shop, "delivered", f"delivered:{order.ref}", order.ref))

    @hookimpl
    async def order_refunded(self, ctx: Context, order: OrderView, refund: RefundView) -> None:
        facts = {"amount": refund.amount.amount, "currency": refund.amount.currency}
        await messages.to_buyer(ctx.db, New(order.shop, "refunded", f"refunded:{refund.ref}", order.ref, facts))

    @hookimpl
    async def review_opened(self, ctx: Context, review: ReviewView) -> None:
        if review.open:
            facts = {"reason": review.reason, "kind": review.kind}
            key = f"review:{review.shop}:{review.number}"
            await messages.to_staff(ctx.db, New(review.shop, "review", key, review.order_ref, facts))

    @hookimpl
    async def stock_low(self, ctx: Context, stock: StockView) -> None:
        facts = {"sku": stock.sku_code, "title": stock.title, "left": stock.left}
        key = f"stock:{stock.shop}:{stock.sku_code}:{ctx.clock.now():%Y-%m-%d}"
        await messages.to_staff(ctx.db, New(stock.shop, "stock", key, data=facts))


plugin = InboxPlugin()
