"""Each message is there once, for whoever may read it; what was read on a page is read, what came after is not."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.api import LineView, Money, OrderView, RefundView, ReviewView, StockView
from core.api.testing import Contract
from plugins.notifiers import inbox
from plugins.notifiers.inbox import messages

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
    fulfilment_state="preparing",
    lines=(LineView("SKU-1", "A month", 1, Money(1990, "CNY")),),
    placed_at=NOW,
    expires_at=NOW,
    paid_at=NOW,
    delivered_at=None,
)
REVIEW = ReviewView(7, "main", "out_of_stock", "paid, but gone", "V1", NOW, open=True)
EVERY_KIND = list(messages.NEEDS)


class TestInbox(Contract):
    plugin = "notifiers.inbox"

    @pytest.fixture
    async def ctx(self, machine):
        ctx = machine.loaded.context
        for table in ("notifiers_inbox_message", "notifiers_inbox_read"):
            await ctx.db.execute(f"DELETE FROM {table}")
        return ctx

    async def test_news_of_an_order_reach_its_buyer_once(self, machine, ctx):
        for _twice in range(2):
            await machine.tell("order_paid", order=ORDER)
            await machine.tell("order_delivered", order=ORDER)
            await machine.tell("order_refunded", order=ORDER, refund=RefundView("V1-R1", Money(5, "CNY"), "hand", NOW))
        await machine.tell("order_paid", order=replace(ORDER, ref="V2", fulfilment_state="delivered"))
        found = await messages.of_buyer(ctx.db, ["V1", "V2"])
        assert [(str(one.title), one.path) for one in found] == [
            ("Money of order V1 went back to you", "/o/V1"),
            ("Order V1 is ready", "/o/V1"),
            ("Order V1 is paid", "/o/V1"),
        ]
        assert found[0].text == Money(5, "CNY")

    async def test_nobody_reads_what_belongs_to_the_order_of_somebody_else(self, machine, ctx):
        await machine.tell("order_delivered", order=ORDER)
        for refs in ([], ["V2"]):
            assert await messages.of_buyer(ctx.db, refs) == []
            assert await messages.unread_of_buyer(ctx.db, refs) == 0
            await messages.read_by_buyer(ctx.db, refs, 2**40)
        assert await messages.unread_of_buyer(ctx.db, ["V1"]) == 1

    async def test_a_message_that_came_while_the_page_was_read_stays_unread(self, machine, ctx):
        await machine.tell("order_paid", order=ORDER)
        (shown,) = await messages.of_buyer(ctx.db, ["V1"])
        await machine.tell("order_delivered", order=ORDER)
        await messages.read_by_buyer(ctx.db, ["V1"], shown.id)
        assert [(str(one.title), one.seen) for one in await messages.of_buyer(ctx.db, ["V1"])] == [
            ("Order V1 is ready", False),
            ("Order V1 is paid", True),
        ]

    async def test_staff_see_what_they_may_decide_about_in_their_own_shop(self, machine, ctx):
        for _twice in range(2):
            await machine.tell("review_opened", review=REVIEW)
            await machine.tell("stock_low", stock=StockView("main", "SKU-1", "A month", 1, 2))
        await machine.tell("review_opened", review=replace(REVIEW, number=8, order_ref=""))
        await machine.tell("review_opened", review=replace(REVIEW, number=9, open=False))
        await machine.tell("review_opened", review=replace(REVIEW, shop="other"))
        found = await messages.of_staff(ctx.db, "main", 1, EVERY_KIND, 0, 10)
        assert [(str(one.title), str(one.text), one.path) for one in found] == [
            ("Something waits for a decision", "paid, but gone", "/admin/review"),
            ("A month runs low", "SKU-1: 1 left", "/admin/stock"),
            ("Order V1 waits for a decision", "paid, but gone", "/admin/orders/V1"),
        ]
        assert len(await messages.of_staff(ctx.db, "main", 1, ["stock"], 0, 10)) == 1
        assert await messages.unread_of_staff(ctx.db, "main", 1, ["stock"]) == 1
        assert await messages.of_staff(ctx.db, "main", 1, [], 0, 10) == []

    async def test_each_of_staff_reads_for_themselves_and_never_backwards(self, machine, ctx):
        for number in (1, 2, 3):
            await machine.tell("review_opened", review=replace(REVIEW, number=number))
        found = await messages.of_staff(ctx.db, "main", 1, EVERY_KIND, 0, 10)
        await messages.read_by_staff(ctx.db, 1, found[0].id)
        await messages.read_by_staff(ctx.db, 1, found[2].id)
        assert await messages.unread_of_staff(ctx.db, "main", 1, EVERY_KIND) == 0
        assert await messages.unread_of_staff(ctx.db, "main", 2, EVERY_KIND) == 3
        assert [one.id for one in await messages.of_staff(ctx.db, "main", 1, EVERY_KIND, found[0].id, 10)] == [
            found[1].id,
            found[2].id,
        ]

    async def test_a_job_that_failed_is_told_once_and_again_when_it_fails_anew(self, machine, ctx):
        await ctx.db.execute("DELETE FROM jobs_job")
        await ctx.db.execute(
            "INSERT INTO jobs_job (name, state, error, finished_at) VALUES"
            " ('messages.send', 'failed', 'no such host', now()), ('jobs.purge', 'done', '', now()),"
            " ('messages.send', 'failed', 'long ago', now() - interval '1 day')"
        )
        for _twice in range(2):
            await inbox.look_for_failed_jobs(ctx, {})
        await ctx.db.execute("UPDATE jobs_job SET finished_at = now() WHERE error = 'no such host'")
        await inbox.look_for_failed_jobs(ctx, {})
        found = await messages.of_staff(ctx.db, "main", 1, ["job"], 0, 10)
        assert [str(one.text) for one in found] == ["messages.send: no such host"] * 2

    async def test_old_messages_go(self, machine, ctx):
        await machine.tell("order_paid", order=ORDER)
        await ctx.db.execute("UPDATE notifiers_inbox_message SET made_at = now() - interval '91 days'")
        await machine.tell("order_delivered", order=ORDER)
        await inbox.sweep(ctx, {})
        assert [str(one.title) for one in await messages.of_buyer(ctx.db, ["V1"])] == ["Order V1 is ready"]
