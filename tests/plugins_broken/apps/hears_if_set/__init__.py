from core.api import Plugin, PluginSettings, hookimpl, setting


class Settings(PluginSettings):
    name: str = setting("Name")


class HearsIfSet(Plugin):
    Settings = Settings

    def __init__(self):
        self.contacts = []

    @hookimpl
    async def order_paid(self, ctx, order):
        self.contacts.append(order.contact)


plugin = HearsIfSet()
