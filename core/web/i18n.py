"""Words in the visitor's language: gettext catalogues read from ``.po`` files at the start.

Message ids are English. ``_("…")`` in Python is lazy: it becomes text in the language of the request (or of
``speaking(locale)`` in a job) when it is shown.

Every plugin has catalogues of its own. What it says is looked for there, then in the shop's; what the shop says is
never looked for in a plugin's.
"""

from __future__ import annotations

import functools
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from typing import Any

from babel import Locale, UnknownLocaleError

from core.web import compiled_catalogues, visit

log = logging.getLogger("vouchsafe.web")

BUILT_IN = ("zh_CN", "en")
LOCALES = [*BUILT_IN]
"""Every language there is: those of the shop, and those whose folder somebody put beside them."""
NAMES = {"zh_CN": "简体中文", "en": "English"}
LOCALE = re.compile(r"[a-z]{2,3}(_[A-Z][a-z]{3})?(_[A-Z]{2})?")
FOLDER = Path(__file__).parent / "locales"

Catalogues = Mapping[str, NullTranslations]
"""By locale."""

_catalogues: Catalogues = {locale: NullTranslations() for locale in LOCALES}
_of_plugins: dict[str, Catalogues] = {}
_folders: dict[Path, str] = {}
_spoken: ContextVar[str | None] = ContextVar("spoken", default=None)


class Text:
    """Text that waits for its language. ``str()`` of it gives the words."""

    __slots__ = ("_make", "message", "owner", "values")

    def __init__(
        self, make: Callable[[], str], message: str = "", values: Mapping[str, Any] | None = None, owner: str = ""
    ) -> None:
        """``message`` and ``values`` are what it is made of, where it can be kept so. ``owner`` is the plugin, or the
        file, that says it; empty when it is the shop."""
        self._make = make
        self.message = message
        self.values = values or {}
        self.owner = owner

    def __str__(self) -> str:
        return self._make()

    def __repr__(self) -> str:
        return repr(self._make())

    def __format__(self, spec: str) -> str:
        return format(self._make(), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str | Text) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(self._make())

    def __add__(self, other: object) -> str:
        return str(self) + str(other)

    def __radd__(self, other: object) -> str:
        return str(other) + str(self)

    def __bool__(self) -> bool:
        return True


class _Catalogue(GNUTranslations):
    _catalog: dict[Any, str]
    _fallback: NullTranslations | None

    def gettext(self, message: str) -> str:
        # its parent would also give a plural of the same name, which wants a number
        found = self._catalog.get(message)
        if found is not None:
            return found
        return self._fallback.gettext(message) if self._fallback else message


def load(folders: Sequence[Path], plugins: Mapping[str, Path] | None = None) -> None:
    """Read every catalogue anew. ``folders`` hold catalogues; the first that knows a message wins. ``plugins`` are the
    whole folders of plugins, by id."""
    global _catalogues
    plugins = plugins or {}
    _find_languages(folders)
    ours: Catalogues = {locale: NullTranslations() for locale in LOCALES}
    for folder in reversed(folders):
        ours = _read(folder, ours)
    of_plugins = {}
    for plugin, plugin_folder in plugins.items():
        of_plugins[plugin] = _read(plugin_folder / "locales", ours)
        for folder in reversed(folders):
            of_plugins[plugin] = _read(folder, of_plugins[plugin], f"{plugin}.po")
    _catalogues = ours
    _of_plugins.clear()
    _of_plugins.update(of_plugins)
    _folders.clear()
    _folders.update({folder.resolve(): plugin for plugin, folder in plugins.items()})
    _owner.cache_clear()
    accepted.cache_clear()


def _find_languages(folders: Sequence[Path]) -> None:
    """A language is there when one of the folders has a folder of its name with catalogues in it."""
    found = {path.parent.parent.name for folder in folders for path in folder.glob("*/LC_MESSAGES/messages.po")}
    LOCALES[:] = [*BUILT_IN, *sorted(name for name in found - {*BUILT_IN} if _is_locale(name))]
    for name in NAMES.keys() - {*LOCALES}:
        del NAMES[name]
    for name in LOCALES[len(BUILT_IN) :]:
        own = babel(name).get_display_name(name) or name
        NAMES[name] = own[:1].upper() + own[1:]


def _is_locale(name: str) -> bool:
    try:
        if LOCALE.fullmatch(name) and Locale.parse(name):
            return True
    except (UnknownLocaleError, ValueError):
        pass
    log.warning("locales/%s is no language that is known; write it like de or pt_BR", name)
    return False


def _read(folder: Path, behind: Catalogues, file: str = "messages.po") -> Catalogues:
    found = {}
    for locale in LOCALES:
        source = folder / locale / "LC_MESSAGES" / file
        found[locale] = _compiled(source, locale, behind[locale]) if source.is_file() else behind[locale]
    return found


def _compiled(source: Path, locale: str, behind: NullTranslations) -> NullTranslations:
    compiled = _Catalogue(BytesIO(compiled_catalogues.read(source, locale)))
    compiled.add_fallback(behind)
    return compiled


@functools.lru_cache(maxsize=4096)
def _owner(owner: str) -> str:
    """The plugin that a file belongs to; empty when it is none's. A plugin's id stays itself."""
    if owner in _of_plugins:
        return owner
    return next((_folders[folder] for folder in Path(owner).resolve().parents if folder in _folders), "")


def of_plugin(owner: str) -> NullTranslations:
    """The catalogue for what a plugin says, in the language of this moment; the shop's when there is no such plugin."""
    return _of_plugins.get(_owner(owner), _catalogues)[locale()]


