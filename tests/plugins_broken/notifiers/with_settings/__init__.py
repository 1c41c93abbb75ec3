from typing import Literal

from core.api import CheckResult, Money, Plugin, PluginSettings, Secret, Url, hookimpl, setting


class Settings(PluginSettings):
    name: str = setting("Name", max_length=20)
    note: str = setting("Note", default="", long=True)
    key: Secret = setting("Key", help="From the provider's console.")
    extra_key: Secret | None = setting("Second key", default=None)
    gateway: Url = setting("Gateway", default="https://api.example.com")
    wait: int = setting("Wait", unit="seconds", default=10, ge=1, le=60)
    mode: Literal["page", "direct"] = setting("Mode", default="page", choices={"page": "A page", "direct": "Direct"})
    loud: bool = setting("Loud", default=True)
    words: tuple[str, ...] = setting("Words", default=())
    price: Money | None = setting("Price", default=None)


class Notifier:
    title = {"en": "With settings"}

    def __init__(self, settings):
        self.key = "with_settings"
        self.settings = settings


class WithSettings(Plugin):
    Settings = Settings

    async def check(self, settings, ctx):
        assert ctx.settings is settings
        match settings.name:
            case "breaks":
                raise RuntimeError(f"broke with {settings.key.reveal()[:0]}")
            case "later":
                return CheckResult.try_later("nobody answers")
            case "wrong":
                return CheckResult.credentials_wrong("the key is not known there")
            case "never":
                return CheckResult.will_not_work("that gateway is closed")
            case "words":
                return "all is well"
        return CheckResult.ok("it answered")

    @hookimpl
    def register_notifiers(self, ctx):
        return [Notifier(ctx.settings)]


plugin = WithSettings()
