from core.api.testing import PaymentMethodContract


class TestContract(PaymentMethodContract):
    plugin = "payments.balance"
