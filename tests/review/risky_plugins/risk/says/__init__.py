"""Three rules that say what their settings say, and fail as they are told."""

import asyncio

from core.api import Action, Evidence, Plugin, PluginSettings, RiskRule, _, hookimpl, setting


class Settings(PluginSettings):
    one: str = setting("One", default="")
    two: str = setting("Two", default="")
    three: str = setting("Three", default="")


class Says(RiskRule):
    def __init__(self, key, words):
        self.key, self.words = key, words
        self.title = {"en": f"Rule {key}", "zh-CN": f"规则 {key}"}

    async def assess(self, order):
        match self.words.split():
            case []:
                return []
            case ["raise"]:
                raise RuntimeError("broken on purpose")
            case ["exit"]:
                raise SystemExit(3)
            case ["cancel"]:
                raise asyncio.CancelledError
            case ["hang"]:
                await asyncio.Event().wait()
            case ["deaf"]:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    await asyncio.sleep(0.5)
                return []
            case ["nonsense"]:
                return ["no evidence"]
            case ["half"]:
                return [Evidence(50.5, "half")]
            case ["endless"]:
                return [Evidence(10, "endless", data={"figure": 10**5000})]
            case ["odd"]:
                return [Evidence(10, _("It is %(rule)s", rule="a\x00b"), data={"a\x00": "\ud800"})]
            case [action, score]:
                return [Evidence(int(score), _("It is %(rule)s", rule=self.key), Action(action), {"figure": 7})]


class SaysPlugin(Plugin):
    Settings = Settings

    @hookimpl
    def register_risk_rules(self, ctx):
        return [Says(key, getattr(ctx.settings, key)) for key in ("one", "two", "three")]


plugin = SaysPlugin()
