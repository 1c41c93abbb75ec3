import pytest

for module in ("base", "gateways", "goods", "balances", "vouchers", "offers", "staff", "world"):
    pytest.register_assert_rewrite(f"tests.machine.{module}")
