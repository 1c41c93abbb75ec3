from core.api import PaymentMethod, Plugin, hookimpl


class Method(PaymentMethod):
    key = "bad_title"
    title = "x"


class BadTitle(Plugin):
    @hookimpl
    def register_payment_methods(self):
        return [Method()]


plugin = BadTitle()
