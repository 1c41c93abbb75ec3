from core.api import Plugin, PluginSettings, hookimpl, setting


class Settings(PluginSettings):
    name: str = setting("Name")


class HearsIfSet(Plugin):
    Settings = Settings

    @hookimpl
    async def order_finished(self, ctx, order):
        pass


plugin = HearsIfSet()
