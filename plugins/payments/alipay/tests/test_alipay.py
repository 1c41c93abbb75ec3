"""Alipay against a gateway that speaks its protocol: the contract of every payment method, and what is its own."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from pydantic import ValidationError

from core.api import (
    Check,
    ClaimState,
    Forged,
    GatewayRefused,
    GatewayUnavailable,
    LineKind,
    Money,
    QrCode,
    Redirect,
    RefundState,
    StatementLine,
)
from core.api.testing import PaymentMethodContract
from plugins.payments.alipay import bill, certificates
from plugins.payments.alipay.bill import our_number
from plugins.payments.alipay.settings import SERVERS, AlipaySettings
from plugins.payments.alipay.signature import notice_fits, notice_text, request_text
from plugins.payments.alipay.tests import fake
from plugins.payments.alipay.tests.fake import AlipayGateway, as_call, bill_of, key_pair, parsed, private_text, row

DAY = date(2026, 11, 21)


class TestContract(PaymentMethodContract):
    plugin = "payments.alipay"

    @pytest.fixture
    async def other_side(self):
        async with AlipayGateway() as gateway:
            yield gateway

    async def with_settings(self, machine, other_side, **changes):
        await machine.save({**other_side.settings(), **changes})
        return self.the_one(machine.runtime.payment_methods)

    # -- starting

    async def test_a_products_name_adds_nothing_to_a_notice(self, method, other_side):
        """The signed text of a notice is put together without escapes; a name with & could be cut in another way."""
        bought = self.attempt(method, title="X&total_amount=999.00&trade_no=7&trade_status=TRADE_SUCCESS&u=")
        await method.start(bought)
        other_side.pay_now(bought.ref)
        told = other_side.notice(bought.ref)
        rest = "&".join(f"{name}={told.pop(name)}" for name in ("total_amount", "trade_no", "trade_status", "version"))
        name, *further = told["subject"].split("&")
        forged = {**told, "subject": name, **dict(pair.split("=") for pair in further), "u": f"&{rest}"}
        with pytest.raises(Forged):
            await method.parse_callback(as_call(forged))

    async def test_a_desktop_gets_a_code_and_a_phone_a_page(self, method, other_side):
        at_desk = self.attempt(method, title="会" * 200)
        started = await method.start(at_desk)
        code = f"https://qr.alipay.com/{at_desk.ref.replace('-', '_')}"
        assert started.step == QrCode(code)
        asked = other_side.asked[-1]["content"]
        assert (asked["out_trade_no"], asked["total_amount"]) == (at_desk.ref.replace("-", "_"), "19.90")
        assert asked["subject"] == "会" * 128
        assert asked["time_expire"] == fake.beijing(at_desk.expires_at)
        phone = self.attempt(method, device="mobile")
        calls = other_side.count()
        started = await method.start(phone)
        assert isinstance(started.step, Redirect)
        assert other_side.count() == calls, "a page needs no call"
        link = parsed(started.step.url)
        assert (link["method"], link["return_url"]) == ("alipay.trade.wap.pay", phone.return_url)
        assert json.loads(link["biz_content"])["product_code"] == "QUICK_WAP_PAY"
        await other_side.open(started.step.url)
        assert other_side.pay_now(phone.ref).total == "19.90"

    async def test_the_settings_choose_the_ways(self, machine, other_side):
        method = await self.with_settings(machine, other_side, desktop="page")
        assert method.starts_here
        started = await method.start(self.attempt(method))
        assert parsed(started.step.url)["method"] == "alipay.trade.page.pay"
        method = await self.with_settings(machine, other_side, phone="qr")
        assert not method.starts_here
        code = (await method.start(self.attempt(method, device="mobile"))).step
        assert isinstance(code, QrCode) and code.deep_link == code.text

    async def test_another_currency_is_refused_before_alipay_hears_of_it(self, method, other_side):
        assert method.currencies() == {"CNY"}
        with pytest.raises(GatewayRefused, match="not USD"):
            await method.start(self.attempt(method, amount=Money(100, "USD")))
        assert other_side.count() == 0

    # -- what is signed

    async def test_an_answer_counts_only_with_alipays_signature(self, method, other_side):
        attempt = self.attempt(method)
        await method.start(attempt)
        other_side.pay_now(attempt.ref)
        other_side.sign_with = key_pair("other")
        for call in (method.query(attempt), method.start(attempt)):
            with pytest.raises(GatewayUnavailable, match="not signed"):
                await call
        other_side.sign_with = other_side.ours
        assert (await method.query(attempt)).state is ClaimState.PAID

    async def test_what_is_read_is_what_was_signed(self, method, other_side):
        """A true answer, and behind it another one of the same name, which is the one that readers of JSON keep."""
        attempt = self.attempt(method)
        await method.start(attempt)
        forged = {"code": "10000", "out_trade_no": our_number(attempt.ref), "trade_status": "TRADE_SUCCESS"}
        forged |= {"trade_no": "2026112222001", "total_amount": attempt.amount.plain()}
        other_side.slipped_in = f',"alipay_trade_query_response":{json.dumps(forged)}'
        assert await method.query(attempt) is None

    async def test_certificates_name_themselves_and_a_new_one_is_noticed(self, machine, other_side):
        await machine.save(other_side.certificate_settings())
        method = self.the_one(machine.runtime.payment_methods)
        ours, theirs = (certificates.serial(fake.certificate(name)) for name in ("merchant", "alipay"))
        other_side.certificate_number = theirs
        attempt = self.attempt(method)
        await method.start(attempt)
        asked = other_side.asked[-1]
        root = certificates.serial(fake.certificate("root"))
        assert (asked["app_cert_sn"], asked["alipay_root_cert_sn"]) == (ours, root)
        other_side.pay_now(attempt.ref)
        assert (await method.parse_callback(await other_side.callback(attempt))).state is ClaimState.PAID
        other_side.certificate_number = "0" * 32
        with pytest.raises(GatewayUnavailable, match="another certificate"):
            await method.query(attempt)

    async def test_a_notice_must_be_for_this_application_and_seller_and_say_something(self, method, other_side):
        attempt = self.attempt(method)
        await method.start(attempt)
        other_side.pay_now(attempt.ref)
        good = other_side.notice(attempt.ref)
        forged = {
            "another application": other_side.notice(attempt.ref, app_id="2021000000000009"),
            "another seller": other_side.notice(attempt.ref, seller_id="2088000000000009"),
            "a state nobody knows": other_side.notice(attempt.ref, trade_status="TRADE_SOMEHOW"),
            "no trade": other_side.notice(attempt.ref, trade_no=""),
            "no sum": other_side.notice(attempt.ref, total_amount="much"),
            "the old kind of signature": {**good, "sign_type": "RSA"},
            "our own key": {**good, "sign": fake.sign(notice_text(good), key_pair("merchant"))},
        }
        for what, notice in forged.items():
            with pytest.raises(Forged):
                await method.parse_callback(as_call(notice))
                pytest.fail(what)
        twice = as_call(good)
        with pytest.raises(Forged, match="comes twice"):
            await method.parse_callback(replace(twice, body=twice.body + b"&total_amount=19.90"))

    async def test_a_true_notice_that_brings_no_new_payment_changes_nothing(self, method, other_side):
        attempt = self.attempt(method)
        await method.start(attempt)
        other_side.scan(attempt.ref)
        assert await method.parse_callback(await other_side.callback(attempt)) is None
        other_side.pay_now(attempt.ref)
        back = other_side.notice(attempt.ref, refund_fee="5.00", gmt_refund=fake.beijing(), out_biz_no="R1")
        assert await method.parse_callback(as_call(back)) is None
        paid = await method.parse_callback(await other_side.callback(attempt))
        finished = await method.parse_callback(as_call(other_side.notice(attempt.ref, trade_status="TRADE_FINISHED")))
        assert finished == paid, "after the time for refunds it is told again"
        closed = await method.parse_callback(as_call(other_side.notice(attempt.ref, trade_status="TRADE_CLOSED")))
        assert closed.state is ClaimState.EXPIRED

    # -- refunds

    async def paid(self, method, gateway, amount=500):
        return await self._refund(method, gateway, Money(amount, "CNY"))

    async def test_parts_have_numbers_of_their_own(self, method, other_side):
        one = await self.paid(method, other_side)
        two = replace(one, ref=one.ref + "2", amount=Money(1490, "CNY"), gateway_ref="")
        assert (await method.refund(one)).state is RefundState.DONE
        assert await method.query_refund(two) is None
        assert (await method.refund(two)).state is RefundState.DONE
        assert (await method.refund(two)).state is RefundState.DONE, "a repeat moves nothing and says what there is"
        assert [other_side.refunds(refund.ref) for refund in (one, two)] == [[one.amount], [two.amount]]
        with pytest.raises(GatewayUnavailable, match="another refund"):
            await method.query_refund(replace(one, amount=Money(501, "CNY")))

    async def test_only_a_certain_no_counts_as_one(self, method, other_side):
        for said, outcome in (
            ("ACQ.SELLER_BALANCE_NOT_ENOUGH", GatewayRefused),
            ("ACQ.SYSTEM_ERROR", GatewayUnavailable),
            ("ACQ.DISCORDANT_REPEAT_REQUEST", GatewayUnavailable),
            ("N", None),
        ):
            refund = await self.paid(method, other_side)
            other_side.refund_says = said
            if outcome:
                with pytest.raises(outcome):
                    await method.refund(refund)
            else:
                assert (await method.refund(refund)).state is RefundState.PENDING
            assert other_side.refunds(refund.ref) == []

    # -- the bill

    async def test_the_bill_of_a_day(self, method, other_side):
        assert (method.statements, method.statement_zone, method.statement_after) == (True, "Asia/Shanghai", 36_000)
        other_side.bill = bill_of(
            [
                row("交易", "T1", "VA_1", "19.90", "-0.12"),
                row("退款", "T1", "VA_1", "-5.00", "0.03", "VA_R1"),
                row("退款", "T2", "OTHER", "-1.00", "", "made there"),
            ]
        )
        at = datetime(2026, 11, 21, 4, 0, 5, tzinfo=UTC)
        lines = await method.statement(DAY)
        assert lines == [
            StatementLine("T1", LineKind.PAYMENT, "T1", "VA-1", cny(1990), at, cny(12)),
            StatementLine("T1:VA_R1", LineKind.REFUND, "T1", "VA-R1", cny(500), at, cny(-3)),
            StatementLine("T2:made there", LineKind.REFUND, "T2", "made there", cny(100), at, cny(0)),
        ]
        assert other_side.asked[-1]["content"] == {"bill_type": "trade", "bill_date": "2026-11-21"}

    async def test_no_bill_is_not_yet_and_later_an_empty_day(self, method, machine, other_side):
        today = machine.loaded.context.clock.now().date()
        assert await method.statement(today) is None
        assert await method.statement(DAY.replace(year=2025)) == []

    async def test_a_bill_that_is_not_whole_is_fetched_again(self, method, other_side):
        good = bill_of([row("交易", "T1", "VA_1", "19.90", "-0.12")])
        for broken in (b"", b"<html>", good[:-40], bill_of([row("交易", "T1", "VA_1", "19.90", "-0.12")], payments=2)):
            other_side.bill = broken
            with pytest.raises(GatewayUnavailable, match="bill"):
                await method.statement(DAY)
        assert bill.read(bill_of([])) == []

    # -- the Test button, and a sandbox

    async def test_the_test_button_has_four_answers(self, machine, other_side):
        async def tried(**changes):
            settings = AlipaySettings(**{**other_side.settings(), **changes})
            context = machine.runtime.context_to_try(self.plugin, settings)
            return (await machine.loaded.plugin.check(settings, context)).answer

        assert await tried() is Check.OK
        assert await tried(app_id="2021000000000009") is Check.CREDENTIALS_WRONG
        assert await tried(private_key=private_text(key_pair("stranger"))) is Check.CREDENTIALS_WRONG
        assert await tried(alipay_key=fake.public_text(key_pair("other"))) is Check.CREDENTIALS_WRONG
        assert await tried(gateway="http://127.0.0.1:9") is Check.TRY_LATER
        other_side.no_permission = True
        assert await tried() is Check.WILL_NOT_WORK

    async def test_what_the_sandbox_takes_is_a_test(self, machine, other_side, method):
        assert not method.test_only
        assert (await self.with_settings(machine, other_side, server="sandbox")).test_only


def cny(amount):
    return Money(amount, "CNY")


# -- settings and signatures


def settings(**changes):
    keys = {"private_key": private_text(key_pair("merchant")), "alipay_key": fake.public_text(key_pair("alipay"))}
    return AlipaySettings(**{"app_id": fake.APP, "seller_id": fake.SELLER, **keys, **changes})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"alipay_key": None}, "alipay_key"),
        ({"alipay_key": "no key"}, "alipay_key"),
        ({"private_key": fake.public_text(key_pair("alipay"))}, "private_key"),
        ({"mode": "certificates"}, "app_certificate"),
        ({"root_certificate": "no certificate"}, "root_certificate"),
        ({"seller_id": "1088000000000001"}, "seller_id"),
        ({"app_id": "app"}, "app_id"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, field):
    with pytest.raises(ValidationError) as wrong:
        settings(**changes)
    assert next(error["loc"] for error in wrong.value.errors()) == (field,)


def test_the_server_is_chosen_or_named():
    assert settings().address == SERVERS["live"] == "https://openapi.alipay.com/gateway.do"
    assert settings(server="sandbox").address == "https://openapi-sandbox.dl.alipaydev.com/gateway.do"
    assert settings(gateway="https://proxy.example.com/").address == "https://proxy.example.com/"


def test_a_request_signs_the_kind_of_its_signature_and_a_notice_does_not():
    params = {"b": "2", "a": "1", "empty": "", "sign_type": "RSA2", "sign": "x"}
    assert request_text(params) == "a=1&b=2&sign_type=RSA2"
    assert notice_text(params) == "a=1&b=2&empty="
    for text in ("a=1&b=2&empty=", "a=1&b=2"):
        signed = {**params, "sign": fake.sign(text, key_pair("alipay"))}
        assert notice_fits(signed, key_pair("alipay").public_key())
        assert not notice_fits({**signed, "b": ""}, key_pair("alipay").public_key())


def test_the_numbers_of_certificates_are_md5_of_issuer_and_serial():
    """Known beforehand: issuer and serial as they stand in the certificate, hashed by hand."""
    known = hashlib.md5(f"CN=R1,OU=CA,O=Ant,C=CN{int.from_bytes(b'merchant')}".encode()).hexdigest()
    assert certificates.serial(fake.certificate("merchant")) == known
    both = fake.certificate("root") + "\n" + fake.certificate("merchant")
    assert certificates.root_serial(both) == f"{certificates.serial(fake.certificate('root'))}_{known}"
