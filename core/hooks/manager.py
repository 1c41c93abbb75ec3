"""Load plugins and call their hooks, so that one bad plugin cannot take the shop down.

pluggy finds out who implements what and checks the signatures. It does not call: it cannot await, it loses all
results when one plugin raises, and its order is that of loading.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import re
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from core import clock
from core.config import SetupProblem
from core.hooks import specs as the_specs
from core.hooks.answers import Refusal
from core.hooks.context import PluginContext
from core.hooks.manifest import Installed, Manifest, Source
from core.hooks.pages import Mounted
from core.hooks.plugin import Plugin
from core.tasks import strangers_code
from core.web.i18n import Text, _

log = logging.getLogger("vouchsafe.hooks")

COLLECT_SECONDS = 5.0
ASK_SECONDS = 5.0
NOTIFY_SECONDS = 30.0
KEY = re.compile(r"[a-z][a-z0-9_-]{0,39}")

WAY_OUT = "Only one of them can be on; VOUCHSAFE_PLUGINS=none starts the shop so that one can be switched off."


class State(StrEnum):
    ACTIVE = "active"
    FAILED = "failed"
    DISABLED = "disabled"
    NEEDS_SETTINGS = "needs_settings"
    INCOMPATIBLE = "incompatible"
    TEST_MODE_ONLY = "test_mode_only"


class TwoOwners(SetupProblem):
    """Two plugins deliver the same key. Nobody but the operator can say which one is meant."""


class NoSuchHook(Exception):
    """The name is not in the list of hooks."""


class NotReady(Exception):
    """The plugin cannot work before its settings are filled in; the text says what is missing."""

    def __init__(self, reason: Text | str) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Unusable(Exception):
    """The plugin's package is not what it should be."""


@dataclass(slots=True)
class Failures:
    """How often one hook of one plugin failed in this process, and how the last time."""

    count: int
    last: str
    at: datetime


@dataclass
class Loaded:
    """One plugin as the machine sees it, working or not."""

    id: str
    folder: Path
    title: Mapping[str, str]
    manifest: Manifest | None = None
    state: State = State.DISABLED
    reason: Text | str = ""
    plugin: Plugin | None = None
    context: PluginContext[Any] | None = None
    mounted: Mounted | None = None
    digest: str = ""
    """Of its files as they were when they were first imported."""
    module: str = ""
    source: Source = "shop"
    failures: dict[str, Failures] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivered:
    """One object from a ``register_*`` hook and the plugin it came from."""

    item: Any
    plugin: str


def way_of(hook: str) -> str:
    """``collect``, ``ask`` or ``notify``, told by the hook's name."""
    if hook.startswith("register_"):
        return "collect"
    return "ask" if hook.startswith("check_") else "notify"


def hooks_in(hookspecs: ModuleType) -> list[str]:
    """The hooks of a module of specifications, in the order they are written."""
    return [name for name, value in vars(hookspecs).items() if hasattr(value, f"{the_specs.PROJECT}_spec")]


MakeContext = Callable[[str, Manifest, Plugin], PluginContext[Any]]
Accept = Callable[[str, Any], None]


