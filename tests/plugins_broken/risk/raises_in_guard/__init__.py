from core.api import Plugin, hookimpl


class RaisesInGuard(Plugin):
    @hookimpl
    def check_order(self, order):
        raise KeyError("forgotten")


plugin = RaisesInGuard()
