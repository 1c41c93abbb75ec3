"""Against a Bot API on loopback that counts what arrived; the token may stand nowhere."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aiohttp import web

from core.api import Check, LineView, Money, OrderView, RefundView, ReviewView, StockView
from core.api.testing import Contract, Fault, OtherSide
from plugins.notifiers import telegram
from plugins.notifiers.telegram import bot, texts
from plugins.notifiers.telegram.settings import OwnText, Settings

TOKEN = "123456:AAF-a_token_of_the_bot_father-0123"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ORDER = OrderView(
    ref="V1",
    shop="main",
    test=False,
    contact_kind="email",
    contact="",
    locale="en",
    total=Money(1990, "CNY"),
    payment_state="paid",
    fulfilment_state="delivered",
    lines=(LineView("SKU-1", "A <month> & more", 2, Money(1990, "CNY")),),
    placed_at=NOW,
    expires_at=NOW,
    paid_at=NOW,
    delivered_at=NOW,
)
REFUND = RefundView("V1-R1", Money(500, "CNY"), "source", NOW)
REVIEW = ReviewView(7, "main", "out_of_stock", "paid, but <gone>", "V1", NOW, open=True)
STOCK = StockView("main", "SKU-1", "A month", 1, 2)


class BotApi(OtherSide):
    """Knows one bot and one chat."""

    def __init__(self):
        super().__init__()
        self.messages = []
        self.answers = []

    def routes(self):
        return [web.post("/bot{token}/{method}", self.answer)]

    def settings(self):
        every = list(telegram.settings.EVENTS)
        return {"token": TOKEN, "chat": "-100200300", "server": self.address, "language": "en", "events": every}

    async def answer(self, request):
        if request.match_info["token"] != TOKEN:
            return self.no(401, "Unauthorized")
        values = await request.json()
        if request.match_info["method"] == "getMe":
            return web.json_response({"ok": True, "result": {"id": 123456, "is_bot": True, "username": "shop_bot"}})
        if self.answers:
            return self.no(*self.answers.pop(0))
        if values["chat_id"] not in ("-100200300", -100999):
            return self.no(400, "Bad Request: chat not found")
        if request.match_info["method"] == "getChat":
            return web.json_response({"ok": True, "result": {"id": -100200300, "title": "Shop staff", "type": "group"}})
        self.messages.append(values)
        return web.json_response({"ok": True, "result": {"message_id": len(self.messages)}})

    def no(self, status, text, **parameters):
        body = {"ok": False, "error_code": status, "description": text, "parameters": parameters}
        return web.json_response(body, status=status)


class TestTelegram(Contract):
    plugin = "notifiers.telegram"

    @pytest.fixture
    async def other_side(self):
        async with BotApi() as server:
            yield server

    @pytest.fixture
    async def ctx(self, machine):
        await machine.loaded.context.db.execute("DELETE FROM jobs_job")
        return machine.loaded.context

    async def waiting(self, ctx):
        rows = await ctx.db.fetch("SELECT key, args, run_at FROM jobs_job ORDER BY id")
        return [(row["key"], row["args"], row["run_at"]) for row in rows]

    async def test_each_fact_becomes_one_message_however_often_it_is_heard(self, machine, ctx):
        for _twice in range(2):
            await machine.tell("order_paid", order=ORDER)
            await machine.tell("order_delivered", order=ORDER)
            await machine.tell("order_refunded", order=ORDER, refund=REFUND)
            await machine.tell("review_opened", review=REVIEW)
            await machine.tell("stock_low", stock=STOCK)
        rows = {
            key.removeprefix("notifiers.telegram:").partition(":")[0]: args for key, args, _ in await self.waiting(ctx)
        }
        link = '<a href="http://127.0.0.1:9/admin/orders/V1">V1</a>'
        assert {event: args["text"] for event, args in rows.items()} == {
            "order_paid": f"<b>Paid</b> CN¥19.90\nA &lt;month&gt; &amp; more × 2\n{link}",
            "order_delivered": f"<b>Delivered</b>\nA &lt;month&gt; &amp; more × 2\n{link}",
            "order_refunded": f"<b>Refunded</b> CN¥5.00\n{link}",
            "review_opened": f"<b>Needs a decision</b>\npaid, but &lt;gone&gt;\n{link}",
            "stock_low": "<b>Running low</b> A month (SKU-1)\n1 left\n"
            '<a href="http://127.0.0.1:9/admin/stock">Import codes</a>',
        }
        assert len(await self.waiting(ctx)) == 5

    async def test_a_link_leads_to_the_shop_that_it_is_about(self, machine, ctx, monkeypatch):
        async def shop_address(shop, base_url):
            return base_url.replace("127.0.0.1", f"{shop}.test")

        monkeypatch.setattr(texts, "shop_address", shop_address)
        await machine.tell("order_paid", order=replace(ORDER, shop="kol"))
        await machine.tell("review_opened", review=replace(REVIEW, shop="kol"))
        await machine.tell("stock_low", stock=replace(STOCK, shop="kol"))
        told = "".join(args["text"] for _, args, _ in await self.waiting(ctx))
        assert told.count('href="http://kol.test:9/admin/orders/V1"') == 2
        assert 'href="http://kol.test:9/admin/stock"' in told

    async def test_what_was_not_asked_for_is_not_told(self, machine, ctx, other_side):
        await machine.save({**other_side.settings(), "events": ["stock_low"], "test_orders": False})
        await machine.tell("order_paid", order=ORDER)
        await machine.save({**other_side.settings(), "test_orders": False})
        await machine.tell("order_paid", order=_test_order())
        assert await self.waiting(ctx) == []
        await machine.save(other_side.settings())
        await machine.tell("order_paid", order=_test_order())
        assert (await self.waiting(ctx))[0][1]["text"].startswith("[test] <b>Paid</b>")

    async def test_a_message_is_sent_as_the_api_wants_it(self, ctx, other_side):
        await telegram.send(ctx, {"text": "<b>Paid</b>", "key": "k"})
        assert other_side.messages == [
            {
                "chat_id": "-100200300",
                "text": "<b>Paid</b>",
                "parse_mode": "HTML",
                "link_preview_options": {"is_disabled": True},
            }
        ]

    async def test_it_waits_exactly_as_long_as_telegram_asks(self, machine, ctx, other_side):
        other_side.answers = [(429, "Too Many Requests: retry after 17")]
        other_side.no = lambda status, text: web.json_response(
            {"ok": False, "error_code": status, "description": text, "parameters": {"retry_after": 17}}, status=status
        )
        before = ctx.clock.now()
        await telegram.send(ctx, {"text": "x", "key": "k"})
        ((key, args, run_at),) = await self.waiting(ctx)
        assert (key, args) == ("notifiers.telegram:k:1", {"text": "x", "key": "k", "waits": 1})
        assert 17 <= (run_at - before).total_seconds() < 22
        assert other_side.messages == []

    async def test_a_group_that_moved_is_written_to_at_its_new_number(self, ctx, other_side):
        other_side.answers = [(400, "Bad Request: group chat was upgraded to a supergroup chat")]
        other_side.no = lambda status, text: web.json_response(
            {"ok": False, "error_code": status, "description": text, "parameters": {"migrate_to_chat_id": -100999}},
            status=status,
        )
        await telegram.send(ctx, {"text": "x", "key": "k"})
        assert [one["chat_id"] for one in other_side.messages] == [-100999]

    @pytest.mark.parametrize("fault", list(Fault))
    async def test_a_broken_line_is_an_error_without_the_token(self, machine, ctx, other_side, fault):
        machine.hurry()
        other_side.fails("*", fault, times=None)
        with pytest.raises(telegram.CannotSend) as caught:
            await telegram.send(ctx, {"text": "x", "key": "k"})
        assert TOKEN not in repr(caught.value) and TOKEN.split(":")[1] not in str(caught.value)
        machine.forget_failures()

    async def test_a_chat_that_does_not_want_it_is_an_error_with_telegrams_words(self, ctx, other_side):
        other_side.answers = [(403, "Forbidden: bot was blocked by the user")]
        with pytest.raises(telegram.CannotSend, match="Forbidden: bot was blocked by the user"):
            await telegram.send(ctx, {"text": "x", "key": "k"})
        assert other_side.messages == []

    async def test_words_of_the_other_side_that_quote_the_token_are_cleaned(self, ctx, other_side):
        other_side.answers = [(400, f"no such method /bot{TOKEN}/sendMessage")]
        with pytest.raises(telegram.CannotSend) as caught:
            await telegram.send(ctx, {"text": "x", "key": "k"})
        assert str(caught.value) == "no such method /bot…/sendMessage"

    async def test_the_test_button(self, machine, other_side):
        async def tried(**changes):
            settings = Settings(**{**other_side.settings(), **changes})
            result = await machine.loaded.plugin.check(settings, machine.runtime.context_to_try(self.plugin, settings))
            return result.answer, str(result.note)

        assert await tried() == (Check.OK, "@shop_bot writes to Shop staff. Look there.")
        assert other_side.messages[0]["text"] == "A test message from 127.0.0.1:9."
        assert (await tried(token="123456:" + "x" * 30))[0] is Check.CREDENTIALS_WRONG
        answer = (Check.WILL_NOT_WORK, "Telegram does not let it write there: Bad Request: chat not found")
        assert await tried(chat="@nowhere_at_all") == answer
        await other_side.down()
        assert (await tried())[0] is Check.TRY_LATER


def _test_order():
    return replace(ORDER, test=True)


def settings(**changes):
    return Settings(**{"token": TOKEN, "chat": "@shop_staff", **changes})


def test_own_texts_are_escaped_and_may_name_only_what_is_there():
    own = settings(texts=[{"event": "order_paid", "text": "<i> {ref}: {goods} {{}}"}])
    assert texts.written(own, "order_paid", {"ref": "V1", "goods": "a<b"}) == "&lt;i&gt; V1: a&lt;b {}"
    for text in ("{contact}", "{ref.shop}", "{ref!r}", "{ref:>9999999}", "{", "{0}"):
        with pytest.raises(ValueError, match=r"name only|stands alone"):
            OwnText(event="order_paid", text=text)


def test_texts_stay_within_what_telegram_takes():
    assert len(texts.written(settings(), "order_paid", {"goods": "&" * 4096, "ref": "V1"})) <= bot.LONGEST_TEXT
    for language, patterns in texts.TEXTS.items():
        assert patterns.keys() == texts.TEXTS["en"].keys(), language


@pytest.mark.parametrize("wrong", [{"token": "secret"}, {"chat": "me"}, {"chat": "@x"}, {"events": ["order_closed"]}])
def test_settings_that_cannot_work(wrong):
    with pytest.raises(ValueError, match=r"token|number|Input"):
        settings(**wrong)
