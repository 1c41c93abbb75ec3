from core.api import PaymentMethod, Plugin, hookimpl


class Method(PaymentMethod):
    key = "bad_host"
    title = {"en": "x"}
    form_hosts = ("https://a.example; script-src *",)


class BadHost(Plugin):
    @hookimpl
    def register_payment_methods(self):
        return [Method()]


plugin = BadHost()
