from core.api import PaymentMethod, Plugin, hookimpl


class Method(PaymentMethod):
    key = "bad_seconds"
    title = {"en": "x"}
    query_after = ("15", "60")


class BadSeconds(Plugin):
    @hookimpl
    def register_payment_methods(self):
        return [Method()]


plugin = BadSeconds()
