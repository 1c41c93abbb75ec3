from core.api import Plugin, Refusal, hookimpl


class Refuses(Plugin):
    @hookimpl
    async def check_order(self, order):
        raise Refusal("not today", "contact")


plugin = Refuses()
