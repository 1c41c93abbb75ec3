from core.api import PaymentMethod, Plugin, hookimpl


class Method(PaymentMethod):
    key = "good"
    title = {"en": "Good too", "zh-CN": "也好"}


class GoodToo(Plugin):
    @hookimpl
    def register_payment_methods(self, ctx):
        return [Method()]


plugin = GoodToo()
