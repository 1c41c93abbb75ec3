"""What a plugin's tests may use of the shop: contracts for each kind, and servers that play the other side."""

import pytest

for _name in ("contract", "payment_contract", "machine"):
    pytest.register_assert_rewrite(f"core.api.testing.{_name}")

from core.api.testing.contract import CallbackContract, Contract, OtherSide  # noqa: E402  after the line above
from core.api.testing.loopback import Away, Called, Fault, Loopback, Seen, in_process, serve  # noqa: E402
from core.api.testing.machine import Machine  # noqa: E402
from core.api.testing.payment_contract import FakeGateway, PaymentMethodContract  # noqa: E402

__all__ = [
    "Away",
    "CallbackContract",
    "Called",
    "Contract",
    "FakeGateway",
    "Fault",
    "Loopback",
    "Machine",
    "OtherSide",
    "PaymentMethodContract",
    "Seen",
    "in_process",
    "serve",
]
