import asyncio

from core.api import Plugin, hookimpl


class Hangs(Plugin):
    @hookimpl
    async def check_order(self, order):
        await asyncio.Event().wait()


plugin = Hangs()
