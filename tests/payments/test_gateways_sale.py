"""A whole purchase through each gateway in the running shop: settings filled in, paid there, the code delivered.

The gateways are servers of their own, and count what was opened, paid and given back.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from core import clock, db
from core.api import Money
from core.api.testing import Called, FakeGateway, Fault
from core.app import create_app
from core.audit.person import Person
from core.config import Config
from core.hooks import runtime
from core.hooks.settings import Kind, fields_of
from core.jobs import registry
from core.jobs.runner import Runner
from core.orders import service as orders
from core.payments import money, refunds, statements
from core.payments.refunds import Wish
from core.shops import service as shops
from plugins.payments.alipay.tests import fake as alipay
from plugins.payments.epay.tests import fake_v2 as epay
from plugins.payments.stripe.tests import fake as stripe
from server import with_plugins
from tests import stocked
from tests.console import Staff, signed_in, words
from tests.served import own_port, serving

PRICE = 1990


@dataclass(frozen=True)
class Way:
    """One gateway: its plugin, and how it is settled, paid, told of and forged there."""

    key: str
    server: type[FakeGateway]
    option: str
    wrong_key: dict[str, str]
    will_not_work: Callable[[Any], None]
    pay: Callable[[Any, str], Any]
    tell: Callable[..., Awaitable[Called]]
    forgeries: Callable[[Any, str], dict[str, dict[str, Any]]]
    on_the_page: str


# -- each gateway's own words -----------------------------------------------------------


def epay_pay(server: epay.EpayV2, ref: str) -> None:
    server.trades[ref].status = 1


async def epay_tell(server: epay.EpayV2, ref: str, **request: Any) -> Called:
    params = request.get("params") or server.notice(ref)
    return await server.call(
        f"{server.trades[ref].asked['notify_url']}?{epay.urlencode(params)}{request.get('more', '')}", "GET"
    )


def epay_forgeries(server: epay.EpayV2, ref: str) -> dict[str, dict[str, Any]]:
    good = server.notice(ref)
    return {
        "no signature": {"params": {name: value for name, value in good.items() if name != "sign"}},
        "the key of somebody else": {"params": epay.signed(good, epay.key_pair("other"))},
        "another sum": {"params": {**good, "money": "0.01"}},
        "another merchant": {"params": server.notice(ref, pid="1001")},
        "a parameter twice": {"more": "&money=0.01"},
        "not paid": {"params": server.notice(ref, trade_status="WAIT_BUYER_PAY")},
    }


async def alipay_tell(server: alipay.AlipayGateway, ref: str, **request: Any) -> Called:
    body = alipay.urlencode(request.get("params") or server.notice(ref)) + request.get("more", "")
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    return await server.call(server.codes[ref.replace("-", "_")]["notify_url"], data=body, headers=headers)


def alipay_forgeries(server: alipay.AlipayGateway, ref: str) -> dict[str, dict[str, Any]]:
    server.scan(ref)
    good = server.notice(ref, trade_status="TRADE_SUCCESS")
    resigned = alipay.sign(alipay.joined(good, "sign", "sign_type"), alipay.key_pair("other"))
    return {
        "no signature": {"params": {name: value for name, value in good.items() if name != "sign"}},
        "the key of somebody else": {"params": {**good, "sign": resigned}},
        "another sum": {"params": {**good, "total_amount": "0.01"}},
        "another application": {"params": server.notice(ref, trade_status="TRADE_SUCCESS", app_id="2021000000000009")},
        "another seller": {"params": server.notice(ref, trade_status="TRADE_SUCCESS", seller_id="2088000000000009")},
        "a parameter twice": {"params": good, "more": "&total_amount=0.01"},
        "no state": {"params": server.notice(ref, trade_status="TRADE_SOMEHOW")},
    }


async def stripe_tell(server: stripe.StripeServer, ref: str, **request: Any) -> Called:
    body = request.get("body") or server.completed(ref)
    headers = {"Stripe-Signature": stripe.signed(body), **request.get("headers", {})}
    return await server.call(server.notify_url, data=body, headers=headers)


def stripe_forgeries(server: stripe.StripeServer, ref: str) -> dict[str, dict[str, Any]]:
    paid = {**server.session_of(ref), "status": "complete", "payment_status": "paid", "payment_intent": "pi_forged"}
    good = server.event("checkout.session.completed", paid)
    cheap = server.event("checkout.session.completed", {**paid, "amount_total": 1})
    return {
        "no signature": {"body": good, "headers": {"Stripe-Signature": ""}},
        "the secret of somebody else": {"body": good, "headers": {"Stripe-Signature": stripe.signed(good, "whsec_x")}},
        "another sum": {"body": cheap, "headers": {"Stripe-Signature": stripe.signed(good)}},
        "the other mode": {"body": server.event("checkout.session.completed", paid, live=False)},
        "too late": {"body": good, "headers": {"Stripe-Signature": stripe.signed(good, at=int(time.time()) - 400)}},
    }


def closed(server: Any) -> None:
    server.closed = server.no_permission = True
    server.not_allowed = {"/v1/balance"}


def stripe_pay(server: stripe.StripeServer, ref: str) -> None:
    server.pay_now(ref)


WAYS = {
    "epay": Way(
        "epay",
        epay.EpayV2,
        "epay:alipay",
        {"private_key": epay.private_text(epay.key_pair("stranger"))},
        closed,
        epay_pay,
        epay_tell,
        epay_forgeries,
        "/cashier/",
    ),
    "alipay": Way(
        "alipay",
        alipay.AlipayGateway,
        "alipay",
        {"private_key": alipay.private_text(alipay.key_pair("stranger"))},
        closed,
        lambda server, ref: server.pay_now(ref),
        alipay_tell,
        alipay_forgeries,
        '<div class="qr"',
    ),
    "stripe": Way(
        "stripe",
        stripe.StripeServer,
        "stripe",
        {"key": "sk_live_another0123456789"},
        closed,
        stripe_pay,
        stripe_tell,
        stripe_forgeries,
        "/c/cs_live_",
    ),
}


# -- the running shop -------------------------------------------------------------------


@pytest.fixture(scope="module")
async def address(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory):
    with own_port() as (listener, address):
        environ = {
            "VOUCHSAFE_HOME": str(tmp_path_factory.mktemp("home")),
            "VOUCHSAFE_BASE_URL": address,
            "VOUCHSAFE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
            "VOUCHSAFE_MASTER_KEY": "00" * 32,
            "DATABASE_URL": database,
            "REDIS_URL": redis_url,
        }
        async with serving(create_app(Config.from_env(environ), load_plugins=with_plugins), listener):
            shops.forget()
            registry.import_core()
            await db.execute("UPDATE shops_shop SET test_mode = false")
            yield address
        shops.forget()


@dataclass
class Place:
    """The running shop with one gateway connected to it."""

    address: str
    way: Way
    server: Any
    staff: Staff

    @asynccontextmanager
    async def buyer(self, sku: stocked.Sku):
        """Somebody who has placed an order and sees its page."""
        headers = {"origin": self.address}
        async with httpx.AsyncClient(base_url=self.address, timeout=20, headers=headers) as http:
            form = {"sku": sku.code, "contact": f"{secrets.token_hex(8)}@example.com", "method": self.way.option}
            placed = await http.post("/checkout", data={**form, "quantity": "1", "key": secrets.token_hex(16)})
            assert placed.status_code == 303, placed.text
            yield Order(self, http, placed.headers["location"].removeprefix("/o/"), placed.headers["x-csrf-token"])


@dataclass
class Order:
    place: Place
    http: httpx.AsyncClient
    ref: str
    csrf: str

    @property
    def attempt(self) -> str:
        return f"{self.ref}-1"

    async def page(self) -> str:
        answer = await self.http.get(f"/o/{self.ref}")
        assert answer.status_code == 200
        return unescape(answer.text)

    async def pay(self) -> None:
        self.place.way.pay(self.place.server, self.attempt)

    async def tell(self, **request: Any) -> Called:
        return await self.place.way.tell(self.place.server, self.attempt, **request)

    async def codes(self) -> list[str]:
        answer = await self.http.post(f"/o/{self.ref}/reveal", headers={"x-csrf-token": self.csrf})
        assert answer.status_code == 200, answer.text
        return re.findall(r'<output class="code">([^<]+)</output>', answer.text)

    async def facts(self) -> tuple[str, str, int]:
        row = await db.fetchrow(
            "SELECT payment_state, fulfilment_state, paid FROM orders_order WHERE ref = $1", self.ref
        )
        return row["payment_state"], row["fulfilment_state"], row["paid"]

    async def id(self) -> int:
        return await db.fetchval("SELECT id FROM orders_order WHERE ref = $1", self.ref)

    async def events(self) -> list[str]:
        rows = await db.fetch(
            "SELECT event.state FROM payments_event event JOIN orders_order o ON o.id = event.order_id"
            " WHERE o.ref = $1 ORDER BY event.id",
            self.ref,
        )
        return [row["state"] for row in rows]


DELIVERED = ("paid", "delivered", PRICE)
UNPAID = ("unpaid", "reserved", 0)


def fields(plugin: str, values: dict[str, Any]) -> dict[str, str]:
    """A settings form as a browser sends it."""
    model = runtime.current().plugin(plugin).plugin.Settings
    form: dict[str, str] = {}
    for one in fields_of(model):
        value = values.get(one.name, one.default)
        if one.kind is Kind.SWITCH:
            form |= {f"set_{one.name}": "on"} if value else {}
        elif value is not None:
            form[("secret_" if one.kind is Kind.SECRET else "set_") + one.name] = str(value)
    return form


@pytest.fixture(params=list(WAYS), scope="module")
async def place(request: pytest.FixtureRequest, address: str):
    """The plugin switched on in the console and its settings tried and saved by the form."""
    way = WAYS[request.param]
    plugin = f"payments.{way.key}"
    async with way.server() as server, signed_in(address) as staff:
        server.notify_url = f"{address}/pay/{way.key}/notify"
        await staff.post(f"/admin/plugins/{plugin}/enable")
        form = fields(plugin, server.settings())
        assert "Saved, and in use from now on." in await staff.post(
            f"/admin/plugins/{plugin}/settings", act="save", **form
        )
        yield Place(address, way, server, staff)
        await staff.post(f"/admin/plugins/{plugin}/disable")


async def tried(place: Place, **changes: Any) -> str:
    plugin = f"payments.{place.way.key}"
    form = fields(plugin, {**place.server.settings(), **changes})
    return await place.staff.post(f"/admin/plugins/{plugin}/settings", 200, act="test", **form)


async def test_the_test_button_has_four_answers_and_no_secret_comes_back(place: Place):
    server = place.server
    assert "It works" in await tried(place)
    assert "The access data are not accepted" in await tried(place, **place.way.wrong_key)
    gone = {name: "http://127.0.0.1:9" for name in ("gateway", "server") if place.server.settings().get(name)}
    assert "No answer; try again later" in await tried(place, **gone)
    place.way.will_not_work(server)
    assert "It will not work like this" in await tried(place)
    server.closed = server.no_permission = False
    server.not_allowed = set()
    page = await place.staff.get(f"/admin/plugins/payments.{place.way.key}")
    for secret in ("private_key", "key", "webhook_secret"):
        assert server.settings().get(secret, "no such secret") not in page


async def test_a_buyer_pays_there_and_gets_the_code(place: Place):
    sku = await stocked.sku(1)
    async with place.buyer(sku) as order:
        assert place.way.on_the_page in await order.page()
        assert place.server.payments(order.attempt) == 1
        await order.pay()
        assert (await order.tell()).status == 200
        assert await order.codes() == sku.codes
        assert await order.facts() == DELIVERED
        page = await place.staff.get(f"/admin/orders/{order.ref}")
        assert "Payment settled" in page


async def test_a_forged_notice_changes_nothing_and_leaves_an_alarm(place: Place):
    await db.execute("DELETE FROM web_limit")
    async with place.buyer(await stocked.sku(1)) as order:
        forgeries = place.way.forgeries(place.server, order.attempt)
        assert len(forgeries) >= 5
        before = await db.fetchval("SELECT count(*) FROM audit_alarm WHERE kind = 'payment.forged'")
        for number, (what, request) in enumerate(forgeries.items(), 1):
            answer = await order.tell(**request)
            assert (answer.status, answer.text) == (400, "fail"), what
            alarms = await db.fetchval("SELECT count(*) FROM audit_alarm WHERE kind = 'payment.forged'")
            assert (alarms, await order.facts(), await order.events()) == (before + number, UNPAID, []), what
        await order.pay()
        assert (await order.tell()).status == 200
        assert await order.facts() == DELIVERED


async def test_many_at_once_and_replays_deliver_once(place: Place):
    sku = await stocked.sku(2)
    async with place.buyer(sku) as order:
        await order.pay()
        answers = await asyncio.gather(*(order.tell() for _ in range(12)))
        assert {answer.status for answer in answers} == {200}
        assert (await order.tell()).status == 200
        assert (await order.facts(), await order.events()) == (DELIVERED, ["paid"])
        assert await stocked.codes_by_state(sku) == {"delivered": 1, "free": 1}


async def test_a_late_payment_takes_stock_again(place: Place):
    async with place.buyer(await stocked.sku(1)) as order:
        await db.execute("UPDATE orders_order SET expires_at = now() - interval '5 minutes' WHERE ref = $1", order.ref)
        assert order.ref in await orders.expire_due()
        await order.pay()
        assert (await order.tell()).status == 200
        assert await order.facts() == DELIVERED


async def test_a_start_whose_answer_gets_lost_is_paid_once(place: Place):
    """It is carried out there and never heard of here: the buyer tries again, and pays one of the two."""
    place.server.fails("*", Fault.CUT, times=1)
    async with place.buyer(await stocked.sku(1)) as order:
        states = (
            "SELECT array_agg(attempt.state ORDER BY attempt.id) FROM payments_attempt attempt"
            " JOIN orders_order o ON o.id = attempt.order_id WHERE o.ref = $1"
        )
        assert await db.fetchval(states, order.ref) == ["failed"]
        assert place.server.payments(order.attempt) == 1
        again = {"method": place.way.option, "csrf": order.csrf}
        assert (await order.http.post(f"/o/{order.ref}/pay", data=again)).status_code == 303
        second = f"{order.ref}-2"
        place.way.pay(place.server, second)
        assert (await place.way.tell(place.server, second)).status == 200
        assert await db.fetchval(states, order.ref) == ["failed", "paid"]
        assert await order.facts() == DELIVERED


async def test_a_refund_whose_answer_gets_lost_is_given_back_once(place: Place):
    async with place.buyer(await stocked.sku(1)) as order:
        await order.pay()
        await order.tell()
        job = await ask_back(order.ref, 500)
        place.server.fails("*", Fault.CUT, times=1)
        await run(job)
        number = f"{order.ref}-R1"
        assert place.server.refunds(number) == [Money(500, "CNY")]
        assert await state_of(number) == "unknown"
        await db.execute("UPDATE jobs_job SET run_at = now() WHERE id = $1", job)
        await run(job)
        assert await state_of(number) == "done"
        assert place.server.refunds(number) == [Money(500, "CNY")]
        whole = await ask_back(order.ref, 1490)
        await run(whole)
        assert place.server.refunds(f"{order.ref}-R2") == [Money(1490, "CNY")]
        assert await order.facts() == ("refunded", "delivered", PRICE)


async def ask_back(ref: str, amount: int) -> int:
    who = Person(1, await stocked.staff_member())

    async def work(tx: db.Tx) -> list[int]:
        order = await refunds.locked(tx, 1, ref)
        [payment] = await money.payments_of(order["id"], tx)
        return await refunds.ask(tx, order, [(payment, amount)], Wish("source"), who)

    [job] = await db.transaction(work)
    return job


async def run(job: int) -> None:
    await (await Runner(1).start(job))


async def state_of(number: str) -> str:
    return await db.fetchval("SELECT state FROM payments_refund WHERE ref = $1", number)


async def test_a_dispute_at_stripe_takes_the_money_and_the_codes_back(place: Place):
    if place.way.key != "stripe":
        return
    async with place.buyer(await stocked.sku(1)) as order:
        await order.pay()
        await order.tell()
        intent = place.server.session_of(order.attempt)["payment_intent"]
        dispute = {
            "id": "dp_1",
            "amount": PRICE,
            "currency": "cny",
            "payment_intent": intent,
            "status": "needs_response",
        }
        for kind in ("charge.dispute.created", "charge.dispute.funds_withdrawn"):
            assert (await order.tell(body=place.server.event(kind, dispute))).status == 200
        assert await order.facts() == ("charged_back", "void", PRICE)
        assert await order.events() == ["paid", "charged_back"]


async def test_the_statement_of_the_day_is_held_against_what_was_sold(place: Place):
    way, server, staff = place.way.key, place.server, place.staff
    if way == "epay":
        assert way not in statements.with_statements()
        return
    async with place.buyer(await stocked.sku(1)) as order:
        await order.pay()
        await order.tell()
        book(server, order)
        now = clock.now()
        day = now.astimezone(ZoneInfo(runtime.current().payment_methods[way].statement_zone)).date()
        with clock.use(lambda: now + timedelta(days=1)):
            await statements.plan(runtime.current().payment_methods[way])
        with clock.use(lambda: now + timedelta(days=1, hours=12)):
            await statements.fetch_due()
        page = words(await staff.get(f"/admin/statements?method={way}&day={day}"))
        assert f"Payment Matches {order.ref}" in page
        assert "Payment Only theirs" in page
        fee = await db.fetchval(
            "SELECT amount FROM ledger_entry WHERE kind = 'fee' AND order_id = $1", await order.id()
        )
        assert fee == 12
        item = await db.fetchval("SELECT id FROM review_item WHERE kind = 'statement' AND data ->> 'method' = $1", way)
        assert "Look closer" in words(await staff.get("/admin/review"))
        assert "Closed." in words(await staff.post("/admin/statements/settled", item=str(item), note="theirs alone"))
        await staff.post("/admin/statements/settled", 409, item=str(item))


def book(server: Any, order: Order) -> None:
    """What the gateway's own books have: this sale, and one that is not ours."""
    if isinstance(server, stripe.StripeServer):
        number = server.session_of(order.attempt)["payment_intent"]
        charge = {"amount": PRICE, "currency": "cny", "payment_intent": number, "metadata": {"attempt": order.attempt}}
        server.booked("charge", charge, PRICE, 12)
        server.booked("charge", {**charge, "payment_intent": "pi_other", "metadata": {}}, PRICE, 12)
    else:
        ref = order.attempt.replace("-", "_")
        ours = alipay.row("交易", server.trades[ref].number, ref, "19.90", "-0.12")
        server.bill = alipay.bill_of([ours, alipay.row("交易", "T-other", "OTHER", "19.90", "-0.12")])
