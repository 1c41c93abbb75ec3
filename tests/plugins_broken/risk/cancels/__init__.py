import asyncio

from core.api import Plugin, hookimpl


class Cancels(Plugin):
    @hookimpl
    async def check_order(self, order):
        raise asyncio.CancelledError


plugin = Cancels()