class Manager:
    """The plugins of one process. ``load`` and ``collect`` once, then ``ask`` and ``notify``."""

    def __init__(
        self,
        hookspecs: ModuleType = the_specs,
        failures: dict[str, dict[str, Failures]] | None = None,
        ask_seconds: float = ASK_SECONDS,
    ) -> None:
        """``failures`` are counted on in, so that they outlive a manager that is made anew."""
        self.hooks = hooks_in(hookspecs)
        self.plugins: dict[str, Loaded] = {}
        self._failures = {} if failures is None else failures
        self._ask_seconds = ask_seconds
        self._pm = pluggy.PluginManager(the_specs.PROJECT)
        self._pm.add_hookspecs(hookspecs)

    # -- loading ------------------------------------------------------------------------

    def add(self, installed: Installed, state: State, reason: Text | str = "") -> Loaded:
        """Know of a plugin without running it."""
        loaded = Loaded(installed.id, installed.folder, installed.title, installed.manifest, state, reason)
        loaded.module, loaded.source = installed.module, installed.source
        loaded.failures = self._failures.setdefault(loaded.id, {})
        self.plugins[loaded.id] = loaded
        return loaded

    def load(self, installed: Installed, core_version: str, make_context: MakeContext) -> Loaded:
        """Import a plugin and take in its hooks; whatever it does wrong becomes its state and reason."""
        manifest = installed.manifest
        if manifest is None:
            return self.add(installed, State.FAILED, installed.problem)
        if manifest.api != the_specs.API:
            return self.add(
                installed,
                State.INCOMPATIBLE,
                _("It needs plugin api %(wanted)d; this shop has %(here)d.", wanted=manifest.api, here=the_specs.API),
            )
        if not manifest.works_with(core_version):
            return self.add(
                installed,
                State.INCOMPATIBLE,
                _("It needs a shop of version %(core)s; this one is %(here)s.", core=manifest.core, here=core_version),
            )
        loaded = self.add(installed, State.ACTIVE)
        try:
            loaded.plugin = imported(installed)
            self._take_in(loaded)
            loaded.context = make_context(loaded.id, manifest, loaded.plugin)
        except NotReady as missing:
            self._pm.unregister(name=loaded.id)
            loaded.state, loaded.reason = State.NEEDS_SETTINGS, missing.reason
        except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything at import
            self.set_aside(loaded, error)
        return loaded

    def _take_in(self, loaded: Loaded) -> None:
        plugin = loaded.plugin
        unmarked = [name for name in self.hooks if hasattr(plugin, name) and not _is_hook(getattr(plugin, name))]
        if unmarked:
            raise _Unusable(f"{', '.join(unmarked)} lacks @hookimpl")
        self._pm.register(plugin, name=loaded.id)
        for caller in self._pm.get_hookcallers(plugin) or ():
            if not caller.has_spec():
                raise _Unusable(f"there is no hook called {caller.name}")
            if any(impl.wrapper or impl.hookwrapper for impl in caller.get_hookimpls()):
                raise _Unusable(f"{caller.name} is a wrapper; a plugin may not wrap the hooks of others")

    def set_aside(self, loaded: Loaded, error: BaseException) -> None:
        """A plugin that cannot be used delivers nothing at all."""
        if self._pm.has_plugin(loaded.id):
            self._pm.unregister(name=loaded.id)
        loaded.state, loaded.reason = State.FAILED, _told(error)
        log.error("plugin %s is set aside: %s", loaded.id, loaded.reason, exc_info=error)

    # -- calling ------------------------------------------------------------------------

    async def collect(self, accept: Accept = lambda hook, item: None) -> dict[str, dict[str, Delivered]]:
        """What the plugins deliver: by ``register_*`` hook, then by key.

        ``accept(hook, item)`` may raise to refuse an item. A plugin that fails in one hook delivers nothing
        in any.

        :raises TwoOwners: naming the key and both plugins.
        """
        hooks = [hook for hook in self.hooks if way_of(hook) == "collect"]
        registries: dict[str, dict[str, Delivered]] = {hook: {} for hook in hooks}
        for loaded in self.active():
            try:
                given = {hook: await self._items(hook, loaded, accept) for hook in hooks}
            except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin's mistake of any kind
                self.set_aside(loaded, error)
                continue
            for hook, items in given.items():
                _merge(hook, registries[hook], items, loaded.id)
        return registries

    async def _items(self, hook: str, loaded: Loaded, accept: Accept) -> dict[str, Any]:
        items: dict[str, Any] = {}
        impl = self._implementation(hook, loaded.id)
        if impl is None:
            return items
        for item in await _call(impl, {"ctx": loaded.context}, COLLECT_SECONDS) or ():
            key = getattr(item, "key", None)
            if not isinstance(key, str) or not KEY.fullmatch(key):
                raise _Unusable(f"{hook}: {key!r} is not a key (small letters, digits, - and _)")
            if key in items:
                raise _Unusable(f"{hook}: {key!r} is delivered twice")
            accept(hook, item)
            items[key] = item
        return items

    async def ask(self, hook: str, not_these: Container[str] = (), /, **facts: Any) -> None:
        """Let every guard have its say, but for those of the plugins ``not_these``.

        :raises Refusal: the first that came, in the order of plugin ids; also when a guard could not decide.
        """
        self._known(hook, "ask")
        for loaded, impl in self._implementations(hook):
            if loaded.id in not_these:
                continue
            try:
                await _call(impl, {"ctx": loaded.context, **facts}, self._ask_seconds)
            except Refusal:
                raise
            except Exception as error:
                self.count_failure(loaded.id, hook, error)
                raise Refusal(_("This could not be checked just now. Please try again in a moment.")) from error

    async def notify(self, hook: str, plugin: str, **facts: Any) -> bool:
        """Tell one plugin a fact; False when it is not there to hear it. Its failure is counted and raised."""
        self._known(hook, "notify")
        impl = self._implementation(hook, plugin)
        if impl is None:
            return False
        try:
            await _call(impl, {"ctx": self.plugins[plugin].context, **facts}, NOTIFY_SECONDS)
        except Exception as error:
            self.count_failure(plugin, hook, error)
            raise
        return True

    def listeners(self) -> dict[str, tuple[str, ...]]:
        """By fact, the plugins that want to hear it."""
        facts = [hook for hook in self.hooks if way_of(hook) == "notify"]
        return {hook: tuple(loaded.id for loaded, _impl in self._implementations(hook)) for hook in facts}

    def active(self) -> Iterable[Loaded]:
        return [self.plugins[id] for id in sorted(self.plugins) if self.plugins[id].state is State.ACTIVE]

    def count_failure(self, plugin: str, what: str, error: BaseException) -> None:
        failures = self.plugins[plugin].failures
        before = failures[what].count if what in failures else 0
        failures[what] = Failures(before + 1, _told(error), clock.now())
        log.error("plugin %s failed in %s", plugin, what, exc_info=error)

    def _known(self, hook: str, way: str) -> None:
        if hook not in self.hooks or way_of(hook) != way:
            raise NoSuchHook(f"there is no hook to {way} called {hook}")

    def _implementations(self, hook: str) -> list[tuple[Loaded, pluggy.HookImpl]]:
        found = [(loaded, self._implementation(hook, loaded.id)) for loaded in self.active()]
        return [(loaded, impl) for loaded, impl in found if impl is not None]

    def _implementation(self, hook: str, plugin: str) -> pluggy.HookImpl | None:
        impls = getattr(self._pm.hook, hook).get_hookimpls()
        return next((impl for impl in impls if impl.plugin_name == plugin), None)


