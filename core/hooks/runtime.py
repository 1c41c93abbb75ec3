"""The plugins of this process, ready to be used: what they deliver, whom to ask, and when to load them anew."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from core import VERSION, clock, db, tasks
from core.audit import service as audit
from core.config import Config
from core.hooks import discovery, migrations, store
from core.hooks import specs as the_specs
from core.hooks.context import PluginContext
from core.hooks.database import PluginDb
from core.hooks.folder import check_folder, digest
from core.hooks.http import AllowedHosts, HostState, PluginHttp
from core.hooks.manager import ASK_SECONDS, Delivered, Failures, Loaded, Manager, NotReady, State, TwoOwners
from core.hooks.manifest import FALLBACK, Installed, Manifest, discover
from core.hooks.pages import Mounted, mount
from core.hooks.plugin import Plugin, PluginJob
from core.hooks.plugin_jobs import as_jobs, check_jobs
from core.hooks.settings import (
    CannotUpgrade,
    FormField,
    PluginSettings,
    SettingsWrong,
    built,
    fields_of,
    from_text,
    upgraded,
    variable,
)
from core.hooks.store import Facts, Row
from core.jobs import Retry, registry
from core.jobs.runner import DATABASE_AWAY
from core.ledger import chart
from core.outage import Outage
from core.people import rights
from core.vault import keys
from core.vault.cipher import DecryptError, VaultLocked
from core.web.feature import Feature
from core.web.i18n import Text, _, listed, text_of

log = logging.getLogger("vouchsafe.hooks")

ROOT = Path(__file__).resolve().parents[2]
LOOK_SECONDS = 1.0
FACT = "hooks.fact"
ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class _Working:
    """All that is exchanged at once when plugins are loaded anew."""

    facts: Facts | None
    manager: Manager
    registries: Mapping[str, Mapping[str, Delivered]]
    listeners: Mapping[str, tuple[str, ...]]
    off: Mapping[str, frozenset[int | str]] = field(default_factory=dict)


class Runtime:
    """The plugins of one process. ``start`` once, then ``following()`` for as long as the process lives."""

    def __init__(
        self,
        *,
        folder: Path = ROOT / "plugins",
        package: str = "plugins",
        merchants_folder: Path | None = None,
        packages: Callable[[], list[Installed]] = list,
        base_url: str = "http://127.0.0.1:8000",
        safe_mode: bool = False,
        allowed_hosts: Sequence[str] = (),
        environ: Mapping[str, str] = os.environ,
        hookspecs: ModuleType = the_specs,
        ask_seconds: float = ASK_SECONDS,
    ) -> None:
        self.folder = folder
        self.safe_mode = safe_mode
        self.base_url = base_url
        self._package = package
        self._merchants_folder = merchants_folder
        self._packages = packages
        self._allowed = AllowedHosts(allowed_hosts)
        self._environ = environ
        self._hookspecs = hookspecs
        self._failures: dict[str, dict[str, Failures]] = {}
        self._clients: dict[str, PluginHttp] = {}
        self._looking = asyncio.Lock()
        self._refused: Facts | None = None
        self._without_key = False
        self._again = False
        self._ask_seconds = ask_seconds
        self._digests: dict[str, str] = {}
        self.on_new_folders: Callable[[], None] = lambda: None
        """Called when plugins appeared or went: their words and templates are to be read anew."""
        self._now = _Working(None, self._new_manager(), {}, {})

    @classmethod
    def from_config(cls, config: Config) -> Runtime:
        return cls(
            base_url=config.base_url,
            merchants_folder=config.home / "plugins",
            packages=discovery.packages,
            safe_mode=config.plugins == "none",
            allowed_hosts=config.allow_private_hosts,
        )

    def _new_manager(self) -> Manager:
        return Manager(self._hookspecs, self._failures, self._ask_seconds)

    # -- loading ------------------------------------------------------------------------

    async def start(self) -> None:
        """Load every enabled plugin. Only :class:`TwoOwners` gets out: the operator must choose."""
        facts = await store.facts()
        self._exchange(await self._load(facts, await store.rows()))

    async def refresh(self) -> bool:
        """Load anew when a plugin, its settings or the shop changed anywhere. True when it did."""
        async with self._looking:
            facts = await store.facts()
            key_is_back = self._without_key and keys.current().is_unlocked()
            if facts in (self._now.facts, self._refused) and not key_is_back and not self._again:
                return False
            return await self._load_anew(facts)

    async def look_around(self) -> None:
        """Load anew when the files of a plugin were put here or taken away."""
        async with self._looking:
            known = [(one.id, one.manifest, one.folder) for one in self.plugins if one.module]
            found = await asyncio.to_thread(self.found)
            if known != [(one.id, one.manifest, one.folder) for one in found]:
                await self._load_anew(await store.facts())

    async def _load_anew(self, facts: Facts) -> bool:
        self._without_key = self._again = False
        try:
            self._exchange(await self._load(facts, await store.rows()))
        except TwoOwners as clash:
            self._refused = facts
            log.error("plugins stay as they were: %s", clash)
            return False
        return True

    def _exchange(self, new: _Working) -> None:
        found = self._now.manager.plugins.keys()
        self._now = new
        active = [one for one in new.manager.active() if one.plugin]
        mounted = [one.mounted for one in active if one.mounted]
        rights.of_plugins({name: act for one in mounted for name, act in one.acts.items()})
        audit.of_plugins({act: title for one in mounted for act, title in one.recorded.items()})
        registry.of_plugins(
            job
            for one in active
            if one.plugin
            for job in as_jobs(one.id, one.plugin.jobs, self._context_of, self.count_failure)
        )
        methods = self.payment_methods
        chart.of_methods(
            {key: getattr(method, "title", {}) for key, method in methods.items()},
            [key for key, method in methods.items() if not getattr(method, "test_only", False)],
        )
        if found != new.manager.plugins.keys():
            self.on_new_folders()

    def _context_of(self, plugin: str) -> PluginContext[Any] | None:
        known = self._now.manager.plugins.get(plugin)
        return known.context if known and known.state is State.ACTIVE else None

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[Runtime]:
        """Start, keep up with changes made by other processes once a second, and close at the end."""
        await self.start()
        follower = asyncio.create_task(self._follow())
        try:
            yield self
        finally:
            await tasks.end(follower)
            await self.close()

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    async def _follow(self) -> None:
        outage = Outage(log, "cannot look for changed plugins", "changed plugins are looked for again")
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.refresh()
                outage.is_over()
            except DATABASE_AWAY as error:
                outage.goes_on(error)
            except Exception:  # whatever it was, the process must keep following
                log.exception("cannot load changed plugins")

    async def clash_if_enabled(self, plugin: str) -> str:
        """Why ``plugin`` cannot be enabled beside the others: both deliver one key. Empty when it can."""
        rows = await store.rows()
        old = rows.get(plugin, Row(False))
        try:
            await self._load(await store.facts(), {**rows, plugin: Row(True, old.settings, old.secrets)}, tables=False)
        except TwoOwners as clash:
            return str(clash)
        return ""

    def found(self) -> list[Installed]:
        """Every plugin there is, by id, wherever it comes from."""
        own = discover(self.folder, self._package)
        merchants = discover(self._merchants_folder, source="folder") if self._merchants_folder else []
        return discovery.told_apart([*own, *merchants, *self._packages()])

    async def _load(self, facts: Facts, rows: Mapping[str, Row], *, tables: bool = True) -> _Working:
        manager = self._new_manager()
        found = await asyncio.to_thread(self.found)
        done = await migrations.done() if tables else None
        for installed in found:
            await asyncio.sleep(0)  # building all at once would hold up those who are buying
            loaded = self._take(manager, installed, rows.get(installed.id), facts)
            if loaded.state is State.ACTIVE:
                await self._furnish(manager, loaded, done)
        gone = sorted(id for id, row in rows.items() if row.enabled and id not in {one.id for one in found})
        for id in gone:
            manager.add(Installed(id, self.folder, title={FALLBACK: id}), State.FAILED, _("Its files are gone."))
        registries = await manager.collect(_accept)
        return _Working(facts, manager, registries, manager.listeners(), await store.off())

    def _take(self, manager: Manager, installed: Installed, row: Row | None, facts: Facts) -> Loaded:
        manifest = installed.manifest
        if not is_enabled(manifest, row):
            return manager.add(installed, State.DISABLED, installed.problem)
        if self.safe_mode:
            return manager.add(installed, State.DISABLED, _("Switched on, but the shop was started without plugins."))
        if manifest and manifest.test_mode_only and not facts.test_mode:
            return manager.add(installed, State.TEST_MODE_ONLY, _("It works only while the shop is in test mode."))
        return manager.load(installed, VERSION, partial(self._context, row or Row(True), facts))

    async def _furnish(self, manager: Manager, loaded: Loaded, done: Mapping[str, set[str]] | None) -> None:
        """What an active plugin brings beside its hooks; with a mistake in any of it, it delivers nothing."""
        plugin = loaded.plugin
        if plugin is None:
            return
        try:
            check_folder(loaded)
            check_jobs(plugin.jobs)
            if loaded.id not in self._digests:
                self._digests[loaded.id] = await asyncio.to_thread(digest, loaded.folder)
            loaded.digest = self._digests[loaded.id]
            if plugin.pages is not None:
                contacts = loaded.manifest is not None and "contacts" in loaded.manifest.permissions
                loaded.mounted = mount(
                    loaded.id, plugin.pages, loaded.context, self.base_url, self.count_failure, contacts=contacts
                )
            if done is not None:
                wanted = migrations.steps(loaded.folder, loaded.module)
                if {step.id for step in wanted} - done.get(loaded.id, set()):
                    await migrations.migrate(loaded.id, wanted)
        except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin's mistake of any kind
            self._again |= isinstance(error, DATABASE_AWAY)
            manager.set_aside(loaded, error)

    # -- settings and contexts ----------------------------------------------------------

    def _context(self, row: Row, facts: Facts, id: str, manifest: Manifest, plugin: Plugin) -> PluginContext[Any]:
        settings = None
        if plugin.Settings is not None:
            fields = fields_of(plugin.Settings)
            try:
                settings = built(plugin.Settings, self.values(id, plugin.Settings, row, facts.currency))
            except VaultLocked:
                self._without_key = True
                raise NotReady(_("The vault has no key now. It starts by itself when the key is back.")) from None
            except DecryptError:
                raise NotReady(_("Its secrets do not open with this master key. Enter them again.")) from None
            except CannotUpgrade as stuck:
                raise NotReady(stuck.reason) from stuck
            except SettingsWrong as wrong:
                raise NotReady(_needed(fields, wrong)) from None
        return self._context_with(id, manifest, settings, facts, plugin.jobs)

    def values(self, id: str, model: type[PluginSettings], row: Row, currency: str) -> dict[str, Any]:
        """The stored values with the environment laid over them, for :func:`built`."""
        stored = {**row.settings, **store.open_secrets(id, row.secrets)}
        return {**upgraded(model, stored, row.version), **self.overrides(id, fields_of(model), currency)}

    def overrides(self, id: str, fields: Sequence[FormField], currency: str) -> dict[str, Any]:
        """The settings that the environment decides."""
        given = {one.name: self._environ.get(variable(id, one.name)) for one in fields}
        return {one.name: from_text(one, text, currency) for one in fields if (text := given[one.name]) is not None}

    def context_to_try(self, id: str, settings: PluginSettings) -> PluginContext[Any]:
        """A context with settings that are not saved yet, for the Test button."""
        loaded = self.plugin(id)
        if loaded.manifest is None:
            raise KeyError(id)
        jobs = loaded.plugin.jobs if loaded.plugin else ()
        return self._context_with(id, loaded.manifest, settings, self.facts, jobs)

    def _context_with(
        self, id: str, manifest: Manifest, settings: Any, facts: Facts, jobs: Sequence[PluginJob]
    ) -> PluginContext[Any]:
        return PluginContext(
            plugin=id,
            settings=settings,
            http=self._client(id, manifest),
            db=PluginDb(id, [job.name for job in jobs]),
            clock=clock,
            log=logging.getLogger(f"vouchsafe.plugins.{id}"),
            base_url=self.base_url,
            currency=facts.currency,
            test_mode=facts.test_mode,
            translate=partial(text_of, id),
        )

    def _client(self, id: str, manifest: Manifest) -> PluginHttp:
        if id not in self._clients:
            may_call = "network" in manifest.permissions
            self._clients[id] = PluginHttp(id, allowed=self._allowed, may_call=may_call)
        return self._clients[id]

    # -- what plugins deliver -----------------------------------------------------------

    @property
    def facts(self) -> Facts:
        if self._now.facts is None:
            raise RuntimeError("start() the plugins first")
        return self._now.facts

    @property
    def plugins(self) -> list[Loaded]:
        """Every plugin there is, whatever its state, by id."""
        return [self._now.manager.plugins[id] for id in sorted(self._now.manager.plugins)]

    def plugin(self, id: str) -> Loaded:
        """:raises KeyError: there is no such plugin."""
        return self._now.manager.plugins[id]

    @property
    def payment_methods(self) -> dict[str, Any]:
        """The ``PaymentMethod`` objects of all active plugins by key."""
        return self._items("register_payment_methods")

    @property
    def notifiers(self) -> dict[str, Any]:
        """The ``Notifier`` objects of all active plugins by key."""
        return self._items("register_notifiers")

    @property
    def suppliers(self) -> dict[str, Any]:
        """The ``Supplier`` objects of all active plugins by key."""
        return self._items("register_suppliers")

    @property
    def promotions(self) -> dict[str, Any]:
        """The ``Promotion`` objects of all active plugins by key."""
        return self._items("register_promotions")

    @property
    def risk_rules(self) -> dict[str, Any]:
        """The ``RiskRule`` objects of all active plugins by key."""
        return self._items("register_risk_rules")

    @property
    def channels(self) -> dict[str, Any]:
        """The ``Channel`` objects of all active plugins by key."""
        return self._items("register_channels")

    def form_hosts(self) -> tuple[str, ...]:
        """Where the pages' content policy lets forms go: the gateways of the active payment methods."""
        return tuple(sorted({host for method in self.payment_methods.values() for host in method.form_hosts}))

    def hosts(self, plugin: str) -> list[HostState]:
        """The servers this plugin called from this process, and which of them are left alone just now."""
        return self._clients[plugin].hosts() if plugin in self._clients else []

    def is_off_in(self, plugin: str, shop: int | str | None) -> bool:
        """Whether a plugin that is on is off in this shop, given by its id or its code."""
        return shop in self._now.off.get(plugin, ())

    def _in(self, shop: int, hook: str) -> dict[str, Any]:
        given = self._now.registries.get(hook, {})
        return {key: one.item for key, one in given.items() if not self.is_off_in(one.plugin, shop)}

    def payment_methods_in(self, shop: int) -> dict[str, Any]:
        """Those a buyer of this shop can choose; what was begun with another goes on with it."""
        return self._in(shop, "register_payment_methods")

    def notifiers_in(self, shop: int) -> dict[str, Any]:
        """Those that carry the messages of this shop."""
        return self._in(shop, "register_notifiers")

    def promotions_in(self, shop: int) -> dict[str, Any]:
        """Those that change prices in this shop."""
        return self._in(shop, "register_promotions")

    def risk_rules_in(self, shop: int) -> dict[str, Any]:
        """Those that look at the orders of this shop."""
        return self._in(shop, "register_risk_rules")

    def channels_in(self, shop: int) -> dict[str, Any]:
        """Those that answer programs which buy in this shop."""
        return self._in(shop, "register_channels")

    async def pages_of(self, plugin: str, shop: int) -> tuple[Mounted, PluginContext[Any]] | None:
        """The pages of a plugin that is on in this shop in this very moment, whatever process switched it."""
        with contextlib.suppress(*DATABASE_AWAY):
            if await store.revision() != self.facts.revision:
                await self.refresh()
        known = self._now.manager.plugins.get(plugin)
        if known is None or known.state is not State.ACTIVE or known.mounted is None or known.context is None:
            return None
        if self.is_off_in(plugin, shop):
            return None
        return known.mounted, known.context

    def page_features(self, shop: int) -> list[Feature]:
        """The menu entries and slots of the plugins that are on in this shop."""
        active = self._now.manager.active()
        return [one.mounted.feature for one in active if one.mounted and not self.is_off_in(one.id, shop)]

    def features(self) -> list[Feature]:
        """The words, templates and files of every plugin that is there; none of its code runs for that."""
        return [Feature(one.id, folder=one.folder, plugin=True) for one in self.plugins if one.manifest]

    def delivered(self, hook: str) -> Mapping[str, Delivered]:
        """What a ``register_*`` hook delivered by key, each with the plugin it came from."""
        return self._now.registries.get(hook, {})

    def _items(self, hook: str) -> dict[str, Any]:
        return {key: delivered.item for key, delivered in self._now.registries.get(hook, {}).items()}

    # -- asking and telling -------------------------------------------------------------

    async def ask(self, hook: str, shop: int | None = None, /, **views: Any) -> None:
        """Let every guard of this shop have its say; see :meth:`Manager.ask`. Never inside a transaction."""
        if db.inside_transaction():
            raise RuntimeError("guards are asked before the transaction opens")
        off = [plugin for plugin, shops in self._now.off.items() if shop in shops]
        await self._now.manager.ask(hook, off, **views)

    def listeners(self, hook: str) -> tuple[str, ...]:
        """The plugins that want to hear a fact, by id; asked at every sale."""
        return self._now.listeners.get(hook, ())

    def permits(self, plugin: str, permission: str) -> bool:
        """Whether the plugin's manifest says that it needs this."""
        known = self._now.manager.plugins.get(plugin)
        return known is not None and known.manifest is not None and permission in known.manifest.permissions

    async def tell(self, hook: str, plugin: str, views: Mapping[str, Any]) -> None:
        """Tell one plugin a fact.

        :raises Retry: the plugin is enabled but cannot hear now.
        """
        if any(self.is_off_in(plugin, getattr(view, "shop", None)) for view in views.values()):
            return
        if await self._now.manager.notify(hook, plugin, **views):
            return
        known = self._now.manager.plugins.get(plugin)
        if known and known.state in (State.FAILED, State.NEEDS_SETTINGS, State.INCOMPATIBLE):
            raise Retry(f"{plugin} is {known.state}")
        log.info("%s is not told %s: it does not listen any more", plugin, hook)

    def owner(self, hook: str, key: str) -> str:
        """The plugin that delivers what stands under ``key``."""
        return self._now.registries[hook][key].plugin

    def count_failure(self, plugin: str, what: str, error: BaseException) -> None:
        self._now.manager.count_failure(plugin, what, error)


