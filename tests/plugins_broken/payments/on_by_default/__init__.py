from core.api import PaymentMethod, Plugin, hookimpl


class Method(PaymentMethod):
    key = "on_by_default"
    title = {"en": "On"}


class OnByDefault(Plugin):
    @hookimpl
    def register_payment_methods(self):
        return [Method()]


plugin = OnByDefault()
