import time

from core.api import Plugin, hookimpl


class Blocks(Plugin):
    @hookimpl
    def check_order(self, order):
        time.sleep(0.2)


plugin = Blocks()
