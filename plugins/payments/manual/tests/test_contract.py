import pytest

from core.api.testing import FakeGateway, PaymentMethodContract


class NoGateway(FakeGateway):
    def settings(self):
        return {"instructions_en": "Send {amount} to account 12345, with {order} as reference."}


class TestContract(PaymentMethodContract):
    plugin = "payments.manual"

    @pytest.fixture
    async def other_side(self):
        async with NoGateway() as nobody:
            yield nobody
