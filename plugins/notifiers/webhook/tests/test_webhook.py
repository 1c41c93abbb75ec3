"""Standard Webhooks against a receiver on loopback that checks signatures as the specification says."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from core.api import LineView, Money, OrderView, RefundView, ReviewView, StateRow, StockView
from core.api.testing import Contract, Fault, OtherSide
from plugins.notifiers.webhook import endpoints, events, health, sending, signing
from plugins.notifiers.webhook.endpoints import Draft, TooMany

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LINE = LineView("SKU-1", "A month", 2, Money(1990, "CNY"))
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
    lines=(LINE,),
    placed_at=NOW,
    expires_at=NOW,
    paid_at=NOW,
    delivered_at=NOW,
)
REFUND = RefundView("V1-R1", Money(500, "CNY"), "source", NOW)
REVIEW = ReviewView(7, "main", "out_of_stock", "paid, but gone", "V1", NOW, open=True)
STOCK = StockView("main", "SKU-1", "A month", 1, 2)


def test_the_published_vector():
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    at = datetime.fromtimestamp(1614265330, UTC)
    said = signing.signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body)
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_has_the_length_the_specification_asks_for_and_belongs_to_its_salt():
    first, second = (signing.secret_of(b"p" * 32, salt * 16) for salt in (b"a", b"b"))
    assert first != second and first.startswith("whsec_")
    assert 24 <= len(base64.b64decode(first.removeprefix("whsec_"))) <= 64
    assert first != signing.secret_of(b"q" * 32, b"a" * 16)


class Receiver(OtherSide):
    """Takes only what is signed with one of its secrets."""

    def __init__(self):
        super().__init__()
        self.secrets = []
        self.taken = []
        self.status, self.headers = 200, {}

    def routes(self):
        return [web.post("/hooks", self.take)]

    async def take(self, request):
        body, headers = await request.read(), request.headers
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in self.secrets]
        good = {"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys}
        if not good & set(headers["webhook-signature"].split(" ")):
            return web.Response(status=401, text="bad signature")
        if self.status == 200:
            self.taken.append((headers["webhook-id"], json.loads(body)))
        return web.Response(status=self.status, headers=self.headers, text="said\x00 so")


class TestWebhook(Contract):
    plugin = "notifiers.webhook"

    @pytest.fixture
    async def other_side(self):
        async with Receiver() as server:
            yield server

    @pytest.fixture
    async def ctx(self, machine):
        ctx = machine.loaded.context
        await ctx.db.execute("DELETE FROM notifiers_webhook_endpoint")
        await ctx.db.execute("DELETE FROM jobs_job")
        return ctx

    @pytest.fixture
    async def endpoint(self, ctx, other_side):
        draft = Draft(f"{other_side.address}/hooks", "", tuple(events.EVENTS))
        made = await ctx.db.transaction(endpoints.add, "main", draft)
        other_side.secrets = endpoints.secrets_of(ctx, made, NOW)
        return made

    async def work(self, ctx):
        """What the worker does: every job that waits, whether it is time or not."""
        rows = await ctx.db.fetch(
            "DELETE FROM jobs_job WHERE name = 'notifiers.webhook.send' RETURNING id, args, run_at"
        )
        for row in sorted(rows, key=lambda row: row["id"]):
            await sending.send(ctx, row["args"])
        return [row["run_at"] for row in rows]

    async def deliveries(self, ctx):
        rows = await ctx.db.fetch("SELECT event, state, tries FROM notifiers_webhook_delivery ORDER BY id")
        return [tuple(row.values()) for row in rows]

    async def tries(self, ctx):
        rows = await ctx.db.fetch("SELECT status, answer, error FROM notifiers_webhook_try ORDER BY id")
        return [tuple(row.values()) for row in rows]

    async def state(self, ctx, endpoint):
        return await ctx.db.fetchrow(
            "SELECT state, failing_since FROM notifiers_webhook_endpoint WHERE id = $1", endpoint["id"]
        )

    # -- what is sent -------------------------------------------------------------------

    async def test_each_fact_arrives_once_signed_and_thin(self, machine, ctx, endpoint, other_side):
        for _twice in range(2):
            await machine.tell("order_paid", order=replace(ORDER, contact="buyer@example.com"))
            await machine.tell("order_delivered", order=ORDER)
            await machine.tell("order_refunded", order=ORDER, refund=REFUND)
            await machine.tell("order_closed", order=ORDER)
            await machine.tell("review_opened", review=REVIEW)
            await machine.tell("stock_low", stock=STOCK)
        await self.work(ctx)
        sent = {body["type"]: body for _id, body in other_side.taken}
        assert list(sent) == list(events.EVENTS) and len(other_side.taken) == 6
        time = "2026-11-22T12:00:00Z"
        total = {"amount": 1990, "currency": "CNY"}
        order = {
            "ref": "V1",
            "shop": "main",
            "test": False,
            "total": total,
            "payment_state": "paid",
            "fulfilment_state": "delivered",
            "lines": [{"sku": "SKU-1", "title": "A month", "quantity": 2, "total": total}],
            "placed_at": time,
            "paid_at": time,
            "delivered_at": time,
        }
        assert sent["order.paid"] == {"type": "order.paid", "timestamp": time, "data": order}
        refund = {"ref": "V1-R1", "amount": {"amount": 500, "currency": "CNY"}, "way": "source", "ended_at": time}
        assert sent["order.refunded"]["data"] == {**refund, "order": order}
        assert sent["review.opened"]["data"]["kind"] == "out_of_stock"
        assert sent["stock.low"]["data"]["left"] == 1
        assert "buyer@example.com" not in json.dumps(sent)
        assert set(await self.deliveries(ctx)) == {(event, "sent", 1) for event in events.EVENTS}

    async def test_only_what_was_chosen_by_that_shop_is_sent(self, machine, ctx, endpoint, other_side):
        await ctx.db.transaction(endpoints.change, endpoint["id"], Draft(endpoint["url"], "", ("order.delivered",)))
        await machine.tell("order_paid", order=ORDER)
        await machine.tell("order_delivered", order=replace(ORDER, shop="other"))
        assert await self.deliveries(ctx) == []

    async def test_for_a_day_both_secrets_are_good_and_then_only_the_new_one(self, machine, ctx, endpoint, other_side):
        old = other_side.secrets
        renewed = await ctx.db.transaction(endpoints.new_secret, endpoint["id"], ctx.clock.now())
        new = endpoints.secrets_of(ctx, renewed, ctx.clock.now())
        assert new[1:] == old and new[0] != old[0]
        for number, secrets in enumerate((old, new[:1])):
            other_side.secrets = secrets
            await machine.tell("order_paid", order=replace(ORDER, ref=f"V{number}"))
            await self.work(ctx)
        assert len(other_side.taken) == 2
        assert endpoints.secrets_of(ctx, renewed, ctx.clock.now() + timedelta(hours=24)) == new[:1]

    async def test_a_shop_has_twenty_at_most(self, ctx, endpoint):
        draft = Draft("https://a.example/", "", ("order.paid",))
        for _more in range(endpoints.MOST - 1):
            await ctx.db.transaction(endpoints.add, "main", draft)
        with pytest.raises(TooMany):
            await ctx.db.transaction(endpoints.add, "main", draft)
        await ctx.db.transaction(endpoints.add, "other", draft)

    # -- what goes wrong ----------------------------------------------------------------

    @pytest.mark.parametrize("fault", [Fault.SILENT, Fault.CUT, Fault.HALF, Fault.ERROR, Fault.HUGE])
    async def test_what_may_not_have_arrived_is_sent_again_with_the_same_id(
        self, machine, ctx, endpoint, other_side, fault
    ):
        machine.hurry()
        other_side.fails("*", fault)
        await machine.tell("order_paid", order=ORDER)
        await self.work(ctx)
        assert await self.deliveries(ctx) == [("order.paid", "queued", 1)]
        before = ctx.clock.now()
        (run_at,) = await self.work(ctx)
        assert 3.5 < (run_at - before).total_seconds() < 6
        assert await self.deliveries(ctx) == [("order.paid", "sent", 2)]
        assert len({seen.headers["webhook-id"] for seen in other_side.seen}) == 1
        assert (await self.state(ctx, endpoint))["failing_since"] is None
        machine.forget_failures()

    async def test_the_times_of_the_specification_and_then_it_has_failed(self, machine, ctx, endpoint, other_side):
        other_side.status = 503
        await machine.tell("order_paid", order=ORDER)
        pauses = []
        while (await self.deliveries(ctx))[0][1] == "queued":
            now = ctx.clock.now()
            (run_at,) = await self.work(ctx)
            pauses.append((run_at - now).total_seconds())
        assert len(pauses) == 10 and pauses[0] < 1
        assert all(
            0.85 * wanted < pause < 1.15 * wanted + 1 for wanted, pause in zip(sending.PAUSES, pauses[1:], strict=True)
        )
        assert await self.deliveries(ctx) == [("order.paid", "failed", 10)]
        assert (await self.tries(ctx))[0] == (503, "said so", "")

    @pytest.mark.parametrize(("said", "least"), [("40", 40), ("999999999999", 86_400), ("soon", 3.5)])
    async def test_it_waits_as_long_as_it_is_asked_to(self, machine, ctx, endpoint, other_side, said, least):
        other_side.status, other_side.headers = 429, {"Retry-After": said}
        await machine.tell("order_paid", order=ORDER)
        await self.work(ctx)
        run_at = await ctx.db.fetchval("SELECT run_at FROM jobs_job")
        assert least - 1 < (run_at - ctx.clock.now()).total_seconds() <= max(least, 6)

    async def test_a_redirect_is_not_followed(self, machine, ctx, endpoint, other_side):
        other_side.status, other_side.headers = 302, {"Location": "http://127.0.0.1:1/"}
        await machine.tell("order_paid", order=ORDER)
        await self.work(ctx)
        assert await self.tries(ctx) == [(302, "said so", "")]
        assert await self.deliveries(ctx) == [("order.paid", "queued", 1)]

    async def test_one_that_is_gone_is_switched_off_with_a_notice(self, machine, ctx, endpoint, other_side):
        other_side.status = 410
        for ref in ("V1", "V2"):
            await machine.tell("order_paid", order=replace(ORDER, ref=ref))
        await self.work(ctx)
        assert (await self.state(ctx, endpoint))["state"] == "given_up"
        assert await self.deliveries(ctx) == [("order.paid", "failed", 1), ("order.paid", "failed", 0)]
        (row,) = await self.health(ctx)
        assert (str(row.title), row.state, row.path) == (
            "Webhook switched off",
            "bad",
            f"/admin/x/notifiers.webhook/{endpoint['id']}",
        )
        await machine.tell("order_paid", order=replace(ORDER, ref="V3"))
        assert len(await self.deliveries(ctx)) == 2

    async def test_one_that_fails_for_five_days_is_switched_off(self, machine, ctx, endpoint, other_side):
        other_side.status = 500
        await machine.tell("order_paid", order=ORDER)
        await self.work(ctx)
        assert [row.state for row in await self.health(ctx)] == ["warning"]
        await ctx.db.execute("UPDATE notifiers_webhook_endpoint SET failing_since = now() - interval '5 days 1 minute'")
        await self.work(ctx)
        assert (await self.state(ctx, endpoint))["state"] == "given_up"
        assert await self.deliveries(ctx) == [("order.paid", "failed", 2)]

    async def health(self, ctx) -> list[StateRow]:
        class Here:
            class shop:
                code = "main"

        return await health(ctx, Here, None)

    async def test_what_has_ended_is_sent_again_by_hand_and_what_waits_is_not(self, machine, ctx, endpoint, other_side):
        await machine.tell("order_paid", order=ORDER)
        delivery = await ctx.db.fetchval("SELECT id FROM notifiers_webhook_delivery")
        assert not await ctx.db.transaction(endpoints.replay, ctx.clock.now(), delivery)
        await self.work(ctx)
        assert await ctx.db.transaction(endpoints.replay, ctx.clock.now(), delivery)
        await self.work(ctx)
        assert [one for one, _body in other_side.taken] == [other_side.taken[0][0]] * 2
        assert await self.deliveries(ctx) == [("order.paid", "sent", 1)]

    async def test_private_addresses_are_not_called_when_nobody_allowed_them(self, machine, ctx, endpoint):
        await ctx.db.transaction(endpoints.change, endpoint["id"], Draft("http://10.0.0.1/hooks", "", ("order.paid",)))
        await machine.tell("order_paid", order=ORDER)
        await self.work(ctx)
        ((status, answer, error),) = await self.tries(ctx)
        assert (status, answer) == (None, "")
        assert "it is a private address" in error

    async def test_the_log_is_kept_for_a_month(self, machine, ctx, endpoint):
        for ref in ("V1", "V2"):
            await machine.tell("order_paid", order=replace(ORDER, ref=ref))
        await self.work(ctx)
        await ctx.db.execute(
            "UPDATE notifiers_webhook_delivery SET made_at = now() - interval '31 days'"
            " WHERE id = (SELECT min(id) FROM notifiers_webhook_delivery)"
        )
        await sending.sweep(ctx, {})
        assert len(await self.deliveries(ctx)) == 1
