"""Words in the visitor's language: gettext catalogues read from ``.po`` files at the start.

Message ids are English. ``_("…")`` in Python is lazy: it becomes text in the language of the request (or of
``speaking(locale)`` in a job) when it is shown.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from typing import Any

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from core.web import visit

LOCALES = ("zh_CN", "en")
NAMES = {"zh_CN": "简体中文", "en": "English"}
FOLDER = Path(__file__).parent / "locales"

_catalogues: dict[str, NullTranslations] = {locale: NullTranslations() for locale in LOCALES}
_spoken: ContextVar[str | None] = ContextVar("spoken", default=None)


class Text:
    """Text that waits for its language. ``str()`` of it gives the words."""

    __slots__ = ("_make", "message", "values")

    def __init__(self, make: Callable[[], str], message: str = "", values: Mapping[str, Any] | None = None) -> None:
        """``message`` and ``values`` are what it is made of, where it can be kept so."""
        self._make = make
        self.message = message
        self.values = values or {}

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


def load(folders: list[Path]) -> None:
    """Read every catalogue anew; the first folder that knows a message wins."""
    for locale in LOCALES:
        merged = NullTranslations()
        for folder in reversed(folders):
            source = folder / locale / "LC_MESSAGES" / "messages.po"
            if source.is_file():
                one = _compiled(source, locale)
                one.add_fallback(merged)
                merged = one
        _catalogues[locale] = merged


def _compiled(source: Path, locale: str) -> GNUTranslations:
    with source.open("rb") as file:
        catalogue = read_po(file, locale=locale)
    binary = BytesIO()
    write_mo(binary, catalogue)
    binary.seek(0)
    return GNUTranslations(binary)


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
    """A text kept in English, as the reader knows it. Templates must not do this: ``_()`` there trusts its text."""
    return gettext(stored) if stored else ""


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


def source(text: object) -> str:
    """A text as the code writes it: what is stored, to be said in the language of whoever reads it later."""
    with speaking("en"):
        return str(text)


def kept(text: Text | str) -> dict[str, Any]:
    """A text with its values, to be stored as JSON and said by :func:`told` in the language of its reader."""
    if not isinstance(text, Text) or not text.message:
        return {"text": source(text)}
    values = {name: _kept_value(value) for name, value in text.values.items()}
    stored = {"text": text.message, "values": values}
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
    values = stored.get("values")
    if not values:
        return in_language(stored["text"])
    said = {name: told(value) if isinstance(value, dict) else value for name, value in values.items()}
    return in_language(stored["text"]) % said


def ngettext(one: str, many: str, number: int, **values: Any) -> Text:
    return Text(lambda: ngettext_now(one, many, number) % {"num": number, **values})


def known(name: str | None) -> str | None:
    """Our name of a locale (``zh_CN``) for any spelling of it (``zh-cn``, ``zh-Hans-CN``, ``en-GB``)."""
    if not name:
        return None
    wanted = name.replace("-", "_").lower()
    language = wanted.split("_", 1)[0]
    for ours in LOCALES:
        if wanted == ours.lower() or language == ours.split("_", 1)[0].lower():
            return ours
    return None


@functools.lru_cache(maxsize=1024)
def accepted(header: str) -> str | None:
    """The best of our languages for an Accept-Language header."""
    ranked = []
    for index, item in enumerate(header[:500].split(",")):
        match = re.fullmatch(r"\s*([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*(?:;\s*q=([01](?:\.\d{0,3})?))?\s*", item)
        if match:
            ranked.append((-float(match[2] or 1), index, match[1]))
    for weight, _index, name in sorted(ranked):
        ours = known(name)
        if weight < 0 and ours:
            return ours
    return None


@functools.lru_cache(maxsize=8)
def babel(name: str) -> Locale:
    return Locale.parse(name)


def html_lang(name: str) -> str:
    return {"zh_CN": "zh-CN"}.get(name, name)
