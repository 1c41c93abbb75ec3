from core.api import PaymentMethod, Plugin, hookimpl


class Method(PaymentMethod):
    key = "No Key!"
    title = {"en": "x"}


class BadKey(Plugin):
    @hookimpl
    def register_payment_methods(self):
        return [Method()]


plugin = BadKey()
