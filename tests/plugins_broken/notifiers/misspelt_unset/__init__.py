from core.api import Plugin, PluginSettings, Secret, hookimpl, setting


class Settings(PluginSettings):
    key: Secret = setting("Key")


class MisspeltUnset(Plugin):
    Settings = Settings

    @hookimpl
    def register_notifirs(self, ctx):
        return []


plugin = MisspeltUnset()
