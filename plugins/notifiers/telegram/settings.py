"""The settings of the plugin, and the texts a merchant may put in the place of ours."""

from __future__ import annotations

import re
from string import Formatter
from typing import Literal

from pydantic import field_validator

from core.api import PluginSettings, Secret, Url, _, setting

Event = Literal["order_paid", "order_delivered", "order_refunded", "review_opened", "stock_low"]

EVENTS = {
    "order_paid": _("An order is paid"),
    "order_delivered": _("Its goods were handed over"),
    "order_refunded": _("Money was given back"),
    "review_opened": _("Something waits for a person"),
    "stock_low": _("A SKU runs low"),
}
NAMES = ("ref", "total", "goods", "amount", "reason", "sku", "title", "left", "shop", "link")
"""What a text may name in braces; what an event does not have stays empty."""

TOKEN = re.compile(r"[0-9]{3,20}:[A-Za-z0-9_-]{20,80}")
CHAT = re.compile(r"-?[0-9]{1,20}|@[A-Za-z][A-Za-z0-9_]{4,31}")


class OwnText(PluginSettings):
    event: Event = setting(_("For"), default="order_paid", choices=EVENTS)
    text: str = setting(_("Text"), max_length=1000, help=_("May name {ref}, {total}, {goods}, {link} and others."))

    @field_validator("text")
    @classmethod
    def names_are_known(cls, text: str) -> str:
        try:
            named = [
                (name, form, conversion)
                for _text, name, form, conversion in Formatter().parse(text)
                if name is not None
            ]
        except ValueError:
            raise ValueError(str(_("A brace stands alone. Write {{ for a brace."))) from None
        if any(name not in NAMES or how or conversion for name, how, conversion in named):
            raise ValueError(str(_("It may name only: %(names)s", names=", ".join(NAMES))))
        return text


class Settings(PluginSettings):
    token: Secret = setting(_("Bot token"), help=_("@BotFather gives it to you: 123456:ABC…"))
    chat: str = setting(
        _("Chat"), help=_("The number of the chat, or @name of a channel. The bot must be a member."), max_length=64
    )
    events: tuple[Event, ...] = setting(
        _("What you are told"), default=("order_paid", "review_opened", "stock_low"), choices=EVENTS
    )
    language: Literal["zh_CN", "en"] = setting(
        _("Language"), default="zh_CN", choices={"zh_CN": "简体中文", "en": "English"}
    )
    silent: bool = setting(_("Without sound"), default=False)
    test_orders: bool = setting(_("Also for test orders"), default=True)
    texts: tuple[OwnText, ...] = setting(_("Your own texts"), default=())
    server: Url = setting(
        _("Server"), default="https://api.telegram.org", help=_("Only to be changed for a Bot API server of your own.")
    )

    @field_validator("token")
    @classmethod
    def token_looks_right(cls, token: Secret) -> Secret:
        if not TOKEN.fullmatch(token.reveal()):
            raise ValueError(str(_("A token looks like 123456:ABC…")))
        return token

    @field_validator("chat")
    @classmethod
    def chat_looks_right(cls, chat: str) -> str:
        if not CHAT.fullmatch(chat):
            raise ValueError(str(_("Write a number, such as -1001234567890, or @name.")))
        return chat

    @field_validator("server")
    @classmethod
    def no_slash_at_the_end(cls, server: str) -> str:
        return server.rstrip("/")

    def own_text(self, event: str) -> str | None:
        return next((one.text for one in self.texts if one.event == event), None)
