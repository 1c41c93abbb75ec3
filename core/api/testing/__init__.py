"""What a plugin's tests may use of the shop: contracts for each kind, and servers that play the other side."""

import pytest

for _name in ("", "machine", "payment_", "supplier_", "notifier_", "risk_", "promotion_", "channel_"):
    pytest.register_assert_rewrite(f"core.api.testing.{_name if _name == 'machine' else _name + 'contract'}")

# ruff: noqa: E402  the contracts come after the lines above, so that pytest tells what their asserts saw
from core.api.testing.channel_contract import ChannelContract
from core.api.testing.contract import Contract, OtherSide
from core.api.testing.loopback import Away, Called, Fault, Loopback, Seen, in_process, serve
from core.api.testing.machine import Machine
from core.api.testing.notifier_contract import FakeReceiver, NotifierContract
from core.api.testing.payment_contract import FakeGateway, PaymentMethodContract
from core.api.testing.promotion_contract import PromotionContract, a_basket, a_line
from core.api.testing.risk_contract import History, RiskRuleContract, an_order
from core.api.testing.supplier_contract import FakeSupplier, SupplierContract
from core.api.testing.views import a_sold_order

__all__ = [
    "Away",
    "Called",
    "ChannelContract",
    "Contract",
    "FakeGateway",
    "FakeReceiver",
    "FakeSupplier",
    "Fault",
    "History",
    "Loopback",
    "Machine",
    "NotifierContract",
    "OtherSide",
    "PaymentMethodContract",
    "PromotionContract",
    "RiskRuleContract",
    "Seen",
    "SupplierContract",
    "a_basket",
    "a_line",
    "a_sold_order",
    "an_order",
    "in_process",
    "serve",
]
