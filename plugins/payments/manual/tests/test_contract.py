import pytest
from pydantic import ValidationError

from core.api.testing import PaymentMethodContract
from plugins.payments.manual import ManualSettings


class TestContract(PaymentMethodContract):
    plugin = "payments.manual"

    def settings(self, other_side):
        return {"instructions_en": "Send {amount} to account 12345, with {order} as reference."}


def test_without_any_text_both_are_named():
    with pytest.raises(ValidationError) as mistake:
        ManualSettings(instructions_zh=" ")
    assert {one["loc"] for one in mistake.value.errors()} == {("instructions_zh",), ("instructions_en",)}
    assert {one["type"] for one in mistake.value.errors()} == {"value_error"}
    assert ManualSettings(instructions_zh="转到账号 12345").instructions_en == ""
