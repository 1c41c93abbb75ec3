"""What is written: ours in two languages, or the merchant's own; everything that comes from outside is escaped."""

from __future__ import annotations

from html import escape
from typing import Any

from core.api import Money, OrderView, PluginContext, RefundView, ReviewView, StockView, shop_address

from .bot import LONGEST_TEXT
from .settings import NAMES, Settings

MOST_LINES = 10

TEXTS = {
    "zh_CN": {
        "order_paid": '<b>已付款</b> {total}\n{goods}\n<a href="{link}">{ref}</a>',
        "order_delivered": '<b>已发货</b>\n{goods}\n<a href="{link}">{ref}</a>',
        "order_refunded": '<b>已退款</b> {amount}\n<a href="{link}">{ref}</a>',
        "review_opened": '<b>需要人工处理</b>\n{reason}\n<a href="{link}">{ref}</a>',
        "stock_low": '<b>库存不足</b> {title}（{sku}）\n剩余 {left}\n<a href="{link}">补货</a>',
        "test": "来自 {shop} 的测试消息。",
    },
    "en": {
        "order_paid": '<b>Paid</b> {total}\n{goods}\n<a href="{link}">{ref}</a>',
        "order_delivered": '<b>Delivered</b>\n{goods}\n<a href="{link}">{ref}</a>',
        "order_refunded": '<b>Refunded</b> {amount}\n<a href="{link}">{ref}</a>',
        "review_opened": '<b>Needs a decision</b>\n{reason}\n<a href="{link}">{ref}</a>',
        "stock_low": '<b>Running low</b> {title} ({sku})\n{left} left\n<a href="{link}">Import codes</a>',
        "test": "A test message from {shop}.",
    },
}
TEST_ORDER = {"zh_CN": "[测试] ", "en": "[test] "}


def written(settings: Settings, event: str, values: dict[str, str], *, test: bool = False) -> str:
    """The message as HTML. A merchant's own text is plain: its signs are escaped like everything else."""
    own = settings.own_text(event)
    pattern = escape(own, quote=False) if own is not None else TEXTS[settings.language][event]
    safe = {name: escape(values.get(name, "")) for name in NAMES}
    text = (TEST_ORDER[settings.language] if test else "") + pattern.format_map(safe)
    # entities must not be cut in two; goods are the only part that grows, and they were cut before
    return text if len(text) <= LONGEST_TEXT else escape(values.get("ref", ""))


async def of_order(ctx: PluginContext[Settings], order: OrderView) -> dict[str, str]:
    lines = [f"{line.title} × {line.quantity}" for line in order.lines]
    shown = [line[:200] for line in lines[:MOST_LINES]]
    return {
        "ref": order.ref,
        "shop": order.shop,
        "total": _sum(ctx, order.total),
        "goods": "\n".join(shown + ["…"] * (len(lines) > MOST_LINES)),
        "link": await _link(ctx, order.shop, f"/admin/orders/{order.ref}"),
    }


async def of_refund(ctx: PluginContext[Settings], order: OrderView, refund: RefundView) -> dict[str, str]:
    return {**await of_order(ctx, order), "amount": _sum(ctx, refund.amount)}


async def of_review(ctx: PluginContext[Settings], review: ReviewView) -> dict[str, str]:
    path = f"/admin/orders/{review.order_ref}" if review.order_ref else "/admin/review"
    return {
        "ref": review.order_ref or f"#{review.number}",
        "shop": review.shop,
        "reason": review.reason,
        "link": await _link(ctx, review.shop, path),
    }


async def of_stock(ctx: PluginContext[Settings], stock: StockView) -> dict[str, str]:
    return {
        "sku": stock.sku_code,
        "title": stock.title,
        "left": str(stock.left),
        "shop": stock.shop,
        "link": await _link(ctx, stock.shop, "/admin/stock"),
    }


async def _link(ctx: PluginContext[Settings], shop: str, path: str) -> str:
    return await shop_address(shop, ctx.base_url) + path


def _sum(ctx: PluginContext[Any], money: Money) -> str:
    return money.text(ctx.settings.language)
