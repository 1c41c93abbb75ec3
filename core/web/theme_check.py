"""Says what is wrong with a theme before buyers see it: ``server.py check-theme``, and the console's theme page.

Four levels. What is fatal breaks pages, an error breaks the rules every page keeps, a warning will hurt somebody,
advice makes it better. Pages are drawn with stand-ins: things that are anything a template asks of them.
"""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateNotFound, TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2.utils import missing

from core.web import catalogues, colours, i18n, slots, theme_settings
from core.web.catalogues import Domain
from core.web.i18n import Text, _
from core.web.themes import BadTheme, Look, Themes

LEVELS: dict[str, tuple[Text, str]] = {
    "fatal": (_("Fatal"), "bad"),
    "error": (_("Error"), "bad"),
    "warning": (_("Warning"), "warning"),
    "advice": (_("Advice"), "neutral"),
}
CSS_BUDGET, JS_BUDGET = 15_000, 25_000
"""Gzipped, of all a storefront page loads."""
PICTURE_BUDGET, PICTURE_MOST = 200_000, 1_000_000
MOST_IN_GROUP = 20
LANGUAGES = ("en", "zh-CN")

GIVEN = frozenset("visit shop flash loop caller varargs kwargs super self".split())
LAYOUT_BLOCKS = frozenset(
    "title description styles scripts head body_class header announcement main_class main footer".split()
)
LAYOUT_IDS = frozenset(("main", "toasts"))
COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
TAKEN = re.compile(r"\{%-?\s*(?:extends|include|import|from)\s+[\"']([^\"']+)")
MADE_FROM = re.compile(r"\{#\s*from:\s*(\S+)\s+([0-9a-f]{8})\s*#\}")
ID = re.compile(r'\bid="([\w-]+)"')
ASKED_ID = re.compile(r"[\"': ]#([a-z][\w-]*)")
LOADS = r"<(?:script|img|link|iframe|source|video|audio|object|embed)\b[^>]*\b(?:src|href|data|srcset)\s*=\s*"
NO_CODE = _("Code in the page: browsers will not run it.")
FORBIDDEN: tuple[tuple[str, re.Pattern[str], Text], ...] = (
    ("inline-handler", re.compile(r"<[^>]*\son[a-z]+\s*=", re.I), NO_CODE),
    ("hx-on", re.compile(r"hx-on[:\w-]*\s*=|hx-live", re.I), NO_CODE),
    ("js-value", re.compile(r"[\"'\s](js|javascript):", re.I), NO_CODE),
    ("trigger-filter", re.compile(r"hx-trigger\s*=\s*\"[^\"]*\[", re.I), NO_CODE),
    ("inline-script", re.compile(r"<script(?![^>]*\ssrc=)(?![^>]*ld\+json)[^>]*>", re.I), NO_CODE),
    (
        "inline-style",
        re.compile(r"\sstyle\s*=\s*[\"']|<style[\s>]", re.I),
        _("An inline style: write a class."),
    ),
    (
        "remote",
        re.compile(LOADS + r"[\"']?(?:https?:)?//", re.I),
        _("Something is loaded from another site: it is blocked, and would tell that site who buys here."),
    ),
)
FORBIDDEN_IN_CSS = (
    (re.compile(r"@import", re.I), _("@import makes the page wait. Put the file into a bundle.")),
    (re.compile(r"url\(\s*[\"']?(?:https?:)?//", re.I), _("Something is loaded from another site: it is blocked.")),
    (re.compile(r"expression\s*\(|behavior\s*:|-moz-binding", re.I), _("Code in a stylesheet.")),
)
FORBIDDEN_IN_JS = (
    (re.compile(r"\beval\s*\(|new\s+Function\s*\("), _("Code made of text is blocked.")),
    (re.compile(r"\b(?:local|session)Storage\b|indexedDB"), _("Nothing of a page may stay in the browser's storage.")),
    (re.compile(r"[\"'`](?:https?:)?//[\w.-]+\.\w"), _("A script speaks to another site: it is blocked.")),
)


@dataclass(frozen=True, slots=True)
class Finding:
    level: str
    code: str
    where: str
    text: Text | str


@dataclass(slots=True)
class Report:
    theme: str
    findings: list[Finding] = field(default_factory=list)
    overridden: list[str] = field(default_factory=list)
    """Templates that stand in the theme and in what is below it."""
    outdated: list[str] = field(default_factory=list)
    """Those of them that were copied from another version than there is now."""
    drawn: int = 0
    """Pages and parts that were drawn."""

    def add(self, level: str, code: str, where: str, text: Text | str) -> None:
        finding = Finding(level, code, where, text)
        if finding not in self.findings:
            self.findings.append(finding)

    def counts(self) -> dict[str, int]:
        counted = Counter(one.level for one in self.findings)
        return {level: counted[level] for level in LEVELS if counted[level]}

    @property
    def fatal(self) -> bool:
        return any(one.level == "fatal" for one in self.findings)

    @property
    def good(self) -> bool:
        return not any(one.level in ("fatal", "error") for one in self.findings)


