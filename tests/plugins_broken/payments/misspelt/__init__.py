from core.api import Plugin, hookimpl


class Misspelt(Plugin):
    @hookimpl
    def register_payment_metods(self, ctx):
        return []


plugin = Misspelt()