async def _call(impl: pluggy.HookImpl, facts: Mapping[str, Any], seconds: float) -> Any:
    # asyncio.timeout and not wait_for: in a task of its own, SystemExit would end the whole event loop.
    try:
        async with strangers_code(seconds) as limit:
            answer = impl.function(*(facts[name] for name in impl.argnames))
            return await answer if inspect.isawaitable(answer) else answer
    except TimeoutError as error:
        if limit.expired():
            raise TimeoutError(f"it took longer than {seconds:g} s") from error
        raise


def _merge(hook: str, registry: dict[str, Delivered], items: Mapping[str, Any], plugin: str) -> None:
    for key, item in items.items():
        if key in registry:
            raise TwoOwners(f"{hook}: {key!r} is delivered by both {registry[key].plugin} and {plugin}. {WAY_OUT}")
        registry[key] = Delivered(item, plugin)


def imported(installed: Installed) -> Plugin:
    """The object that the plugin's package offers; the package is forgotten again when there is none."""
    name = installed.module
    before = set(sys.modules)
    try:
        module = importlib.import_module(name) if installed.source == "package" else _module_in(installed)
        plugin = getattr(module, "plugin", None)
        if not isinstance(plugin, Plugin):
            raise _Unusable(f"{name} must end with: plugin = YourPlugin()")
        return plugin
    except BaseException:
        _forget(name, set(sys.modules) - before)
        raise


def _module_in(installed: Installed) -> ModuleType:
    """The package in this very folder, whatever folders Python looks into."""
    name, start = installed.module, installed.folder / "__init__.py"
    known = sys.modules.get(name)
    if known is not None:
        if known.__file__ and Path(known.__file__) == start:
            return known
        _forget(name, sys.modules)
    spec = importlib.util.spec_from_file_location(name, start, submodule_search_locations=[str(installed.folder)])
    if spec is None or spec.loader is None or not start.is_file():
        raise _Unusable("there is no __init__.py in its folder")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _forget(name: str, modules: Iterable[str]) -> None:
    for left in [one for one in modules if one == name or one.startswith(name + ".")]:
        del sys.modules[left]


def _is_hook(method: Any) -> bool:
    return hasattr(method, f"{the_specs.PROJECT}_impl")


def _told(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it tried to end the program (exit {error.code})"
    words = str(error)[:500]
    ours = type(error).__module__.startswith("core.") and words
    return words if ours else f"{type(error).__name__}: {words}"
