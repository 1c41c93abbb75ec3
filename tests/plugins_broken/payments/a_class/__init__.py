from core.api import PaymentMethod, Plugin, hookimpl


class Method(PaymentMethod):
    key = "a_class"
    title = {"en": "x"}


class AClass(Plugin):
    @hookimpl
    def register_payment_methods(self):
        return [Method]


plugin = AClass()
