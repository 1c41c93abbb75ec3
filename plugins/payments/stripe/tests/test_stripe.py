"""Stripe against a server that speaks its API: the contract of every payment method, and what is its own."""

import json
import time
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from pydantic import ValidationError

from core.api import (
    Check,
    Claim,
    ClaimState,
    Forged,
    GatewayRefused,
    GatewayUnavailable,
    LineKind,
    Money,
    Refund,
    RefundState,
)
from core.api.testing import PaymentMethodContract
from plugins.payments.stripe.amounts import from_stripe, to_stripe
from plugins.payments.stripe.settings import StripeSettings
from plugins.payments.stripe.signature import sign, signed_at
from plugins.payments.stripe.tests.fake import KEY, WEBHOOK_SECRET, StripeServer, as_call, signed

MINUTE = 60


EVENTS = [
    ("checkout.session.completed", {"payment_status": "paid"}, ClaimState.PAID),
    ("checkout.session.completed", {"payment_status": "unpaid"}, ClaimState.PENDING),
    ("checkout.session.completed", {"payment_status": "no_payment_required"}, None),
    ("checkout.session.async_payment_succeeded", {"payment_status": "paid"}, ClaimState.PAID),
    ("checkout.session.async_payment_failed", {"payment_status": "unpaid"}, ClaimState.FAILED),
    ("checkout.session.expired", {"status": "expired", "payment_status": "unpaid"}, ClaimState.EXPIRED),
    ("checkout.session.completed", {"payment_status": "paid", "client_reference_id": None}, None),
    ("checkout.session.completed", {"payment_status": "paid", "metadata": {}}, None),
    ("charge.refunded", {}, None),
    ("customer.created", {}, None),
]