def is_enabled(manifest: Manifest | None, row: Row | None) -> bool:
    """The operator's word, or the manifest's until there is one."""
    if row is not None:
        return row.enabled
    return manifest is not None and manifest.default_enabled


def _needed(fields: Sequence[FormField], wrong: SettingsWrong) -> Text:
    titles = {one.name: one.look.title for one in fields}
    names = dict.fromkeys(titles.get(name.partition(".")[0], name) for name in wrong.fields)
    return Text(lambda: str(_("These settings are missing or wrong: %(names)s", names=listed(names))))


def _accept(hook: str, item: Any) -> None:
    if isinstance(item, type):
        raise ValueError(f"{hook}: {item.__name__} is a class; deliver an object of it")
    for one in (item, *getattr(item, "options", ())):
        _check_title(one)
    for name in ("query_after", "refund_query_after"):
        _check_seconds(item, name)
    bad = [host for host in getattr(item, "form_hosts", ()) if not ORIGIN.fullmatch(host)]
    if bad:
        raise ValueError(f"{item.key}: form_hosts must look like https://pay.example.com, not {bad[0]!r}")


def _check_title(item: Any) -> None:
    """The pages of all plugins show it: a wrong one must not break them."""
    title = getattr(item, "title", None)
    if not isinstance(title, Mapping) or not title or not all(isinstance(words, str) for words in title.values()):
        raise ValueError(f'{item.key}: title must be words by language, such as {{"en": "Acme"}}, not {title!r}')


def _check_seconds(item: Any, name: str) -> None:
    """They are read when a payment was begun or a purchase failed: too late to say that they are wrong."""
    seconds = getattr(item, name, ())
    if not isinstance(seconds, tuple | list) or not all(type(one) in (int, float) and one >= 0 for one in seconds):
        raise ValueError(f"{item.key}: {name} must be seconds, such as (15, 60, 300), not {seconds!r}")


# -- the one of this process ------------------------------------------------------------

_current: Runtime | None = None


def use(runtime: Runtime) -> None:
    """Make ``runtime`` the plugins of this process; done once at its start."""
    global _current
    _current = runtime


def current() -> Runtime:
    if _current is None:
        raise RuntimeError("the plugins of this process were not started")
    return _current
