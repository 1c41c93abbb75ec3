from core.api import PaymentMethod, Plugin, hookimpl


class Method(PaymentMethod):
    key = "good"
    title = {"en": "Good", "zh-CN": "好"}
    form_hosts = ("https://pay.example.com",)


class Good(Plugin):
    @hookimpl
    async def register_payment_methods(self):
        return [Method()]


plugin = Good()