class TestContract(PaymentMethodContract):
    plugin = "payments.stripe"

    @pytest.fixture
    async def other_side(self):
        async with StripeServer() as server:
            yield server

    # -- starting

    async def test_what_the_page_is_asked_for(self, method, other_side):
        attempt = self.attempt(method, title="会" * 300)
        started = await method.start(attempt)
        [asked] = other_side.asked
        assert started.step.url == other_side.session_of(attempt.ref)["url"]
        assert (asked["line_items[0][price_data][unit_amount]"], asked["line_items[0][price_data][currency]"]) == (
            "1990",
            "cny",
        )
        assert (asked["client_reference_id"], asked["success_url"]) == (attempt.ref, attempt.return_url)
        assert int(asked["expires_at"]) == int(attempt.created_at.timestamp()) + 35 * MINUTE
        assert asked["line_items[0][price_data][product_data][name]"] == "会" * 200

    async def test_each_currency_has_its_own_coins(self, method, other_side):
        for amount, sent in ((Money(500, "JPY"), 500), (Money(5, "ISK"), 500), (Money(1230, "KWD"), 1230)):
            attempt = self.attempt(method, amount=amount)
            await method.start(attempt)
            session = other_side.pay_now(attempt.ref)
            assert session["amount_total"] == sent
            assert (await method.parse_callback(await other_side.callback(attempt))).amount == amount
            number = session["payment_intent"]
            refund = Refund(f"R{attempt.ref}", attempt.ref, number, attempt.order_ref, amount, amount)
            assert (await method.refund(refund)).state is RefundState.DONE
            assert other_side.intents[number].refunds[0]["amount"] == sent

    # -- the webhook

    async def test_the_time_of_a_signature_counts(self, method, other_side):
        attempt = self.attempt(method)
        await method.start(attempt)
        other_side.pay_now(attempt.ref)
        body, now = other_side.completed(attempt.ref), int(time.time())
        for at in (now - 301, now - 86_400, now + 400):
            with pytest.raises(Forged, match="too long ago"):
                await method.parse_callback(as_call(body, signed(body, at=at)))
        assert (await method.parse_callback(as_call(body, signed(body, at=now - 290)))).state is ClaimState.PAID

    async def test_one_of_several_signatures_is_enough(self, method, other_side):
        attempt = self.attempt(method)
        await method.start(attempt)
        other_side.pay_now(attempt.ref)
        body = other_side.completed(attempt.ref)
        other_secret = f"v1={'ab' * 32},"
        assert (await method.parse_callback(as_call(body, signed(body, more=other_secret)))).state is ClaimState.PAID
        only_v0 = signed(body).replace("v1=", "v0=")
        doubled_time = f"t=1,{signed(body)}"
        for header in (
            "",
            only_v0,
            doubled_time,
            signed(body, "whsec_another"),
            signed(body + b" "),
            f"t={'9' * 30},v1=x",
        ):
            with pytest.raises(Forged):
                await method.parse_callback(as_call(body, header))

    async def test_what_an_event_means(self, method, other_side):
        for kind, changes, state in EVENTS:
            attempt = self.attempt(method)
            await method.start(attempt)
            session = {**other_side.pay_now(attempt.ref), **changes}
            claim = await method.parse_callback(as_call(other_side.event(kind, session)))
            if state is None:
                assert claim is None, (kind, changes)
            else:
                number = session["payment_intent"] if state is ClaimState.PAID else session["id"]
                assert claim == Claim(attempt.ref, state, attempt.amount, number, f"{session['id']}:{state}")

    async def test_an_event_of_the_other_mode_or_without_sense_is_refused(self, method, other_side):
        attempt = self.attempt(method)
        await method.start(attempt)
        session = other_side.pay_now(attempt.ref)
        kind = "checkout.session.completed"
        for body in (
            other_side.event(kind, session, live=False),
            other_side.event(kind, {**session, "amount_total": "1990"}),
            other_side.event(kind, {**session, "currency": None}),
            other_side.event(kind, {**session, "payment_intent": None}),
            json.dumps({"type": kind, "livemode": True, "data": {"object": [1]}}).encode(),
        ):
            with pytest.raises(Forged):
                await method.parse_callback(as_call(body))

    async def test_a_payment_that_comes_later_is_pending_until_then(self, method, other_side):
        attempt = self.attempt(method)
        started = await method.start(attempt)
        attempt = replace(attempt, gateway_ref=started.gateway_ref)
        other_side.pay_now(attempt.ref, later=True)
        pending = await method.query(attempt)
        assert (pending.state, pending.gateway_ref) == (ClaimState.PENDING, started.gateway_ref)
        other_side.pay_now(attempt.ref)
        assert (await method.query(attempt)).state is ClaimState.PAID
        assert await method.query(replace(attempt, gateway_ref="cs_live_unknown")) is None
        assert await method.query(replace(attempt, gateway_ref=None)) is None

    # -- disputes

    async def test_a_dispute_takes_back_what_it_says(self, method, other_side):
        attempt = self.attempt(method)
        await method.start(attempt)
        intent = other_side.pay_now(attempt.ref)["payment_intent"]
        dispute = {
            "id": "dp_1",
            "amount": 1500,
            "currency": "cny",
            "payment_intent": intent,
            "status": "needs_response",
        }
        taken = Claim(attempt.ref, ClaimState.CHARGED_BACK, Money(1500, "CNY"), intent, "dp_1:charged_back")
        for kind in ("charge.dispute.created", "charge.dispute.funds_withdrawn"):
            assert await method.parse_callback(as_call(other_side.event(kind, dispute))) == taken
        asks = {**dispute, "status": "warning_needs_response"}
        assert await method.parse_callback(as_call(other_side.event("charge.dispute.created", asks))) is None
        other_side.intents[intent].metadata.clear()
        assert await method.parse_callback(as_call(other_side.event("charge.dispute.created", dispute))) is None
        gone = {**dispute, "payment_intent": "pi_unknown"}
        with pytest.raises(GatewayUnavailable):
            await method.parse_callback(as_call(other_side.event("charge.dispute.created", gone)))

    # -- refunds

    async def paid_refund(self, method, server, amount=500):
        return await self._refund(method, server, Money(amount, "CNY"))

    async def test_parts_have_numbers_of_their_own_and_a_repeat_is_one(self, method, other_side):
        one = await self.paid_refund(method, other_side)
        two = replace(one, ref=one.ref + "2", amount=Money(1490, "CNY"))
        assert await method.query_refund(one) is None
        for refund in (one, one, two):
            assert (await method.refund(refund)).state is RefundState.DONE
        assert [other_side.refunds(refund.ref) for refund in (one, two)] == [[one.amount], [two.amount]]
        with pytest.raises(GatewayRefused, match="greater than"):
            await method.refund(replace(one, ref="R3"))
        with pytest.raises(GatewayUnavailable, match="same parameters"):
            await method.refund(replace(one, amount=Money(400, "CNY")))
        with pytest.raises(GatewayRefused, match="dashboard"):
            await method.refund(replace(one, ref="R4", gateway_ref=""))

    async def test_what_a_state_means(self, method, other_side):
        pending, failed = RefundState.PENDING, RefundState.FAILED
        for status, state in (("pending", pending), ("requires_action", pending), ("failed", failed)):
            refund = await self.paid_refund(method, other_side)
            other_side.refund_status = status
            assert (await method.refund(refund)).state is state
            assert (await method.query_refund(refund)).state is state

    # -- the balance

    async def test_a_day_of_the_balance(self, method, other_side):
        refund = await self.paid_refund(method, other_side)
        ref = refund.attempt_ref
        await method.refund(refund)
        [intent] = other_side.intents.values()
        charge = {
            "id": "ch_1",
            "amount": 1990,
            "currency": "cny",
            "payment_intent": intent.id,
            "metadata": {"attempt": ref},
        }
        dispute = {"id": "dp_1", "amount": 1490, "currency": "cny", "payment_intent": intent.id, "metadata": {}}
        # The account keeps its books in dollars.
        other_side.booked("charge", charge, 275, 38, currency="usd")
        other_side.booked("refund", intent.refunds[0], -69, currency="usd")
        other_side.booked("dispute", dispute, -206, 1500, currency="usd")
        other_side.booked("dispute_reversal", dispute, 206, -1500, currency="usd")
        other_side.booked("fee", "", -250, currency="usd")
        other_side.booked("payout", "po_1", -1000, currency="usd")
        other_side.booked("charge", charge, 275, created=int(time.time()) - 90_000)
        lines = await method.statement(datetime.now(UTC).date())
        assert [(one.kind, one.our_ref, one.amount, one.fee) for one in lines] == [
            (LineKind.PAYMENT, ref, Money(1990, "CNY"), Money(38, "USD")),
            (LineKind.REFUND, refund.ref, Money(500, "CNY"), Money(0, "USD")),
            (LineKind.CHARGEBACK, ref, Money(1490, "CNY"), Money(1500, "USD")),
            (LineKind.CHARGEBACK, ref, Money(-1490, "CNY"), Money(-1500, "USD")),
            (LineKind.FEE, "", Money(250, "USD"), None),
        ]
        assert len({one.key for one in lines}) == 5
        assert await method.statement(date(2025, 1, 1)) == []

    # -- the Test button, and test keys

    async def test_the_test_button_has_four_answers(self, machine, other_side):
        async def tried(**changes):
            settings = StripeSettings(**{**other_side.settings(), **changes})
            context = machine.runtime.context_to_try(self.plugin, settings)
            return (await machine.loaded.plugin.check(settings, context)).answer

        assert await tried() is Check.OK
        assert await tried(key="sk_live_another9876543210") is Check.CREDENTIALS_WRONG
        assert await tried(server="http://127.0.0.1:9") is Check.TRY_LATER
        other_side.not_allowed = {"/v1/balance"}
        assert await tried() is Check.WILL_NOT_WORK
        other_side.not_allowed, other_side.key = set(), "sk_test_fake0123456789"
        assert await tried(key="sk_test_fake0123456789") is Check.CREDENTIALS_WRONG, "the answer says live"

    async def test_what_a_test_key_takes_is_a_test(self, machine, other_side, method):
        assert not method.test_only
        await machine.save({**other_side.settings(), "key": "sk_test_fake0123456789", "statements": False})
        tests = self.the_one(machine.runtime.payment_methods)
        assert (tests.test_only, tests.statements) == (True, False)


