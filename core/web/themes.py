"""Themes: a chain of folders. What one theme does not have, its parent, then the feature, then core has.

A template says ``{% extends "!layout.html" %}`` for "the same file, next one up the chain"; it counts from
where the file that says it stands, so any number of themes may do it on top of each other.
"""

from __future__ import annotations

import hashlib
import logging
import posixpath
import re
import tomllib
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any

from jinja2 import BaseLoader, FileSystemBytecodeCache, StrictUndefined, TemplateNotFound, nodes
from jinja2.environment import Environment, Template, TemplateModule
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from core.web import theme_settings
from core.web import visit as visits
from core.web.theme_settings import BadSchema, Setting

log = logging.getLogger("vouchsafe.web")

MAX_DEPTH = 5
THEME_ID = re.compile(r"[a-z][a-z0-9_-]{0,39}")
MOST_JUDGED = 4096
API = "1"
COMPILED = "2-%s.cache"
"""Another number when templates are compiled in another way: those in the cache are not used any more."""


class BadTheme(Exception):
    """The theme cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Theme:
    id: str
    name: str
    version: str
    inherits: str | None
    kind: str
    folder: Path
    bundles: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Files that are handed out as one, by its name."""
    says: Mapping[str, Any] = field(default_factory=dict)
    """The whole of ``theme.toml``."""

    @property
    def summary(self) -> Mapping[str, str]:
        said = self.says.get("summary", "")
        return said if isinstance(said, Mapping) else {"": str(said)}


