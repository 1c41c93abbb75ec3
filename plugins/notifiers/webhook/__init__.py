"""Webhooks as Standard Webhooks 1.0.0 describes them: signed, logged, tried again, replayed by hand."""

from datetime import datetime
from typing import Any

from core.api import (
    Act,
    Nav,
    OrderView,
    Pages,
    Plugin,
    PluginContext,
    PluginJob,
    RefundView,
    ReviewView,
    StateRow,
    StockView,
    Visit,
    _,
    hookimpl,
)

from . import console, endpoints, events, sending

HERE = "/admin/x/notifiers.webhook"


async def health(ctx: PluginContext[None], visit: Visit, subject: None) -> list[StateRow]:
    """Endpoints that were given up; those that fail just now."""
    rows = []
    for one in await endpoints.listed(ctx.db, visit.shop.code):
        path = f"{HERE}/{one['id']}"
        if one["state"] == "given_up":
            rows.append(StateRow(_("Webhook switched off"), "bad", one["note"] or one["url"], path))
        elif one["state"] == "on" and one["failing_since"]:
            rows.append(StateRow(_("Webhook fails"), "warning", one["note"] or one["url"], path))
    return rows


class WebhookPlugin(Plugin):
    pages = Pages(
        console=console.ROUTES,
        acts=[
            Act("notifiers.webhook.read", _("See webhooks and what was sent"), ("manager",)),
            Act("notifiers.webhook.edit", _("Add, change and replay webhooks; see a new secret"), ("manager",)),
        ],
        recorded={
            "added": _("Added a webhook"),
            "changed": _("Changed a webhook"),
            "switched_on": _("Switched a webhook on"),
            "switched_off": _("Switched a webhook off"),
            "secret_renewed": _("Made a new secret of a webhook"),
            "deleted": _("Deleted a webhook"),
            "tested": _("Sent a test message"),
            "replayed": _("Sent a message of a webhook again"),
        },
        nav=[Nav(_("Webhooks"), HERE, "webhook", group="system", right="notifiers.webhook.read", order=830)],
        slots={"admin.health": health},
    )
    jobs = (
        PluginJob(endpoints.SEND, sending.send, tries=10, backoff_seconds=10, timeout_seconds=60),
        PluginJob("sweep", sending.sweep, every=3600),
    )

    @hookimpl
    async def order_paid(self, ctx: PluginContext[None], order: OrderView) -> None:
        await _order(ctx, "order.paid", order, order.paid_at)

    @hookimpl
    async def order_delivered(self, ctx: PluginContext[None], order: OrderView) -> None:
        await _order(ctx, "order.delivered", order, order.delivered_at)

    @hookimpl
    async def order_closed(self, ctx: PluginContext[None], order: OrderView) -> None:
        await _order(ctx, "order.closed", order, None)

    @hookimpl
    async def order_refunded(self, ctx: PluginContext[None], order: OrderView, refund: RefundView) -> None:
        await _tell(ctx, order.shop, "order.refunded", refund.ref, refund.ended_at, events.of_refund(order, refund))

    @hookimpl
    async def review_opened(self, ctx: PluginContext[None], review: ReviewView) -> None:
        subject = f"{review.shop}:{review.number}"
        await _tell(ctx, review.shop, "review.opened", subject, review.opened_at, events.of_review(review))

    @hookimpl
    async def stock_low(self, ctx: PluginContext[None], stock: StockView) -> None:
        # told once until the SKU is refilled, so a day tells one time from the next
        subject = f"{stock.shop}:{stock.sku_code}:{ctx.clock.now():%Y-%m-%d}"
        await _tell(ctx, stock.shop, "stock.low", subject, None, events.of_stock(stock))


async def _order(ctx: PluginContext[None], event: str, order: OrderView, at: datetime | None) -> None:
    await _tell(ctx, order.shop, event, order.ref, at, events.of_order(order))


async def _tell(
    ctx: PluginContext[None], shop: str, event: str, subject: str, at: datetime | None, data: dict[str, Any]
) -> None:
    body = events.body(event, at or ctx.clock.now(), data)
    message = events.message_id(event, subject)
    await ctx.db.transaction(endpoints.queue, ctx.clock.now(), shop, event, message, body)


plugin = WebhookPlugin()
