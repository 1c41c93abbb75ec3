from core.api import PaymentMethod, Plugin, hookimpl


class Method(PaymentMethod):
    key = "only_test"
    title = {"en": "Only in test mode"}


class OnlyTest(Plugin):
    @hookimpl
    def register_payment_methods(self, ctx):
        assert ctx.test_mode
        return [Method()]


plugin = OnlyTest()
