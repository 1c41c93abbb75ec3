from core.api.testing import PaymentMethodContract


class TestContract(PaymentMethodContract):
    plugin = "payments.manual"

    def settings(self, other_side):
        return {"instructions_en": "Send {amount} to account 12345, with {order} as reference."}