_known: dict[tuple[Any, ...], Report] = {}


def remembered(themes: Themes, theme_id: str) -> Report | None:
    """The report of the theme as it stands, when it was made already."""
    return _known.get(_stamp(themes, theme_id))


def checked(themes: Themes, theme_id: str) -> Report:
    """The same, made now if need be; takes a second or two."""
    stamp = _stamp(themes, theme_id)
    if stamp not in _known:
        _known[stamp] = check(themes, theme_id)
    return _known[stamp]


def _stamp(themes: Themes, theme_id: str) -> tuple[Any, ...]:
    files = [path for folder in themes.folders(theme_id) for path in folder.rglob("*") if path.is_file()]
    return (theme_id, len(files), max((path.stat().st_mtime_ns for path in files), default=0))


def check(themes: Themes, theme_id: str) -> Report:
    report = Report(theme_id)
    try:
        look = themes.strict(theme_id)
    except BadTheme as problem:
        report.add("fatal", "manifest", "theme.toml", str(problem))
        return report
    _Check(themes, look, report).run()
    order = list(LEVELS)
    report.findings.sort(key=lambda one: (order.index(one.level), one.where, one.code))
    return report


class _Check:
    def __init__(self, themes: Themes, look: Look, report: Report) -> None:
        self.themes, self.look, self.report = themes, look, report
        self.folder = look.theme.folder
        self.environment = look.environment
        self.own = self._sources(self.folder / "templates")
        self.below = self._below()
        self.trees: dict[str, nodes.Template] = {}

    def _sources(self, folder: Path) -> dict[str, str]:
        return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in sorted(folder.rglob("*.html"))}

    def _below(self) -> dict[str, str]:
        """The templates this theme stands on: of its ancestors, then of the features."""
        found: dict[str, str] = {}
        for folder in reversed(self.environment.template_folders[1:]):
            found.update(self._sources(folder))
        return found

    def run(self) -> None:
        for name, source in self.own.items():
            self._parse(name, source)
            self._forbidden(name, source)
        self._variables()
        for name, tree in self.trees.items():
            self._references(name, tree)
            self._contract(name, tree)
            self._age(name)
        self._settings()
        self._translations()
        self._files()
        self._budget()
        if not self.report.fatal:
            self._draw()

    # -- templates ----------------------------------------------------------------------

    def _parse(self, name: str, source: str) -> None:
        try:
            self.environment.compile(source, name)
            self.trees[name] = self.environment.parse(source, name)
        except TemplateSyntaxError as error:
            self.report.add("fatal", "syntax", f"{name}:{error.lineno}", error.message or "")

    def _forbidden(self, name: str, source: str) -> None:
        text = COMMENT.sub("", source)
        for code, pattern, why in FORBIDDEN:
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                self.report.add("error", code, f"{name}:{line}", why)

    def _variables(self) -> None:
        """What a template reads must be something that its neighbours below are given too."""
        if self.look.theme.inherits is None:
            return
        given: dict[str, set[str]] = {}
        folders = {posixpath.dirname(name) for name in self.trees} | ({""} if self.trees else set())
        for name, source in self.below.items():
            if posixpath.dirname(name) not in folders:
                continue
            try:
                read = meta.find_undeclared_variables(self.environment.parse(source, name))
            except TemplateSyntaxError:
                continue
            given.setdefault(posixpath.dirname(name), set()).update(read)
        for name, tree in self.trees.items():
            known = {*GIVEN, *self.environment.globals, *given.get("", ()), *given.get(posixpath.dirname(name), ())}
            for variable in sorted(meta.find_undeclared_variables(tree) - known):
                self.report.add("error", "variable", name, _("No page is given %(name)s.", name=variable))

    def _references(self, name: str, tree: nodes.Template) -> None:
        for other in meta.find_referenced_templates(tree):
            try:
                if other:
                    self.environment.loader_chain.position(self.environment.join_path(other, name))
            except TemplateNotFound:
                self.report.add("fatal", "template", name, _("There is no template %(name)s.", name=other))
        for called, first in _calls(tree):
            if called == "slot" and first not in slots.PLACES and first not in slots.OWN:
                self.report.add("fatal", "slot", name, _("There is no slot called %(name)s.", name=first))
            if called == "static" and not self.look.static.content(first):
                self.report.add("fatal", "static", name, _("There is no file %(name)s.", name=first))

    def _contract(self, name: str, tree: nodes.Template) -> None:
        """What an override leaves out although pages or plugins count on it."""
        before = self.below.get(name)
        if before is None or self._goes_on(tree):
            return
        source = self.own[name]
        original = self.environment.parse(before, name)
        for slot in sorted(_slots(original) - self._slots_reached(tree)):
            self.report.add("error", "lost-slot", name, _("Plugins show something in the slot %(name)s.", name=slot))
        asked = {found for text in self.below.values() for found in ASKED_ID.findall(text)}
        asked |= LAYOUT_IDS if name == "layout.html" else set()
        for lost in sorted(set(ID.findall(before)) & asked - set(ID.findall(source))):
            self.report.add("error", "lost-id", name, _('Pages look for id="%(name)s".', name=lost))
        if name == "layout.html":
            blocks = {block.name for block in tree.find_all(nodes.Block)}
            for lost in sorted(LAYOUT_BLOCKS - blocks):
                self.report.add("error", "lost-block", name, _("Pages fill the block %(name)s.", name=lost))
        if re.search(r'<form[^>]*method="post"', source) and "csrf" not in source:
            self.report.add("error", "csrf", name, _("A form that posts needs ui.form or ui.csrf_field()."))

    def _goes_on(self, tree: nodes.Template) -> bool:
        return any(other and other.startswith("!") for other in meta.find_referenced_templates(tree))

    def _slots_reached(self, tree: nodes.Template) -> set[str]:
        """The slots of a template and of the theme's own parts that it includes."""
        found, waiting, seen = _slots(tree), [tree], set()
        while waiting:
            for other in meta.find_referenced_templates(waiting.pop()):
                if other and other in self.trees and other not in seen:
                    seen.add(other)
                    found |= _slots(self.trees[other])
                    waiting.append(self.trees[other])
        return found

    def _age(self, name: str) -> None:
        before = self.below.get(name)
        if before is None:
            return
        self.report.overridden.append(name)
        if self._goes_on(self.trees[name]):
            return
        said, now = MADE_FROM.search(self.own[name]), fingerprint(before)
        if said is None:
            why = _("Say what it was copied from, so that you hear of changes: %(line)s", line=from_line(name, before))
            self.report.add("advice", "no-origin", name, why)
        elif said[2] != now:
            self.report.outdated.append(name)
            why = _(
                "Outdated: what it was copied from has changed. Compare, then write: %(line)s",
                line=from_line(name, before),
            )
            self.report.add("warning", "outdated", name, why)

    # -- settings and words -------------------------------------------------------------

    def _settings(self) -> None:
        declared = {one.id: one for one in self.look.settings}
        used = {name: where for where, tree in self._chain_trees() for name in _theme_reads(tree)}
        for name, where in sorted(used.items()):
            if name not in declared:
                self.report.add("fatal", "setting", where, _("There is no setting %(name)s in theme.toml.", name=name))
        mine = {entry["id"] for entry in self.look.theme.says.get("settings", [])}
        css = "\n".join(path.read_text("utf-8") for path in self.look.static.files.values() if path.suffix == ".css")
        switches = {one.show_if for one in self.look.settings}
        for one in (declared[name] for name in sorted(mine)):
            self._labelled(one)
            if one.asks and not one.css_var and one.id not in used and one.id not in switches:
                self.report.add("warning", "unused-setting", one.id, _("No template reads this setting."))
            if one.css_var and f"var({one.css_var}" not in css:
                self.report.add(
                    "warning", "unused-variable", one.id, _("No stylesheet reads %(name)s.", name=one.css_var)
                )
        for group, number in Counter(one.group for one in self.look.settings if one.asks).items():
            if number > MOST_IN_GROUP:
                self.report.add(
                    "advice", "many-settings", group, _("More than %(number)s settings in one group.", number=20)
                )
        for hard in theme_settings.hard_to_read(self.look.settings, {}):
            why = _("%(colour)s is hard to read: %(ratio)s to 1, and it needs %(least)s to 1. %(better)s is readable.",
                    colour=hard.colour, ratio=hard.ratio, least=colours.READABLE, better=hard.better)  # fmt: skip
            self.report.add("warning", "contrast", hard.setting.id, why)

    def _labelled(self, one: theme_settings.Setting) -> None:
        for texts in (one.label, one.help, *(label for _value, label in one.options)):
            missing = [language for language in LANGUAGES if texts and "" not in texts and not texts.get(language)]
            for language in missing:
                self.report.add("warning", "label", one.id, _("A text is missing in %(language)s.", language=language))

    def _chain_trees(self) -> Iterator[tuple[str, nodes.Template]]:
        for theme in self.look.chain:
            for name, source in self._sources(theme.folder / "templates").items():
                try:
                    yield name, self.environment.parse(source, name)
                except TemplateSyntaxError:
                    continue

    def _translations(self) -> None:
        if len(self.trees) < len(self.own):  # what cannot be parsed says nothing
            return
        domain = Domain(self.folder / "locales", (self.folder,), self.look.theme.id)
        for message in catalogues.collected(domain, self.folder.parent):
            text = message.id if isinstance(message.id, str) else message.id[0]
            if not text:
                continue
            own = catalogues.read(domain, "zh_CN").get(message.id, message.context)
            with i18n.speaking("zh_CN"):
                said = i18n.pgettext_now(message.context, text) if message.context else i18n.gettext(text)
                many = i18n.ngettext_now(text, text + " ", 2)
            if said == text and many in (text, text + " ") and not (own and own.string):
                where = message.locations[0][0] if message.locations else "locales"
                self.report.add("warning", "translation", where, _("Not in Chinese: %(text)s", text=text))

    # -- files --------------------------------------------------------------------------

    def _files(self) -> None:
        static = self.folder / "static"
        for path in sorted(one for one in static.rglob("*") if one.is_file()):
            name, size = path.relative_to(static).as_posix(), path.stat().st_size
            if path.suffix in (".css", ".js") and "vendor/" not in name:
                rules = FORBIDDEN_IN_CSS if path.suffix == ".css" else FORBIDDEN_IN_JS
                text = re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL)
                for pattern, why in rules:
                    if pattern.search(text):
                        self.report.add("error", "static-code", name, why)
            elif path.suffix == ".svg" and re.search(r"<script|\son\w+=|javascript:", path.read_text("utf-8"), re.I):
                self.report.add("error", "static-code", name, _("A picture with a script in it."))
            elif path.suffix in (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".svg") and size > PICTURE_BUDGET:
                level = "error" if size > PICTURE_MOST else "warning"
                self.report.add(level, "picture", name, _("%(size)s KB: make it smaller.", size=size // 1000))
            elif path.suffix in (".woff", ".woff2", ".ttf", ".otf"):
                self.report.add("advice", "font", name, _("A font keeps phones waiting; those of the device do not."))

    def _budget(self) -> None:
        for suffix, most, bundle in ((".css", CSS_BUDGET, "shop.css"), (".js", JS_BUDGET, "shop.js")):
            files = list(self.look.static.content(bundle))
            own = self.folder / "static"
            files += [path for path in sorted(own.rglob(f"*{suffix}")) if path not in files]
            size = len(gzip.compress(b"\n".join(path.read_bytes() for path in files), 9))
            if size > most:
                why = _("%(size)s bytes gzipped, %(most)s are allowed.", size=size, most=most)
                self.report.add("error", "budget", suffix.lstrip("."), why)

    # -- drawing ------------------------------------------------------------------------

    def _draw(self) -> None:
        """Whatever can be drawn without this theme must be drawn with it."""
        mine = _Studio(self.themes.fresh(self.look.theme.id))
        parent = self.look.theme.inherits
        without = _Studio(self.themes.fresh(parent)) if parent else None
        for name in self._of_the_storefront():
            for full in (True, False):
                if without and name in self.below and without.draw(name, full) is None:
                    continue
                drawn = mine.draw(name, full)
                if drawn is not None:
                    self.report.drawn += full
                    self._drawn(name, drawn)
                elif name in self.below and without:
                    self.report.add("fatal", "draw", name, mine.why)

    def _of_the_storefront(self) -> list[str]:
        """What this theme has a part in: its own templates, and those that take in one of them."""
        sources = {**self.below, **self.own}
        takes = {name: {other.lstrip("!") for other in TAKEN.findall(source)} for name, source in sources.items()}
        touched, console = set(self.own), {name for name, others in takes.items() if others - sources.keys()}
        for found in (touched, console):
            while more := {name for name, others in takes.items() if name not in found and others & found}:
                found |= more
        return sorted(touched - console)

    def _drawn(self, name: str, html: str) -> None:
        if name not in self.own:
            return
        page = _Html()
        page.feed(html)
        for tag in page.open:
            self.report.add("warning", "unclosed", name, _("<%(tag)s> is never closed.", tag=tag))


class _Studio:
    """Draws templates of a look with stand-ins."""

    def __init__(self, look: Look) -> None:
        self.environment = look.environment
        self.why = ""
        self._getitem, self._get_template = self.environment.getitem, self.environment.get_template
        self.environment.getitem = self._item  # type: ignore[method-assign]
        self.environment.get_template = self._template  # type: ignore[method-assign]
        kept = {"in_words", "pairs"}
        for name in list(self.environment.filters):
            if name in OURS and name not in kept:
                self.environment.filters[name] = _said
        self.environment.globals.update(
            slot=lambda *_given: "", slot_columns=lambda *_given: None, csrf=lambda: "token", once=lambda: "once",
            nav=dict, query=_said, here=Thing(True), html_lang=_said, html_attributes=_said,
            ngettext=_said, npgettext=_said,
        )  # fmt: skip

    def _item(self, obj: Any, argument: Any) -> Any:
        """A stand-in as a key finds what stands first."""
        if isinstance(argument, Thing) and isinstance(obj, dict) and obj:
            return next(iter(obj.values()))
        return self._getitem(obj, argument)

    def _template(self, name: Any, parent: str | None = None, globals: Any = None) -> Template:
        """One whose name was put together from a stand-in is empty."""
        if isinstance(name, str) and name.endswith(("_sample.html", "_.html")):
            return self.environment.from_string("")
        return self._get_template(name, parent, globals)

    def draw(self, name: str, full: bool) -> str | None:
        def anything(hint: Any = None, obj: Any = missing, name: Any = None, exc: Any = UndefinedError) -> Any:
            return Thing(full) if obj is missing and hint is None else StrictUndefined(hint, obj, name, exc)

        self.environment.undefined = anything  # type: ignore[assignment]
        try:
            return self.environment.get_template(name).render()
        except Exception as error:  # noqa: BLE001  whatever a template does wrong, the report says it
            self.why = f"{type(error).__name__}: {error}"[:300]
            return None


OURS = frozenset("seconds money number percent day device moment ago span iso size".split())


def _said(*_given: Any, **_more: Any) -> str:
    return "sample"


class Thing:
    """Whatever a template wants it to be; ``full`` says whether there is something in it."""

    def __init__(self, full: bool) -> None:
        self._full = full

    def __getattr__(self, name: str) -> Thing:
        if name.startswith("_") or name in ("unsafe_callable", "alters_data"):
            raise AttributeError(name)
        return Thing(self._full)

    def __getitem__(self, _name: Any) -> Thing:
        return Thing(self._full)

    def __call__(self, *_given: Any, **_more: Any) -> Thing:
        return Thing(self._full)

    def __iter__(self) -> Iterator[Thing]:
        return iter([Thing(self._full)] * (2 if self._full else 0))

    def __len__(self) -> int:
        return 2 if self._full else 0

    def __bool__(self) -> bool:
        return self._full

    def __str__(self) -> str:
        return "sample" if self._full else ""

    def __index__(self) -> int:
        return 2

    def __int__(self) -> int:
        return 2

    def __contains__(self, _other: Any) -> bool:
        return self._full

    def __eq__(self, _other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0

    def _other_way(self, _other: Any) -> Thing:
        return Thing(self._full)

    def _compared(self, _other: Any) -> bool:
        return self._full

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __floordiv__ = __mod__ = _other_way
    __lt__ = __le__ = __gt__ = __ge__ = _compared


class _Html(HTMLParser):
    VOID = frozenset(
        "area base br col embed hr img input link meta param source track wbr use path circle rect line".split()
    )
    OPTIONAL = frozenset("li p dt dd option tr td th thead tbody tfoot optgroup colgroup html head body".split())

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.VOID | self.OPTIONAL:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            del self.open[len(self.open) - 1 - self.open[::-1].index(tag)]


# -- reading trees ----------------------------------------------------------------------


def _calls(tree: nodes.Template) -> Iterable[tuple[str, str]]:
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.args and isinstance(call.args[0], nodes.Const):
            if isinstance(call.args[0].value, str):
                yield call.node.name, call.args[0].value


def _slots(tree: nodes.Template) -> set[str]:
    return {first for called, first in _calls(tree) if called == "slot"}


def _theme_reads(tree: nodes.Template) -> set[str]:
    return {
        one.attr
        for one in tree.find_all(nodes.Getattr)
        if isinstance(one.node, nodes.Name) and one.node.name == "theme"
    }


def fingerprint(source: str) -> str:
    """Of what a template says; comments and blanks do not count."""
    return hashlib.sha256(" ".join(COMMENT.sub("", source).split()).encode()).hexdigest()[:8]


def from_line(name: str, source: str) -> str:
    """What an override says in its first line."""
    return f"{{# from: {name} {fingerprint(source)} #}}"
