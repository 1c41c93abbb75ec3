"""Manual payment: the text the buyer reads, and nothing behind its door."""

import pytest
from pydantic import ValidationError

from core.api import Forged, Instructions, Money
from plugins.payments.manual import Manual, ManualSettings, plugin
from tests.payments.conftest import MakeContext, a_call, an_attempt


def made(context: MakeContext, **settings: str) -> Manual:
    [method] = plugin.register_payment_methods(context("payments.manual", ManualSettings(**settings)))
    return method


async def test_the_buyer_reads_the_sum_and_the_order_number(context: MakeContext) -> None:
    method = made(
        context,
        instructions_zh="请转账 {amount}，备注 {order}。",
        instructions_en="Send {amount} and write {order}. {other}",
    )
    started = await method.start(an_attempt("VBANK-1", "manual", amount=Money(123450, "CNY")))
    assert started.step == Instructions(
        {"zh-CN": "请转账 ¥1,234.50，备注 VBANK。", "en": "Send CN¥1,234.50 and write VBANK. {other}"}
    )
    assert started.gateway_ref is None


async def test_one_language_is_enough(context: MakeContext) -> None:
    started = await made(context, instructions_zh="转账").start(an_attempt("VBANK-1", "manual"))
    assert started.step == Instructions({"zh-CN": "转账"})


@pytest.mark.parametrize("texts", [{}, {"instructions_zh": " ", "instructions_en": "\n"}], ids=["none", "blank"])
def test_without_instructions_it_cannot_be_used(texts: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ManualSettings(**texts)


async def test_the_button_has_the_merchants_name(context: MakeContext) -> None:
    method = made(context, instructions_en="Pay in the shop", title_en="In person", title_zh="当面付款")
    assert method.title == {"en": "In person", "zh-CN": "当面付款"}


async def test_nobody_can_report_a_payment(context: MakeContext) -> None:
    method = made(context, instructions_en="Pay in the shop")
    assert method.query_after == ()
    with pytest.raises(Forged):
        await method.parse_callback(a_call("http://shop/pay/manual/notify?out_trade_no=VBANK-1&money=1"))
