from core.api import Plugin, PluginSettings, setting


class Settings(PluginSettings):
    table: dict[str, int] = setting("Table", default={})


class CannotDraw(Plugin):
    Settings = Settings


plugin = CannotDraw()
