"""What a plugin is handed: its settings, a way out to the network, and the facts of the shop."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from core.hooks.database import PluginDb
from core.hooks.http import PluginHttp
from core.vault.cipher import derive
from core.web.i18n import Text

S = TypeVar("S", covariant=True)


class Clock(Protocol):
    """The shop's clock; a test can move it."""

    def now(self) -> datetime:
        """The time in UTC."""
        ...


class Translate(Protocol):
    """Says a text of the plugin in the language of whoever reads it."""

    def __call__(self, message: str, **values: Any) -> Text: ...


@dataclass(frozen=True, slots=True)
class PluginContext(Generic[S]):
    """Handed to every hook of a plugin, and to nobody else. Built anew when settings or the shop change.

    ``plugin``     the plugin's id, such as ``payments.epay``.
    ``settings``   its settings, checked and frozen; None for a plugin without settings.
    ``http``       the only way out to other servers: time-outs, no redirects, answers of at most 2 MB, no
                   private addresses. Refuses to work inside a database transaction.
    ``db``         the shop's database, for the plugin's own tables and jobs.
    ``clock``      ``clock.now()`` is the time, in UTC.
    ``log``        a logger named after the plugin. Never log secrets, codes or whole answers of gateways.
    ``base_url``   the server's public address without a slash at the end, such as ``https://shop.example.com``. One
                   shop of several may have its own: ``shop_address`` tells it.
    ``currency``   the shop's currency, such as ``CNY``.
    ``test_mode``  True while the shop only tries things out.
    ``secret``     32 bytes that only this plugin of this shop knows, always the same: for signing its own links.
    ``translate``  ``translate("Pay %(sum)s", sum="¥5")``: text in the language of whoever reads it, from the
                   plugin's ``locales`` folder; ``str()`` of it gives the words.
    """

    plugin: str
    settings: S = field(repr=False)
    http: PluginHttp
    db: PluginDb
    clock: Clock
    log: logging.Logger
    base_url: str
    currency: str
    test_mode: bool
    translate: Translate

    @property
    def secret(self) -> bytes:
        """32 bytes that only this plugin of this shop knows, always the same."""
        return derive(f"plugin/{self.plugin}")
