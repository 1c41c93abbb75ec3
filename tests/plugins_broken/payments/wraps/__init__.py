import pluggy

from core.api import Plugin


class Wraps(Plugin):
    @pluggy.HookimplMarker("vouchsafe")(wrapper=True)
    def check_order(self, order):
        return (yield)


plugin = Wraps()