def read_theme(folder: Path) -> Theme:
    manifest = folder / "theme.toml"
    if not manifest.is_file():
        raise BadTheme(f"{folder.name}: there is no theme.toml")
    try:
        facts = tomllib.loads(manifest.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadTheme(f"{folder.name}: theme.toml cannot be read: {error}") from error
    if facts.get("api") != API:
        raise BadTheme(f'{folder.name}: made for another version; theme.toml must say api = "{API}"')
    if facts.get("id") != folder.name or not THEME_ID.fullmatch(folder.name):
        raise BadTheme(f"{folder.name}: id in theme.toml must be the folder's name, in small letters, digits, - and _")
    if not isinstance(facts.get("inherits", ""), str):
        raise BadTheme(f"{folder.name}: inherits names one theme")
    return Theme(
        id=folder.name,
        name=str(facts.get("name", folder.name)),
        version=str(facts.get("version", "0")),
        inherits=facts.get("inherits"),
        kind=str(facts.get("kind", "storefront")),
        folder=folder,
        bundles=facts.get("bundles", {}),
        says=facts,
    )


Roots = Path | Sequence[Path]
"""The folder that themes lie in; of several the first that has the theme counts."""


def roots_of(roots: Roots) -> tuple[Path, ...]:
    return (roots,) if isinstance(roots, Path) else tuple(roots)


def chain_of(roots: Roots, theme_id: str) -> list[Theme]:
    """The theme, its parent, and so on."""
    folders = roots_of(roots)
    chain: list[Theme] = []
    next_id: str | None = theme_id
    while next_id:
        if any(theme.id == next_id for theme in chain):
            raise BadTheme(f"{theme_id}: inherits itself through {chain[-1].id}")
        if len(chain) == MAX_DEPTH:
            raise BadTheme(f"{theme_id}: more than {MAX_DEPTH} themes on top of each other")
        if "/" in next_id or next_id.startswith("."):
            raise BadTheme(f"{theme_id}: {next_id} is not a theme name")
        holding = next((root for root in folders if (root / next_id / "theme.toml").is_file()), folders[0])
        theme = read_theme(holding / next_id)
        chain.append(theme)
        next_id = theme.inherits
    return chain


def settings_of(chain: Sequence[Theme]) -> tuple[Setting, ...]:
    """What may be set of the theme: its ancestors' settings, changed and added to by each heir."""
    levels = [theme.says.get("settings", []) for theme in reversed(chain)]
    try:
        if not all(isinstance(level, list) for level in levels):
            raise BadSchema("settings are written as [[settings]]")
        groups_of(chain)
        return theme_settings.merged(levels)
    except BadSchema as problem:
        raise BadTheme(f"{chain[0].id}: {problem}") from problem


def groups_of(chain: Sequence[Theme]) -> Mapping[str, Mapping[str, str]]:
    """What the groups of its settings are called, those it inherits too."""
    return theme_settings.group_names(theme.says.get("groups", {}) for theme in reversed(chain))


def safe_join(folder: Path, name: str) -> Path | None:
    """The file ``name`` inside ``folder``; None when it leaves the folder or is not there."""
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"):
        return None
    path = folder / name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except OSError:
        return None
    return path if inside and path.is_file() else None


class ChainLoader(BaseLoader):
    """Finds a template in the first folder that has it. ``!2!name`` starts looking at the third folder."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)

    def position(self, name: str) -> tuple[int, Path]:
        start, plain = _split(name)
        for index in range(start, len(self.folders)):
            path = safe_join(self.folders[index], plain)
            if path:
                return index, path
        raise TemplateNotFound(plain)

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        _index, path = self.position(template)
        stamp = path.stat().st_mtime_ns

        def unchanged() -> bool:
            try:
                return path.stat().st_mtime_ns == stamp and self.position(template)[1] == path
            except (OSError, TemplateNotFound):
                return False

        return path.read_text("utf-8"), str(path), unchanged

    def source(self, name: str) -> str:
        return self.position(name)[1].read_text("utf-8")

    def sources(self, name: str) -> list[str]:
        """The template in every folder that has it, for what all of them together do."""
        found = [safe_join(folder, name) for folder in self.folders]
        return [path.read_text("utf-8") for path in found if path]

    def list_templates(self) -> list[str]:
        found: set[str] = set()
        for folder in self.folders:
            found.update(path.relative_to(folder).as_posix() for path in folder.rglob("*.html"))
        return sorted(found)


def _split(name: str) -> tuple[int, str]:
    if not name.startswith("!"):
        return 0, name
    start, _mark, plain = name[1:].partition("!")
    if not start.isdigit() or not plain:
        raise TemplateNotFound(name)
    return int(start), plain


def plugin_of(name: str) -> str:
    """The plugin that a template belongs to: it lies in a folder with the plugin's id; no other folder has a dot."""
    folder, slash, _rest = _split(name)[1].partition("/")
    return folder if slash and "." in folder else ""


class ThemeTemplate(Template):
    def _get_default_module(self, ctx: Context | None = None) -> TemplateModule:
        # Jinja compares the globals of both templates at every import; here all templates have the same.
        if self._module is None:
            self._module = self.make_module()
        return self._module


WORDS = {"_": "plugin_gettext", **{name: f"plugin_{name}" for name in ("gettext", "ngettext", "pgettext", "npgettext")}}


class ThemeEnvironment(ImmutableSandboxedEnvironment):
    template_class = ThemeTemplate

    def __init__(self, chain: ChainLoader, **options: Any) -> None:
        super().__init__(loader=chain, **options)
        self.loader_chain = chain
        self.texts: frozenset[FunctionType] = frozenset()
        """Functions that give a text in the language of the visit; they take the context first."""
        self.plain: frozenset[FunctionType] = frozenset()
        """Other functions of ours that templates call all the time; they take what the template gives them."""
        self._judged: dict[tuple[type, str], bool] = {}

    @property
    def template_folders(self) -> tuple[Path, ...]:
        return self.loader_chain.folders

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        # The sandbox judges by the type of the object alone, and templates read the same attributes all day.
        known = self._judged.get((type(obj), attr))
        if known is None:
            if len(self._judged) >= MOST_JUDGED:
                self._judged.clear()
            known = self._judged[type(obj), attr] = super().is_safe_attribute(obj, attr, value)
        return known

    def call(self, context: Context, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        # Jinja looks at whatever is called from all sides, and copies all variables of a loop for a function that
        # takes the context. Most calls are of macros and of functions of which everything is known.
        first: tuple[Any, ...] = ()
        if type(called) is Macro:
            first = (context.eval_ctx,)
        elif type(called) is FunctionType and called in self.texts:
            first = (context,)
        elif type(called) is not FunctionType or called not in self.plain:
            return super().call(context, called, *args, **kwargs)
        kwargs.pop("_loop_vars", None)
        kwargs.pop("_block_vars", None)
        return called(*first, *args, **kwargs)

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """No template of ours has globals of its own: not in a chain of two they are read in half the time."""
        return {**self.globals, **d} if d else self.globals

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """What a plugin's template says itself is the plugin's; what it takes from other templates is theirs."""
        tree = super()._parse(source, name, filename)
        plugin = plugin_of(name or "")
        for call in tree.find_all(nodes.Call) if plugin else ():
            if isinstance(call.node, nodes.Name) and call.node.name in WORDS:
                call.node.name = WORDS[call.node.name]
                call.args.insert(0, nodes.Const(plugin))
        return tree

    def join_path(self, template: str, parent: str) -> str:
        if not template.startswith("!"):
            return template
        above = self.loader_chain.position(parent)[0] + 1
        return f"!{above}!{template.lstrip('!')}"


def make_environment(folders: Sequence[Path], cache_folder: Path | None, reload: bool) -> ThemeEnvironment:
    bytecode = None
    if cache_folder:
        cache_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        bytecode = FileSystemBytecodeCache(str(cache_folder), COMPILED)
    return ThemeEnvironment(
        ChainLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
        bytecode_cache=bytecode,
        auto_reload=reload,
        trim_blocks=True,
        lstrip_blocks=True,
        cache_size=-1,
    )


class Themes:
    """Every theme in use, each with its template environment and its files."""

    def __init__(
        self,
        root: Roots,
        *,
        template_folders: Sequence[Path],
        static_folders: Sequence[tuple[str, Path]],
        prepare: Callable[[ThemeEnvironment], None],
        cache_folder: Path | None = None,
        reload: bool = False,
        fallback: str = "market",
    ) -> None:
        self._roots = roots_of(root)
        self._template_folders = list(template_folders)
        self._static_folders = list(static_folders)
        self._prepare = prepare
        self._cache_folder = cache_folder
        self._reload = reload
        self._fallback = fallback
        self._looks: dict[str, Look] = {}

    def look(self, theme_id: str) -> Look:
        """The theme ready to draw with; an unknown or broken one is replaced by the default."""
        found = self._looks.get(theme_id)
        if found is None:
            found = self._looks[theme_id] = self._make(theme_id)
        return found

    @property
    def usual(self) -> Look:
        """What stands in for a theme that does not work."""
        return self.look(self._fallback)

    def has(self, theme_id: str) -> bool:
        """Whether there is such a theme, good or broken."""
        return any((root / theme_id / "theme.toml").is_file() for root in self._roots)

    def ready(self, theme_id: str) -> Look | None:
        """The look when it was made already; for names that visitors choose."""
        return self._looks.get(theme_id)

    def _make(self, theme_id: str) -> Look:
        try:
            return self._dressed(theme_id)
        except BadTheme as problem:
            if theme_id == self._fallback:
                raise
            log.warning("theme %s is replaced by %s: %s", theme_id, self._fallback, problem)
            return self.look(self._fallback)

    def _dressed(self, theme_id: str) -> Look:
        chain = chain_of(self._roots, theme_id)
        settings = settings_of(chain)
        templates = [theme.folder / "templates" for theme in chain] + self._template_folders
        environment = make_environment(templates, self._cache_folder, self._reload)
        bundles = {name: parts for theme in reversed(chain) for name, parts in theme.bundles.items()}
        folders = [("", theme.folder / "static") for theme in chain] + self._static_folders
        static = StaticFiles(theme_id, folders, bundles)
        look = Look(chain, environment, static, settings)
        environment.globals.update(static=static.url, theme=Values(look), theme_stylesheet=_stylesheet)
        self._prepare(environment)
        return look

    def strict(self, theme_id: str) -> Look:
        """The theme itself or an error that says why not; for whoever chooses one.

        :raises BadTheme: it cannot be used.
        """
        look = self.look(theme_id)
        return look if look.theme.id == theme_id else self._dressed(theme_id)

    def beside(self, root: Path) -> Themes:
        """The same with one more folder of themes, that comes first."""
        return Themes(
            [root, *self._roots],
            template_folders=self._template_folders,
            static_folders=self._static_folders,
            prepare=self._prepare,
            fallback=self._fallback,
        )

    def fresh(self, theme_id: str) -> Look:
        """The theme with an environment of its own, to try things with."""
        return self._dressed(theme_id)

    def folders(self, theme_id: str) -> list[Path]:
        """Of the theme and its ancestors; of a broken one what can be found."""
        try:
            return [theme.folder for theme in chain_of(self._roots, theme_id)]
        except BadTheme:
            return [root / theme_id for root in self._roots if (root / theme_id).is_dir()]

    def all(self) -> list[Theme]:
        """Every theme that can be read; what is wrong with the others is told by :meth:`broken`."""
        return [found for _folder, found in self._read() if isinstance(found, Theme)]

    def broken(self) -> dict[str, str]:
        return {folder: str(found) for folder, found in self._read() if isinstance(found, BadTheme)}

    def locales(self) -> list[Path]:
        """The catalogues that themes bring along."""
        return [folder for theme in self.all() if (folder := theme.folder / "locales").is_dir()]

    def _read(self) -> Iterator[tuple[str, Theme | BadTheme]]:
        folders = {
            path.parent.name: path.parent for root in reversed(self._roots) for path in root.glob("*/theme.toml")
        }
        for name, folder in sorted(folders.items()):
            try:
                yield name, read_theme(folder)
            except BadTheme as problem:
                yield name, problem


class Values(Mapping[str, Any]):
    """``theme.<id>`` in templates: what the shop of this visit has set, else what the theme has."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def __getitem__(self, name: str) -> Any:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._look.settings)

    def _now(self) -> dict[str, Any]:
        now = visits.current()
        dress = now.dress if now else None
        stored = dress.settings if dress and dress.theme == self._look.theme.id else {}
        return theme_settings.shown(self._look.settings, stored)


def _stylesheet() -> str:
    """The address of what the shop's settings make of the theme; empty when there is nothing to add."""
    now = visits.current()
    return now.dress.stylesheet if now and now.dress else ""


class StaticFiles:
    """Files of a theme chain under one hashed address, so that they may be cached for ever and still find
    each other by relative paths."""

    def __init__(
        self, theme_id: str, folders: Sequence[tuple[str, Path]], bundles: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.files: dict[str, Path] = {}
        for prefix, folder in reversed(folders):
            for path in sorted(folder.rglob("*")):
                if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
                    self.files[posixpath.join(prefix, path.relative_to(folder).as_posix())] = path
        self.bundles = {name: tuple(map(self._part, parts)) for name, parts in (bundles or {}).items()}
        self.hash = self._digest()
        self.base = f"/static/{theme_id}-{self.hash}/"

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for name in sorted(self.files):
            digest.update(name.encode() + b"\0" + self.files[name].read_bytes() + b"\0")
        for name in sorted(self.bundles):
            digest.update(repr((name, [path.name for path in self.bundles[name]])).encode())
        return digest.hexdigest()[:16]

    def _part(self, name: str) -> Path:
        if name not in self.files:
            raise BadTheme(f"there is no static file {name}")
        return self.files[name]

    def content(self, name: str) -> tuple[Path, ...]:
        """The files that are sent under this name, one after the other; none when there is nothing of this name."""
        path = self.files.get(name)
        return (path,) if path else self.bundles.get(name, ())

    def url(self, name: str) -> str:
        if not self.content(name):
            raise BadTheme(f"there is no static file {name}")
        return self.base + name


@dataclass(frozen=True, slots=True)
class Look:
    chain: list[Theme]
    environment: ThemeEnvironment
    static: StaticFiles
    settings: tuple[Setting, ...] = ()

    @property
    def theme(self) -> Theme:
        return self.chain[0]

    def render(self, name: str, context: dict[str, Any]) -> str:
        return self.environment.get_template(name).render(context)

    def place_of(self, error: Exception) -> str:
        """The template and line that failed, the theme's own before those it calls, and the reason."""
        folders = self.environment.template_folders
        called = [
            f"{path.relative_to(folder).as_posix()}:{frame.lineno}"
            for folder in reversed(folders)
            for frame in traceback.extract_tb(error.__traceback__)
            for path in [Path(frame.filename)]
            if path.is_relative_to(folder)
        ]
        return ": ".join((*called[-1:], str(error) or type(error).__name__))
