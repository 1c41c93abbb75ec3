"""Each hook once, called as the shop calls it."""

import pytest

from core.hooks.answers import Refusal


async def test_hook_register_payment_methods(start):
    runtime = await start("payments.good")
    assert runtime.payment_methods["good"].title == {"en": "Good", "zh-CN": "好"}


async def test_hook_register_notifiers(start, operator):
    await operator.saves("notifiers.with_settings", {"name": "Ann"}, {"key": "k"})
    runtime = await start()
    assert runtime.notifiers["with_settings"].settings.name == "Ann"


async def test_hook_check_order(start, order):
    runtime = await start()
    await runtime.ask("check_order", order=order)
    runtime = await start("risk.refuses")
    with pytest.raises(Refusal, match="not today"):
        await runtime.ask("check_order", order=order)
