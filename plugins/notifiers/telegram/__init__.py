"""Tells the merchant in a Telegram chat what happens in the shop."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from core.api import (
    CheckResult,
    OrderView,
    Plugin,
    PluginContext,
    PluginJob,
    PluginTx,
    RefundView,
    ReviewView,
    StockView,
    _,
    hookimpl,
)

from . import bot, texts
from .bot import BotRefused, Moved, Unavailable
from .settings import Settings

SEND = "send"
Context = PluginContext[Settings]


class CannotSend(Exception):
    """Shown to staff, and tried again: settings may be mended meanwhile."""


async def send(ctx: Context, args: Mapping[str, Any]) -> None:
    """The job: one message. When Telegram asks us to wait, exactly so long."""
    try:
        await bot.send(ctx, args["text"])
    except Unavailable as error:
        if error.after is None:
            raise CannotSend(str(error)) from None
        await ctx.db.transaction(_wait, ctx, args, error.after)
    except BotRefused as error:
        raise CannotSend(str(error)) from None


async def _wait(tx: PluginTx, ctx: Context, args: Mapping[str, Any], seconds: float) -> None:
    waits = args.get("waits", 0) + 1
    run_at = ctx.clock.now() + timedelta(seconds=seconds)
    await tx.enqueue(SEND, {**args, "waits": waits}, run_at=run_at, key=f"{args['key']}:{waits}")


async def _tell(ctx: Context, event: str, subject: str, values: dict[str, str], *, test: bool = False) -> None:
    if event not in ctx.settings.events or (test and not ctx.settings.test_orders):
        return
    text = texts.written(ctx.settings, event, values, test=test)
    key = f"{event}:{subject}"

    async def work(tx: PluginTx) -> None:
        await tx.enqueue(SEND, {"text": text, "key": key}, key=key)

    await ctx.db.transaction(work)


class TelegramPlugin(Plugin):
    Settings = Settings
    jobs = (PluginJob(SEND, send, tries=12, backoff_seconds=10, timeout_seconds=60),)

    @hookimpl
    async def order_paid(self, ctx: Context, order: OrderView) -> None:
        await _tell(ctx, "order_paid", order.ref, await texts.of_order(ctx, order), test=order.test)

    @hookimpl
    async def order_delivered(self, ctx: Context, order: OrderView) -> None:
        await _tell(ctx, "order_delivered", order.ref, await texts.of_order(ctx, order), test=order.test)

    @hookimpl
    async def order_refunded(self, ctx: Context, order: OrderView, refund: RefundView) -> None:
        await _tell(ctx, "order_refunded", refund.ref, await texts.of_refund(ctx, order, refund), test=order.test)

    @hookimpl
    async def review_opened(self, ctx: Context, review: ReviewView) -> None:
        if review.open:
            await _tell(ctx, "review_opened", f"{review.shop}:{review.number}", await texts.of_review(ctx, review))

    @hookimpl
    async def stock_low(self, ctx: Context, stock: StockView) -> None:
        subject = f"{stock.shop}:{stock.sku_code}:{ctx.clock.now():%Y-%m-%d}"
        await _tell(ctx, "stock_low", subject, await texts.of_stock(ctx, stock))

    async def check(self, settings: Settings, ctx: Context) -> CheckResult:
        """Who the bot is, and whether it knows the chat; then a message, so that one sees where it arrives."""
        try:
            me = await bot.call(ctx, "getMe")
        except Unavailable as error:
            return CheckResult.try_later(str(error))
        except BotRefused as error:
            return CheckResult.credentials_wrong(_("Telegram does not know this token: %(words)s", words=error))
        try:
            chat = await bot.call(ctx, "getChat", chat_id=settings.chat)
            await bot.call(ctx, "sendMessage", chat_id=settings.chat, text=_test_text(ctx), parse_mode="HTML")
        except Unavailable as error:
            return CheckResult.try_later(str(error))
        except Moved as moved:
            return CheckResult.will_not_work(_("The chat has the number %(chat)s now.", chat=moved.chat))
        except BotRefused as error:
            return CheckResult.will_not_work(_("Telegram does not let it write there: %(words)s", words=error))
        return CheckResult.ok(_("@%(bot)s writes to %(chat)s. Look there.", bot=_name(me), chat=_title(chat)))


def _test_text(ctx: Context) -> str:
    return texts.written(ctx.settings, "test", {"shop": ctx.base_url.partition("://")[2]})


def _name(me: Any) -> str:
    return str(me.get("username", "?"))[:64] if isinstance(me, dict) else "?"


def _title(chat: Any) -> str:
    if not isinstance(chat, dict):
        return "?"
    return str(chat.get("title") or chat.get("username") or chat.get("first_name") or chat.get("id", "?"))[:120]


plugin = TelegramPlugin()
