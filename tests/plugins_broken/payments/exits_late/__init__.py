import sys

from core.api import Plugin, hookimpl


class ExitsLate(Plugin):
    @hookimpl
    def register_payment_methods(self):
        sys.exit("bye")

    @hookimpl
    async def check_order(self, order):
        raise AssertionError("a plugin that was set aside is asked nothing")


plugin = ExitsLate()