# -- signature, amounts, settings


def test_the_known_signature():
    body = b'{"id":"evt_1"}'
    right = "c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925"
    assert sign("whsec_test", 1_700_000_000, body) == right
    assert signed_at(f"t=1700000000,v1={right}", "whsec_test", body) == 1_700_000_000
    assert signed_at(f"t=1700000000,v1={sign('', 1_700_000_000, body)}", "", body) is None


AMOUNTS = [
    (Money(1990, "CNY"), 1990),
    (Money(500, "JPY"), 500),
    (Money(500, "KRW"), 500),
    (Money(5, "ISK"), 500),
    (Money(7, "UGX"), 700),
    (Money(12340, "KWD"), 12340),
    (Money(100, "HUF"), 100),
    (Money(100, "TWD"), 100),
]


@pytest.mark.parametrize(("ours", "theirs"), AMOUNTS, ids=[str(ours.currency) for ours, _ in AMOUNTS])
def test_amounts_there_and_back(ours, theirs):
    assert to_stripe(ours) == theirs
    assert from_stripe(theirs, ours.currency.lower()) == ours


def test_amounts_that_are_none():
    with pytest.raises(GatewayRefused):
        to_stripe(Money(12345, "KWD"))
    for amount, currency in ((550, "isk"), ("5", "cny"), (5.0, "cny"), (True, "cny"), (5, None), (5, "yuan")):
        with pytest.raises(ValueError):
            from_stripe(amount, currency)


@pytest.mark.parametrize("wrong", [{"key": "pk_live_0123456789"}, {"webhook_secret": "secret"}, {"key": ""}])
def test_settings_that_cannot_work_are_refused(wrong):
    good = {"key": KEY, "webhook_secret": WEBHOOK_SECRET}
    assert not StripeSettings(**good).is_test
    with pytest.raises(ValidationError) as refused:
        StripeSettings(**{**good, **wrong})
    assert KEY not in str(refused.value)
