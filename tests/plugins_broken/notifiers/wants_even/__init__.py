from core.api import Plugin, PluginSettings, hookimpl, setting


class Settings(PluginSettings):
    number: int = setting("Number", default=2)


class Notifier:
    key = "wants_even"
    title = {"en": "Even"}


class WantsEven(Plugin):
    Settings = Settings

    @hookimpl
    def register_notifiers(self, ctx):
        if ctx.settings.number % 2:
            raise ValueError(f"{ctx.settings.number} is odd")
        return [Notifier()]


plugin = WantsEven()
