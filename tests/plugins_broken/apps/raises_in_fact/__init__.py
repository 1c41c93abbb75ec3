from core.api import Plugin, hookimpl


class RaisesInFact(Plugin):
    @hookimpl
    async def order_paid(self, order):
        raise ConnectionError("nobody there")


plugin = RaisesInFact()
