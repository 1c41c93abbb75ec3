"""Each hook once, called as the shop calls it."""

import pytest

from core.hooks.answers import Refusal
from core.hooks.runtime import Runtime

from .conftest import TESTS


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


DELIVERED = {
    "register_suppliers": "suppliers",
    "register_promotions": "promotions",
    "register_risk_rules": "risk_rules",
    "register_channels": "channels",
}


async def delivers(operator, hook):
    await operator.enables("apps.dealer")
    runtime = Runtime(folder=TESTS / "plugins_whole", package="plugins_whole", environ={})
    await runtime.start()
    assert [one.title for one in getattr(runtime, DELIVERED[hook]).values()] == [{"en": "Dealer"}]
    assert runtime.owner(hook, "dealer") == "apps.dealer"
    await operator.disables("apps.dealer")
    await runtime.refresh()
    assert getattr(runtime, DELIVERED[hook]) == {}
    await runtime.close()


async def test_hook_register_suppliers(operator):
    await delivers(operator, "register_suppliers")


async def test_hook_register_promotions(operator):
    await delivers(operator, "register_promotions")


async def test_hook_register_risk_rules(operator):
    await delivers(operator, "register_risk_rules")


async def test_hook_register_channels(operator):
    await delivers(operator, "register_channels")
