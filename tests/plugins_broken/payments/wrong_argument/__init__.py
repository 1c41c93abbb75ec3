from core.api import Plugin, hookimpl


class WrongArgument(Plugin):
    @hookimpl
    def check_order(self, basket):
        return None


plugin = WrongArgument()
