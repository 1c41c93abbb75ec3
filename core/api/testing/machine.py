"""The plugin machine of the shop on a real database, with one plugin switched on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from core import db
from core.config import Config
from core.hooks import discovery, store
from core.hooks import runtime as runtimes
from core.hooks.manager import Loaded, State, imported
from core.hooks.plugin import Plugin
from core.hooks.runtime import Runtime
from core.hooks.settings import PluginSettings, Secret, built, fields_of, to_store
from core.vault import keys

BASE_URL = "http://127.0.0.1:9"
ONLY_ONE = "INSERT INTO hooks_plugin (id, enabled) SELECT id, id = $2 FROM unnest($1::text[]) AS known (id)"
SHOP_KEY = b"k" * keys.KEY_BYTES
OTHER_SHOPS_KEY = b"o" * keys.KEY_BYTES


_packages = cache(discovery.packages)
"""Looked for once: none are installed while tests run."""


class Machine:
    """``plugin`` is the id of the one plugin that is on; all others are off, wherever they come from: the shop's own
    folder, ``plugins`` below ``VOUCHSAFE_HOME``, or an installed package.

    Its database is that of the test module. A shop of it is in test mode and sells in CNY.
    """

    def __init__(self, plugin: str, *, base_url: str = BASE_URL) -> None:
        self.plugin = plugin
        home = Config.from_env().home
        self.runtime = Runtime(
            base_url=base_url,
            merchants_folder=home / "plugins",
            packages=_packages,
            allowed_hosts=["127.0.0.0/8"],
            environ={},
        )

    async def start(self, settings: Mapping[str, Any], *, key: bytes = SHOP_KEY) -> None:
        """Switch the plugin on with these settings, as an operator would. Fails when it then does not work."""
        keys.use(keys.MasterKey(key))
        runtimes.use(self.runtime)
        found = {one.id: one for one in self.runtime.found()}
        assert self.plugin in found, f"there is no plugin {self.plugin}; did you `pip install -e .` it?"
        await db.execute("UPDATE shops_shop SET test_mode = true, currency = 'CNY'")
        await db.execute("DELETE FROM hooks_plugin")
        await db.execute(ONLY_ONE, list(found), self.plugin)
        if settings:
            await self._store(imported(found[self.plugin]), settings)
        await self.runtime.start()
        assert self.loaded.state is State.ACTIVE, f"{self.plugin} is {self.loaded.state}: {self.loaded.reason}"

    async def save(self, settings: Mapping[str, Any]) -> None:
        """Give it other settings."""
        assert self.loaded.plugin is not None
        await self._store(self.loaded.plugin, settings)
        await self.runtime.refresh()

    async def _store(self, plugin: Plugin, settings: Mapping[str, Any]) -> None:
        assert plugin.Settings is not None, f"{self.plugin} has no settings"
        open_ones, secrets = to_store(fields_of(plugin.Settings), built(plugin.Settings, settings))
        version = plugin.Settings.settings_version
        await db.transaction(store.save, self.plugin, True, open_ones, secrets, version)

    async def tell(self, fact: str, **views: Any) -> None:
        """Tell the plugin a fact, as the shop does from a job: ``tell("order_paid", order=a_sold_order())``."""
        await self.runtime.tell(fact, self.plugin, views)

    async def close(self) -> None:
        """End what it holds open."""
        await self.runtime.close()

    @property
    def loaded(self) -> Loaded:
        """The plugin as the shop has it now: its state, its object, its context."""
        return self.runtime.plugin(self.plugin)

    @property
    def model(self) -> type[PluginSettings]:
        """The model of the plugin's settings."""
        plugin = self.loaded.plugin
        assert plugin is not None and plugin.Settings is not None, f"{self.plugin} has no settings"
        return plugin.Settings

    def hurry(self, seconds: float = 0.1) -> None:
        """Give up on calls to other servers after ``seconds``, so that a test of a silent one ends soon."""
        if self.loaded.context is not None:
            self.loaded.context.http.longest = seconds

    def forget_failures(self) -> None:
        """A server that failed often is called again at once."""
        if self.loaded.context is not None:
            self.loaded.context.http.forget_failures()

    def secrets(self) -> list[str]:
        """The plain texts of its secret settings."""
        settings = self.loaded.context.settings if self.loaded.context else None
        if settings is None:
            return []
        values = [getattr(settings, one.name) for one in fields_of(type(settings))]
        return [value.reveal() for value in values if isinstance(value, Secret)]


def of_another(model: type[PluginSettings], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings with another merchant's secrets."""
    secret = {one.name for one in fields_of(model) if one.kind == "secret"}
    return {name: _another(value) if name in secret else value for name, value in settings.items()}


def _another(secret: str) -> str:
    return secret[:-1] + ("a" if secret[-1:] != "a" else "b")
