"""EPay V2 against a gateway that speaks it: the contract of every payment method, and what is its own."""

from dataclasses import replace
from urllib.parse import urlencode

import pytest
from pydantic import ValidationError

from core.api import Check, ClaimState, Forged, GatewayRefused, GatewayUnavailable, Money, QrCode, Redirect, RefundState
from core.api.testing import PaymentMethodContract
from plugins.payments.epay.settings import EpaySettings
from plugins.payments.epay.tests.fake_v2 import PID, EpayV2, key_pair, private_text, public_text, query, signed


class TestContract(PaymentMethodContract):
    plugin = "payments.epay"

    @pytest.fixture
    async def other_side(self):
        async with EpayV2() as gateway:
            yield gateway

    # -- starting

    async def test_the_page_of_the_gateway_keeps_its_address(self, method, other_side):
        attempt = self.attempt(method)
        started = await method.start(attempt)
        assert started.step == Redirect(f"{other_side.address}/cashier/{attempt.ref}")
        assert started.gateway_ref == other_side.trades[attempt.ref].number
        asked = other_side.trades[attempt.ref].asked
        assert (asked["method"], asked["money"], asked["clientip"]) == ("jump", "19.90", "203.0.113.7")

    async def test_a_qr_code_where_the_settings_say_so(self, machine, method, other_side):
        await machine.save({**other_side.settings(), "mode": "mapi"})
        method = self.the_one(machine.runtime.payment_methods)
        started = await method.start(self.attempt(method))
        assert isinstance(started.step, QrCode)
        other_side.pay_type = "jsapi"
        with pytest.raises(GatewayRefused, match="own page only"):
            await method.start(self.attempt(method))

    async def test_without_a_channel_the_cashier_asks(self, machine, other_side):
        await machine.save({**other_side.settings(), "alipay": False, "wxpay": False})
        method = self.the_one(machine.runtime.payment_methods)
        assert method.starts_here
        started = await method.start(self.attempt(method))
        assert query(started.step.url)["sign_type"] == "RSA"
        assert other_side.count() == 0

    # -- answers and notices

    async def test_an_answer_counts_only_with_the_platforms_signature_and_a_fresh_time(self, method, other_side):
        attempt = self.attempt(method)
        started = await method.start(attempt)
        await other_side.pay(attempt, started)
        for sign_with, off, words in ((key_pair("other"), 0, "not signed"), (other_side.ours, -400, "too old")):
            other_side.sign_with, other_side.clock_off = sign_with, off
            with pytest.raises(GatewayUnavailable, match=words):
                await method.query(attempt)
            with pytest.raises(GatewayUnavailable, match=words):
                await method.start(self.attempt(method))
        other_side.sign_with, other_side.clock_off = other_side.ours, 0
        assert (await method.query(attempt)).state is ClaimState.PAID

    async def test_a_notice_for_another_merchant_or_of_v1_is_refused(self, method, other_side):
        attempt = self.attempt(method)
        await method.start(attempt)
        call = await other_side.callback(attempt)
        ours = other_side.notice(attempt.ref)
        unsigned = {name: value for name, value in ours.items() if name not in ("sign", "sign_type")}
        for forged in (
            other_side.notice(attempt.ref, pid="1001"),
            other_side.notice(attempt.ref, trade_status="WAIT_BUYER_PAY"),
            {**ours, "sign_type": "MD5"},
            {**unsigned, "sign": "f" * 32, "sign_type": "MD5"},
            signed(unsigned, key_pair("merchant")),
        ):
            with pytest.raises(Forged):
                await method.parse_callback(replace(call, query=urlencode(forged).encode()))

    # -- refunds: parts are told apart

    async def _paid_refund(self, method, gateway, amount=500):
        return await self._refund(method, gateway, Money(amount, "CNY"))

    async def test_each_part_has_its_own_answer(self, method, other_side):
        one = await self._paid_refund(method, other_side)
        two = replace(one, ref=one.ref + "2", amount=Money(700, "CNY"))
        assert await method.query_refund(one) is None
        assert (await method.refund(one)).state is RefundState.DONE
        assert await method.query_refund(two) is None
        assert (await method.refund(two)).state is RefundState.DONE
        assert [other_side.refunds(refund.ref) for refund in (one, two)] == [[one.amount], [two.amount]]
        with pytest.raises(GatewayUnavailable, match="another refund"):
            await method.query_refund(replace(one, amount=Money(501, "CNY")))

    async def test_only_the_refund_query_is_believed(self, method, other_side):
        for said, gone in (("later", 0), ("no", 0), ("done, no", 1)):
            refund = await self._paid_refund(method, other_side)
            other_side.refund_says = said
            if said == "later":
                assert (await method.refund(refund)).state is RefundState.PENDING
            else:
                with pytest.raises(GatewayUnavailable):
                    await method.refund(refund)
            found = await method.query_refund(refund)
            assert (found.state if found else None) == (RefundState.DONE if gone else None)
            assert len(other_side.refunds(refund.ref)) == gone

    # -- the Test button

    async def test_the_test_button_has_four_answers(self, machine, other_side):
        async def tried(**changes):
            settings = EpaySettings(**{**other_side.settings(), **changes})
            result = await machine.loaded.plugin.check(settings, machine.runtime.context_to_try(self.plugin, settings))
            return result.answer

        assert await tried() is Check.OK
        assert await tried(pid="1008") is Check.CREDENTIALS_WRONG
        assert await tried(gateway="http://127.0.0.1:9") is Check.TRY_LATER
        assert await tried(platform_key=public_text(key_pair("other"))) is Check.CREDENTIALS_WRONG
        other_side.closed = True
        assert await tried() is Check.WILL_NOT_WORK


# -- settings


def settings(**changes):
    good = {"gateway": "https://pay.example.com", "version": "v2", "pid": PID}
    keys = {"private_key": private_text(key_pair("merchant")), "platform_key": public_text(key_pair("platform"))}
    return EpaySettings(**{**good, **keys, **changes})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"private_key": None}, "private_key"),
        ({"platform_key": None}, "platform_key"),
        ({"private_key": public_text(key_pair("platform"))}, "private_key"),
        ({"platform_key": "no key"}, "platform_key"),
        ({"version": "v1"}, "key"),
        ({"version": "v3"}, "version"),
    ],
    ids=["no private key", "no platform key", "a public key as the private one", "no key at all", "v1", "v3"],
)
def test_each_version_needs_its_own_keys(changes, field):
    with pytest.raises(ValidationError) as wrong:
        settings(**changes)
    assert next(error["loc"] for error in wrong.value.errors()) == (field,)


def test_who_chose_v1_without_its_key_is_told_so_at_the_key():
    with pytest.raises(ValidationError, match="V1 does not work without this key"):
        settings(version="v1")
    assert [name for name, one in EpaySettings.model_fields.items() if one.json_schema_extra["vouchsafe"].depends] == [
        "key",
        "private_key",
        "platform_key",
    ]


def test_keys_may_come_in_any_lines():
    one_line = public_text(key_pair("platform")).replace("\n", " ")
    assert settings(platform_key=one_line).version == "v2"
    assert settings(gateway="https://pay.example.com/api/pay/submit").gateway == "https://pay.example.com"
