"""EPay V1 against the vectors, and against a gateway that speaks it."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from pydantic import ValidationError

from core.api import (
    Attempt,
    Check,
    Claim,
    ClaimState,
    Forged,
    GatewayRefused,
    GatewayUnavailable,
    HttpAnswer,
    Money,
    NotSent,
    QrCode,
    Redirect,
    Refund,
    RefundState,
)
from plugins.payments.epay import plugin
from plugins.payments.epay.gateway import read
from plugins.payments.epay.method import Epay, cut, next_step
from plugins.payments.epay.settings import EpaySettings
from plugins.payments.epay.signature import is_signed, sign
from tests.gateways.running import KEY, PID, FakeEpay
from tests.payments.conftest import MakeContext, a_call, an_attempt

VECTOR = json.loads((Path(__file__).parent / "epay_vector.json").read_text())
SUBMIT = VECTOR["params"]

Method = Callable[..., Epay]


@pytest.fixture
def method(gateway: FakeEpay, context: MakeContext) -> Method:
    def make(**settings: Any) -> Epay:
        values = {"gateway": gateway.address, "pid": PID, "key": KEY, **settings}
        ctx = context("payments.epay", EpaySettings(**values))
        [made] = plugin.register_payment_methods(ctx)
        return made

    return make


def submit(gateway: FakeEpay, link: str) -> httpx.Response:
    return gateway.client.get(link)


async def opened(gateway: FakeEpay, method: Epay, attempt: Attempt) -> Attempt:
    """An attempt whose trade the gateway has opened, because the buyer followed the link."""
    started = await method.start(attempt)
    assert isinstance(started.step, Redirect)
    assert submit(gateway, started.step.url).status_code == 302
    return attempt


# -- the signature ------------------------------------------------------------------------


def test_the_published_vector() -> None:
    assert sign(SUBMIT, VECTOR["key"]) == VECTOR["sign"] == "427724b6656aa612cfdbe7a2262036a3"


def test_empty_values_and_the_signature_itself_are_not_signed() -> None:
    more = {**SUBMIT, "param": "", "sign": "f" * 32, "sign_type": "MD5"}
    assert sign(more, VECTOR["key"]) == VECTOR["sign"]


def test_zero_is_a_value() -> None:
    assert sign({**SUBMIT, "param": "0"}, VECTOR["key"]) != VECTOR["sign"]


@pytest.mark.parametrize(
    "given",
    [
        SUBMIT,
        {**SUBMIT, "sign": ""},
        {**SUBMIT, "sign": VECTOR["sign"].upper()},
        {**SUBMIT, "sign": VECTOR["sign"], "money": "1"},
        {**SUBMIT, "sign": VECTOR["sign"], "more": "x"},
        {**SUBMIT, "sign": "签名"},
    ],
    ids=["no sign", "empty sign", "upper case", "same sum in other digits", "one more field", "not ascii"],
)
def test_what_does_not_fit_is_not_signed(given: dict[str, str]) -> None:
    assert not is_signed(given, VECTOR["key"])


def test_with_an_empty_key_nothing_is_signed() -> None:
    assert not is_signed({**SUBMIT, "sign": sign(SUBMIT, "")}, "")


# -- settings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://pay.example.com/", "https://pay.example.com"),
        ("https://pay.example.com/xpay/epay/", "https://pay.example.com/xpay/epay"),
        ("https://pay.example.com/submit.php", "https://pay.example.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_the_gateway_address_is_kept_as_its_folder(written: str, kept: str) -> None:
    assert EpaySettings(gateway=written, pid=PID, key=KEY).gateway == kept


@pytest.mark.parametrize(
    "wrong",
    [
        {"gateway": "http://pay.example.com"},
        {"gateway": "https://pay.example.com/?a=1"},
        {"gateway": "javascript:alert(1)"},
        {"pid": "10 01"},
        {"pid": "01001"},
        {"key": ""},
        {"mode": "mapi", "alipay": False, "wxpay": False},
    ],
    ids=lambda wrong: " ".join(map(str, wrong.values())),
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EpaySettings(**{"gateway": "https://pay.example.com", "pid": PID, "key": KEY, **wrong})


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(EpaySettings(gateway="https://pay.example.com", pid=PID, key=KEY))


def test_channels_are_the_buttons(method: Method) -> None:
    assert [option.key for option in method().options] == ["alipay", "wxpay"]
    assert method(wxpay=False, usdt=True).options[1].title["zh-CN"] == "USDT"
    assert method(alipay=False, wxpay=False).options == ()


# -- starting -----------------------------------------------------------------------------


async def test_page_mode_sends_the_buyer_to_the_cashier(method: Method, gateway: FakeEpay) -> None:
    started = await method().start(an_attempt("VPAGE-1"))
    assert isinstance(started.step, Redirect)
    page = submit(gateway, started.step.url)
    trade = gateway.trade("VPAGE-1")
    assert page.headers["location"] == f"/cashier.php?trade_no={trade['trade_no']}"
    assert (trade["money"], trade["name"], trade["type"]) == ("1.00", "VIP会员", "alipay")
    assert KEY not in started.step.url


async def test_starting_again_opens_no_second_trade(method: Method, gateway: FakeEpay) -> None:
    attempt = an_attempt("VAGAIN-1")
    for _ in range(2):
        await opened(gateway, method(), attempt)
    assert [trade["out_trade_no"] for trade in gateway.log()["trades"]].count("VAGAIN-1") == 1


async def test_without_a_channel_the_buyer_chooses_at_the_cashier(method: Method, gateway: FakeEpay) -> None:
    started = await method(alipay=False, wxpay=False).start(an_attempt("VANY-1", option=""))
    assert isinstance(started.step, Redirect)
    assert submit(gateway, started.step.url).status_code == 302
    assert gateway.trade("VANY-1")["type"] == ""


@pytest.mark.parametrize(
    ("title", "size"), [("会" * 60, 126), ("a" * 127, 127), ("a" * 124 + "éé", 126), ("👑" * 40, 124), ("VIP", 3)]
)
async def test_a_long_title_is_cut_between_signs(method: Method, gateway: FakeEpay, title: str, size: int) -> None:
    assert len(cut(title, 127).encode()) == size
    started = await method().start(an_attempt(f"VTITLE{len(title)}-1", title=title))
    assert isinstance(started.step, Redirect)
    assert title.startswith(dict(parse_qsl(urlsplit(started.step.url).query))["name"])
    assert submit(gateway, started.step.url).status_code == 302


@pytest.mark.parametrize("answer", ["payurl", "qrcode", "urlscheme"])
async def test_mapi_gives_the_next_step(method: Method, gateway: FakeEpay, answer: str) -> None:
    gateway.script(mapi_answer=answer)
    started = await method(mode="mapi").start(an_attempt(f"VMAPI{answer}-1", device="mobile"))
    trade = gateway.trade(f"VMAPI{answer}-1")
    page = f"{gateway.address}/cashier.php?trade_no={trade['trade_no']}"
    wallet = f"weixin://dl/business/?ticket={trade['trade_no']}"
    steps = {"payurl": Redirect(page), "qrcode": QrCode(page, None), "urlscheme": QrCode(wallet, wallet)}
    assert started.step == steps[answer]
    assert started.gateway_ref == trade["trade_no"]
    assert trade["clientip"] == "203.0.113.7"
    assert gateway.log()["requests"][-1]["params"]["device"] == "mobile"


@pytest.mark.parametrize(
    ("answer", "step"),
    [
        ({"payurl": "https://pay.example/1"}, Redirect("https://pay.example/1")),
        ({"qrcode": "https://qr.alipay.com/1"}, QrCode("https://qr.alipay.com/1", "https://qr.alipay.com/1")),
        ({"qrcode": "weixin://wxpay/bizpayurl?pr=1"}, QrCode("weixin://wxpay/bizpayurl?pr=1")),
        ({"urlscheme": "alipays://pay?1"}, QrCode("alipays://pay?1", "alipays://pay?1")),
        ({"urlscheme": "javascript:alert(1)"}, QrCode("javascript:alert(1)")),
    ],
    ids=["page", "web code", "code to scan", "wallet", "no wallet"],
)
def test_only_a_wallet_becomes_a_link(answer: dict[str, str], step: Any) -> None:
    assert next_step(answer) == step


def test_a_page_that_is_no_page_is_garbage() -> None:
    with pytest.raises(GatewayUnavailable):
        next_step({"payurl": "javascript:alert(1)"})


async def test_mapi_html_is_refused_with_the_way_out(method: Method, gateway: FakeEpay) -> None:
    gateway.script(mapi_answer="html")
    with pytest.raises(GatewayRefused, match="on its own page only"):
        await method(mode="mapi").start(an_attempt("VHTML-1"))


async def test_an_amount_that_changes_is_refused_in_the_gateways_words(method: Method) -> None:
    epay = method(mode="mapi")
    await epay.start(an_attempt("VCHANGED-1"))
    with pytest.raises(GatewayRefused, match="支付参数有变化"):
        await epay.start(an_attempt("VCHANGED-1", amount=Money(200, "CNY")))


async def test_a_wrong_key_is_refused_in_the_gateways_words(method: Method) -> None:
    with pytest.raises(GatewayRefused, match="签名校验失败"):
        await method(mode="mapi", key="another-key-of-nobody").start(an_attempt("VKEY-1"))


async def test_a_gateway_that_repeats_the_key_is_not_quoted(method: Method, gateway: FakeEpay) -> None:
    gateway.script(refusal=f"key {KEY} is not allowed")
    with pytest.raises(GatewayRefused, match=r"^key … is not allowed$"):
        await method(mode="mapi").start(an_attempt("VECHO-1"))


def test_a_sum_is_never_a_float() -> None:
    assert read(HttpAnswer(200, {}, b'{"code":1,"money":1.10}')) == {"code": 1, "money": "1.10"}


@pytest.mark.parametrize("content", [b"", b"[]", b"1", b"null", b'{"code":"x"}', b"{}", b"[" * 100_000, b"\xff"])
def test_an_answer_of_another_shape_is_garbage(content: bytes) -> None:
    with pytest.raises(GatewayUnavailable):
        read(HttpAnswer(200, {}, content))


async def test_another_currency_is_refused_before_the_gateway_hears_of_it(method: Method, gateway: FakeEpay) -> None:
    before = gateway.log()["requests"]
    assert method().currencies() == {"CNY"}
    for mode in ("page", "mapi"):
        with pytest.raises(GatewayRefused, match="not USD"):
            await method(mode=mode).start(an_attempt("VUSD-1", amount=Money(100, "USD")))
    assert gateway.log()["requests"] == before


@pytest.mark.parametrize("fault", [{"broken": ["mapi.php"]}, {"garbage": ["mapi.php"]}], ids=["500", "garbage"])
async def test_a_sick_gateway_means_nothing_is_known(method: Method, gateway: FakeEpay, fault: dict[str, Any]) -> None:
    gateway.script(**fault)
    with pytest.raises(GatewayUnavailable):
        await method(mode="mapi").start(an_attempt("VSICK-1"))


async def test_a_gateway_that_is_not_there_means_nothing_is_known(method: Method) -> None:
    with pytest.raises(GatewayUnavailable):
        await method(mode="mapi", gateway="http://127.0.0.1:9").start(an_attempt("VGONE-1"))


# -- being told ---------------------------------------------------------------------------


async def test_a_notice_is_a_claim(method: Method, gateway: FakeEpay) -> None:
    await opened(gateway, method(), an_attempt("VNOTE-1"))
    address = gateway.notify_address("VNOTE-1")
    trade = gateway.trade("VNOTE-1")
    assert "money=1&" in address, "the gateway casts 1.00 to a float"
    assert await method().parse_callback(a_call(address)) == Claim(
        attempt_ref="VNOTE-1",
        state=ClaimState.PAID,
        amount=Money(100, "CNY"),
        gateway_ref=trade["trade_no"],
        event_key=f"{trade['trade_no']}:paid",
    )


async def test_a_notice_by_form_is_the_same_claim(method: Method, gateway: FakeEpay) -> None:
    await opened(gateway, method(), an_attempt("VFORM-1"))
    address = gateway.notify_address("VFORM-1")
    by_form = a_call("http://shop/", "POST", urlsplit(address).query.encode())
    assert await method().parse_callback(by_form) == await method().parse_callback(a_call(address))


async def test_a_renamed_product_is_still_signed(method: Method, gateway: FakeEpay) -> None:
    await opened(gateway, method(), an_attempt("VNAME-1"))
    gateway.script(notify_name="product")
    claim = await method().parse_callback(a_call(gateway.notify_address("VNAME-1")))
    assert claim.attempt_ref == "VNAME-1"


@pytest.mark.parametrize(("amount", "sent"), [(1990, "19.9"), (1, "0.01"), (100000, "1000"), (123456, "1234.56")])
async def test_amounts_survive_the_cast(method: Method, gateway: FakeEpay, amount: int, sent: str) -> None:
    ref = f"VCAST{amount}-1"
    await opened(gateway, method(), an_attempt(ref, amount=Money(amount, "CNY")))
    address = gateway.notify_address(ref)
    assert dict(parse_qsl(urlsplit(address).query))["money"] == sent
    assert (await method().parse_callback(a_call(address))).amount == Money(amount, "CNY")


GOOD = {
    "pid": PID,
    "trade_no": "2026112200000099999",
    "out_trade_no": "VFORGED-1",
    "type": "alipay",
    "name": "VIP会员",
    "money": "1",
    "trade_status": "TRADE_SUCCESS",
}


def signed(params: dict[str, str], key: str = KEY, sign_type: str = "MD5") -> str:
    return urlencode({**params, "sign": sign(params, key), "sign_type": sign_type})


FORGERIES = {
    "no sign": urlencode(GOOD),
    "wrong key": signed(GOOD, key="not-the-key-of-anybody"),
    "sum changed": signed(GOOD).replace("money=1&", "money=100&"),
    "sum in other digits": signed(GOOD).replace("money=1&", "money=1.00&"),
    "signed by another merchant of the gateway": signed({**GOOD, "pid": "1002"}),
    "other kind of signature": signed(GOOD, sign_type="RSA"),
    "no kind of signature": signed(GOOD).removesuffix("&sign_type=MD5"),
    "a parameter twice": signed(GOOD) + "&money=1",
    "not paid": signed({**GOOD, "trade_status": "WAIT_BUYER_PAY"}),
    "no status": signed({name: value for name, value in GOOD.items() if name != "trade_status"}),
    "sum is not a number": signed({**GOOD, "money": "1e2"}),
    "sum below a fen": signed({**GOOD, "money": "1.001"}),
    "no sum": signed({**GOOD, "money": ""}),
    "no trade": signed({**GOOD, "trade_no": ""}),
    "not UTF-8": signed(GOOD) + "&param=%ff%fe",
    "nothing": "",
}


@pytest.mark.parametrize("query", FORGERIES.values(), ids=FORGERIES.keys())
async def test_a_forgery_is_told_apart(method: Method, query: str) -> None:
    with pytest.raises(Forged) as forged:
        await method().parse_callback(a_call(f"http://shop/?{query}"))
    assert KEY not in str(forged.value)


async def test_a_products_name_signs_no_notice(method: Method) -> None:
    """What is signed is put together without escapes: a name with & could be read as further parameters."""
    name = "X&out_trade_no=VDEAR-1&pid=1001&trade_no=7&trade_status=TRADE_SUCCESS&u="
    [step] = [(await method().start(an_attempt("VCHEAP-1", title=name))).step]
    sent = dict(parse_qsl(urlsplit(step.url).query))
    rest = "".join(f"&{key}={sent[key]}" for key in ("notify_url", "out_trade_no", "pid", "return_url", "type"))
    notice = {
        "money": sent["money"],
        **dict(pair.split("=") for pair in f"name={name}".split("&")),
        "u": rest,
        "sign": sent["sign"],
        "sign_type": "MD5",
    }
    with pytest.raises(Forged):
        await method().parse_callback(a_call(f"http://shop/?{urlencode(notice)}"))


async def test_the_answers_are_the_gateways_words(method: Method) -> None:
    assert (method().accepted.body, method().refused.body) == (b"success", b"fail")


# -- asking -------------------------------------------------------------------------------


async def test_a_query_says_the_same_as_the_notice(method: Method, gateway: FakeEpay) -> None:
    attempt = await opened(gateway, method(), an_attempt("VASK-1"))
    gateway.script(pay_without_notify=True)
    gateway.pay("VASK-1")
    assert "VASK-1" not in [call["out_trade_no"] for call in gateway.log()["calls"]]
    notice = await method().parse_callback(a_call(gateway.notify_address("VASK-1")))
    assert await method().query(attempt) == notice


@pytest.mark.parametrize(
    ("status", "state"), [(0, None), (1, ClaimState.PAID), (2, ClaimState.FAILED), (3, ClaimState.PENDING), (4, None)]
)
async def test_what_a_status_means(method: Method, gateway: FakeEpay, status: int, state: ClaimState | None) -> None:
    ref = f"VSTATUS{status}-1"
    attempt = await opened(gateway, method(), an_attempt(ref))
    gateway.set_status(ref, status)
    claim = await method().query(attempt)
    assert (claim.state if claim else None) == state


async def test_an_unknown_order_is_no_claim(method: Method) -> None:
    assert await method().query(an_attempt("VNEVER-1")) is None


async def test_a_query_with_a_wrong_key_is_refused(method: Method) -> None:
    with pytest.raises(GatewayRefused, match="商户密钥错误"):
        await method(key="another-key-of-nobody").query(an_attempt("VNEVER-1"))


@pytest.mark.parametrize(
    "fault",
    [
        {"broken": ["api.php"]},
        {"garbage": ["api.php"]},
        {"query_money": "many"},
        {"query_pid": "1002"},
        {"query_order": "VOTHER-1"},
    ],
    ids=["500", "garbage", "unreadable sum", "another merchant", "another order"],
)
async def test_a_query_that_gets_no_answer_is_tried_later(
    method: Method, gateway: FakeEpay, fault: dict[str, Any]
) -> None:
    ref = f"VLATER{len(gateway.log()['trades'])}-1"
    attempt = await opened(gateway, method(), an_attempt(ref))
    gateway.set_status(ref, 1)
    gateway.script(**fault)
    with pytest.raises(GatewayUnavailable):
        await method().query(attempt)


async def test_without_queries_nothing_is_asked(method: Method) -> None:
    assert method(query=False).query_after == ()
    assert method().query_after[0] == 15


async def test_the_key_is_never_logged(method: Method, gateway: FakeEpay, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await method().query(an_attempt("VLOG-1"))
        with pytest.raises(GatewayRefused) as refused:
            await method(key="another-key-of-nobody").query(an_attempt("VLOG-1"))
        with pytest.raises(GatewayUnavailable) as gone:
            await method(gateway="http://127.0.0.1:9").query(an_attempt("VLOG-1"))
    told = caplog.text + repr(refused.value) + repr(gone.value) + repr(gone.value.__cause__) + repr(method())
    assert KEY not in told
    assert "another-key-of-nobody" not in told


# -- the Test button ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "fault", "answer"),
    [
        ({}, {}, Check.OK),
        ({"key": "another-key-of-nobody"}, {}, Check.CREDENTIALS_WRONG),
        ({"pid": "1002"}, {}, Check.CREDENTIALS_WRONG),
        ({}, {"garbage": ["api.php"]}, Check.TRY_LATER),
        ({"gateway": "http://127.0.0.1:9"}, {}, Check.TRY_LATER),
    ],
    ids=["good", "wrong key", "wrong pid", "garbage", "not there"],
)
async def test_the_test_button(
    gateway: FakeEpay, context: MakeContext, settings: dict[str, Any], fault: dict[str, Any], answer: Check
) -> None:
    gateway.script(**fault)
    tried = EpaySettings(**{"gateway": gateway.address, "pid": PID, "key": KEY, **settings})
    result = await plugin.check(tried, context("payments.epay", tried))
    assert result.answer is answer
    assert KEY not in str(result.note)


async def test_a_shop_in_dollars_cannot_use_it(gateway: FakeEpay, context: MakeContext) -> None:
    tried = EpaySettings(gateway=gateway.address, pid=PID, key=KEY)
    result = await plugin.check(tried, context("payments.epay", tried, currency="USD"))
    assert result.answer is Check.WILL_NOT_WORK


# -- giving money back --------------------------------------------------------------------


async def paid(gateway: FakeEpay, method: Epay, ref: str) -> Refund:
    await opened(gateway, method, an_attempt(ref))
    gateway.script(pay_without_notify=True)
    gateway.pay(ref)
    trade_no = gateway.trade(ref)["trade_no"]
    return Refund(f"{ref.partition('-')[0]}-R1", ref, trade_no, "V", Money(100, "CNY"), Money(100, "CNY"))


async def test_a_refund_names_trade_and_sum(gateway: FakeEpay, method: Method) -> None:
    epay = method()
    refund = await paid(gateway, epay, "VBACK1-1")
    gateway.script()
    assert await epay.query_refund(refund) is None
    assert (await epay.refund(replace(refund, amount=Money(40, "CNY")))).state is RefundState.DONE
    assert gateway.trade("VBACK1-1")["refunds"] == [{"out_refund_no": "VBACK1-R1", "money": "0.40"}]
    assert await epay.query_refund(refund) is None
    by_our_number = replace(refund, ref="VBACK1-R2", gateway_ref="", amount=Money(60, "CNY"))
    assert (await epay.refund(by_our_number)).state is RefundState.DONE
    found = await epay.query_refund(refund)
    assert found is not None and found.state is RefundState.DONE
    assert await epay.query_refund(replace(refund, amount=Money(40, "CNY"))) is None


@pytest.mark.parametrize(
    ("answer", "error", "sent"),
    [
        ("no", GatewayRefused, 0),
        ("no, -1", GatewayUnavailable, 0),
        ("done, -1", GatewayUnavailable, 1),
        ("done, 0", GatewayUnavailable, 1),
        ("done, garbage", GatewayUnavailable, 1),
    ],
)
async def test_only_a_clear_no_counts_as_one(
    gateway: FakeEpay, method: Method, answer: str, error: type[Exception], sent: int
) -> None:
    epay, ref = method(), f"VBACK{answer.replace(', ', '').replace('-', '')}-1"
    refund = await paid(gateway, epay, ref)
    gateway.script(refund=answer)
    with pytest.raises(error):
        await epay.refund(refund)
    assert len(gateway.trade(ref)["refunds"]) == sent


async def test_a_refund_that_never_left_says_so(method: Method) -> None:
    refund = Refund("VX-R1", "VX-1", "T1", "VX", Money(100, "CNY"), Money(100, "CNY"))
    with pytest.raises(NotSent):
        await method(gateway="http://127.0.0.1:1").refund(refund)
    with pytest.raises(GatewayRefused) as refused:
        await method(key="wrong-merchant-key").refund(refund)
    assert "wrong-merchant-key" not in str(refused.value)