def locale() -> str:
    """The language of this moment: set by ``speaking``, else of the request, else English."""
    spoken = _spoken.get()
    if spoken:
        return spoken
    now = visit.current()
    return now.locale if now else "en"


def babel_locale() -> Locale:
    """The same for babel, which would take ten times as long to read the name each time as to write a date."""
    return babel(locale())


@contextmanager
def speaking(chosen: str) -> Iterator[None]:
    """Let everything inside the block be said in ``chosen`` (for mails and jobs)."""
    token = _spoken.set(known(chosen) or "en")
    try:
        yield
    finally:
        _spoken.reset(token)


def in_language(stored: str) -> str:
    """A text kept in English, as the reader knows it. Templates must not do this: ``_()`` there trusts its text.

    Nobody knows any more who said it: it is looked for at the shop first, then at the plugins.
    """
    if not stored:
        return ""
    now = locale()
    known = (catalogues[now].gettext(stored) for catalogues in (_catalogues, *_of_plugins.values()))
    return next((said for said in known if said != stored), stored)


def listed(things: Iterable[object]) -> str:
    """One after the other, with the comma of the reader's language."""
    return gettext(", ").join(map(str, things))


def gettext(message: str) -> str:
    return _catalogues[locale()].gettext(message)


def ngettext_now(one: str, many: str, number: int) -> str:
    return _catalogues[locale()].ngettext(one, many, number)


def pgettext_now(context: str, message: str) -> str:
    return _catalogues[locale()].pgettext(context, message)


def npgettext_now(context: str, one: str, many: str, number: int) -> str:
    return _catalogues[locale()].npgettext(context, one, many, number)


def _(message: str, **values: Any) -> Text:
    return Text(lambda: gettext(message) % values if values else gettext(message), message, values)


def plugin_text(message: str, **values: Any) -> Text:
    """A text of the plugin whose code calls this, in the language of whoever reads it: ``_("Pay %(sum)s", sum=text)``.

    ``str()`` of it gives the words, out of the plugin's own ``locales``, else of the shop's.
    """
    return text_of(str(sys._getframe(1).f_globals.get("__file__", "")), message, **values)


def text_of(owner: str, message: str, /, **values: Any) -> Text:
    """The same for a plugin, or the file of one, that is named."""

    def make() -> str:
        said = of_plugin(owner).gettext(message)
        return said % values if values else said

    return Text(make, message, values, owner)


def source(text: object) -> str:
    """A text as the code writes it: what is stored, to be said in the language of whoever reads it later."""
    with speaking("en"):
        return str(text)


def kept(text: Text | str) -> dict[str, Any]:
    """A text with its values, to be stored as JSON and said by :func:`told` in the language of its reader."""
    if not isinstance(text, Text) or not text.message:
        return {"text": source(text)}
    values = {name: _kept_value(value) for name, value in text.values.items()}
    stored: dict[str, Any] = {"text": text.message, "values": values}
    if text.owner and (plugin := _owner(text.owner)):
        stored["plugin"] = plugin
    try:
        told(stored)
    except (TypeError, ValueError):
        return {"text": source(text)}
    return stored


def _kept_value(value: object) -> Any:
    if isinstance(value, Text):
        return kept(value)
    return value if isinstance(value, int) else source(value)


def told(stored: Mapping[str, Any]) -> str:
    """What :func:`kept` stored, as the reader knows it."""
    plugin, text, values = stored.get("plugin"), stored["text"], stored.get("values")
    words = of_plugin(plugin).gettext(text) if plugin in _of_plugins else in_language(text)
    if not values:
        return words
    return words % {name: told(value) if isinstance(value, dict) else value for name, value in values.items()}


def ngettext(one: str, many: str, number: int, **values: Any) -> Text:
    return Text(lambda: ngettext_now(one, many, number) % {"num": number, **values})


def known(name: str | None) -> str | None:
    """Our name of a locale (``zh_CN``) for any spelling of it (``zh-cn``, ``zh-Hans-CN``, ``en-GB``)."""
    if not name:
        return None
    wanted = name.replace("-", "_").lower()
    language = wanted.split("_", 1)[0]
    exact = next((ours for ours in LOCALES if ours.lower() == wanted), None)
    return exact or next((ours for ours in LOCALES if ours.split("_", 1)[0].lower() == language), None)


@functools.lru_cache(maxsize=1024)
def accepted(header: str) -> str | None:
    """The best of our languages for an Accept-Language header."""
    ranked = []
    for index, item in enumerate(header.split(",")):
        match = re.fullmatch(r"\s*([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*(?:;\s*q=([01](?:\.\d{0,3})?))?\s*", item)
        if match:
            ranked.append((-float(match[2] or 1), index, match[1]))
    for weight, _index, name in sorted(ranked):
        ours = known(name)
        if weight < 0 and ours:
            return ours
    return None


@functools.lru_cache(maxsize=32)
def babel(name: str) -> Locale:
    return Locale.parse(name)


def html_lang(name: str) -> str:
    return name.replace("_", "-")


def in_words(texts: Mapping[str, str] | None) -> str:
    """The text of this language out of ``{"zh-CN": …, "en": …}``, else as :func:`any_of` says."""
    texts = texts or {}
    return texts.get(html_lang(locale())) or any_of(texts)


def any_of(texts: Mapping[str, str], usual: str = "") -> str:
    """For readers whose language a text does not have: the shop's ``usual`` one (of the request unless it is said),
    else English, else any."""
    now = visit.current()
    usual = usual or (now.shop.locale if now else "")
    return texts.get(html_lang(usual)) or texts.get("en") or next((text for text in texts.values() if text), "")
