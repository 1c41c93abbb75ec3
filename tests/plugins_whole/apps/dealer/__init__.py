"""Delivers one object of each kind, guards orders, hears facts, and has settings that were once called otherwise."""

from typing import Any, ClassVar

from core.api import (
    Channel,
    Notifier,
    PaymentMethod,
    Plugin,
    PluginSettings,
    Promotion,
    Refusal,
    RiskRule,
    Secret,
    Supplier,
    hookimpl,
    setting,
)

TITLE = {"en": "Dealer"}


class Settings(PluginSettings):
    settings_version: ClassVar[int] = 3
    street: str = setting("Street", default="Main")
    key: Secret | None = setting("Key", default=None)

    @classmethod
    def upgrade(cls, old: dict[str, Any], from_version: int) -> dict[str, Any]:
        if from_version == 1:
            raise LookupError("nobody remembers")
        return {"street": old["road"].title(), "key": old["word"]}


class Way(PaymentMethod):
    key, title = "dealer", TITLE


class Post(Notifier):
    key, title, channel = "dealer", TITLE, "mail"


class Source(Supplier):
    key, title = "dealer", TITLE


class Sale(Promotion):
    key, title = "dealer", TITLE


class Rule(RiskRule):
    key, title = "dealer", TITLE


class Tongue(Channel):
    key, title = "dealer", TITLE


class Dealer(Plugin):
    Settings = Settings

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def register_payment_methods(self):
        return [Way()]

    @hookimpl
    def register_notifiers(self):
        return [Post()]

    @hookimpl
    def register_suppliers(self):
        return [Source()]

    @hookimpl
    def register_promotions(self):
        return [Sale()]

    @hookimpl
    def register_risk_rules(self):
        return [Rule()]

    @hookimpl
    def register_channels(self):
        return [Tongue()]

    @hookimpl
    def check_order(self, order):
        raise Refusal("not here")

    @hookimpl
    def order_paid(self, order):
        self.heard.append(order.ref)


plugin = Dealer()
