from core.api import Plugin, hookimpl


class Hears(Plugin):
    def __init__(self):
        self.heard = []

    @hookimpl
    async def order_finished(self, ctx, order):
        self.heard.append((ctx.plugin, order))


plugin = Hears()
