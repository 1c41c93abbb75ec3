"""Filters and functions every template may use: money, dates, numbers, translation, addresses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from types import FunctionType
from typing import Any, cast
from urllib.parse import urlencode

from babel import dates, numbers
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from core import clock
from core.money import Money
from core.web import i18n, languages, once, render
from core.web import visit as visits
from core.web.csrf import FIELD
from core.web.feature import Feature, nav_for
from core.web.i18n import in_words as in_words
from core.web.themes import ThemeEnvironment
from core.web.ways import Ways


def zone() -> Any:
    visit = visits.current()
    return dates.get_timezone(visit.shop.timezone if visit else "UTC")


def money(value: Money) -> str:
    return value.text(i18n.locale())


def number(value: int | float) -> str:
    return numbers.format_decimal(value, locale=i18n.babel_locale())


def percent(value: float) -> str:
    return numbers.format_percent(value, locale=i18n.babel_locale())


def day(value: date | datetime, length: str = "medium") -> str:
    if isinstance(value, datetime):
        value = value.astimezone(zone())
    return dates.format_date(value, length, locale=i18n.babel_locale())


def moment(value: datetime, length: str = "medium") -> str:
    return dates.format_datetime(value, length, tzinfo=zone(), locale=i18n.babel_locale())


def ago(value: datetime) -> str:
    """``3 minutes ago``, ``in 2 hours``."""
    return dates.format_timedelta(value - clock.now(), add_direction=True, locale=i18n.babel_locale())


def span(value: timedelta | int) -> str:
    """A length of time in words; seconds when it is a number."""
    return dates.format_timedelta(value, locale=i18n.babel_locale())


def iso(value: datetime) -> str:
    return value.isoformat(timespec="seconds")


def size(value: int) -> str:
    """Bytes for people."""
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{number(round(value, 1 if unit != 'B' else 0))} {unit}"
        value = value / 1000  # type: ignore[assignment]
    raise AssertionError("unreachable")


def pairs(named: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Choices for a select out of ``{key: text}`` or ``{key: (text, …)}``."""
    return [(key, value[0] if isinstance(value, tuple) else value) for key, value in named.items()]


def seconds(value: timedelta) -> str:
    """A short length of time, exact enough to see who was slow: ``0.4 s``, ``3 min``."""
    number_of = value.total_seconds()
    if number_of < 60:
        return i18n.gettext("%(value)s s") % {"value": number(round(number_of, 2))}
    return span(value)


TICKED = re.compile(r"`([^`]+)`")


def ticks(text: object) -> Markup:
    """What stands between backticks is something to type: a command, a file."""
    return Markup(TICKED.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704  escaped before


BROWSERS = {
    "MicroMessenger": "WeChat",
    "Edg": "Edge",
    "OPR/": "Opera",
    "Firefox/": "Firefox",
    "FxiOS/": "Firefox",
    "Chrome/": "Chrome",
    "CriOS/": "Chrome",
    "Safari/": "Safari",
}
SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS": "macOS",
    "Linux": "Linux",
}
"""By a sign in the name a browser gives itself. The first that is found counts: each also names others."""


def device(agent: str | None) -> str:
    """The browser and system for people to recognise; what is neither stays as it is."""
    agent = agent or ""
    found = [next((name for sign, name in names.items() if sign in agent), None) for names in (BROWSERS, SYSTEMS)]
    return " · ".join(name for name in found if name) or agent or "–"


def query(given: dict[str, Any], **changes: Any) -> str:
    """``?page=2&q=…``: the given values with some changed; None and empty ones fall out."""
    merged = {**given, **changes}
    kept = [(name, value) for name, value in merged.items() if value not in (None, "", [])]
    return "?" + urlencode(kept, doseq=True)


def icons(sprite: str) -> Callable[..., Markup]:
    """``ui.icon(name, label)``: a drawing of the theme's sprite. Called so often that a macro would be slow."""
    silent: dict[str, Markup] = {}

    def draw(name: str, said: str) -> Markup:
        name = escape(name)
        return Markup(  # noqa: S704  name and label are escaped, the rest is ours
            f'<svg class="icon icon-{name}" width="20" height="20" {said} focusable="false">'
            f'<use href="{sprite}#{name}"></use></svg>'
        )

    def icon(name: str, label: object = None) -> Markup:
        if label:
            return draw(name, f'role="img" aria-label="{escape(str(label))}"')
        found = silent.get(name)
        if found is None:
            found = silent[name] = draw(name, 'aria-hidden="true"')
        return found

    return icon


def attributes(values: Mapping[str, Any]) -> Markup:
    """``name="value"`` for each; True gives the bare name, None and False nothing."""
    written = []
    for name, value in values.items():
        if value is True:
            written.append(f" {escape(name)}")
        elif value is not None and value is not False:
            written.append(f' {escape(name)}="{escape(str(value))}"')
    return Markup("".join(written))  # noqa: S704  every part is escaped


def _shown(context: Context, text: str, values: dict[str, Any]) -> str:
    said = Markup(text) if context.eval_ctx.autoescape else text  # noqa: S704  catalogues are trusted
    return said % values if values or "%" in text else said


def _counted(num: int) -> int | str:
    return num if -1000 < num < 1000 else number(num)


@pass_context
def _gettext(context: Context, message: str, /, **values: Any) -> str:
    return _shown(context, i18n.gettext(message), values)


@pass_context
def _ngettext(context: Context, one: str, many: str, num: int, /, **values: Any) -> str:
    return _shown(context, i18n.ngettext_now(one, many, num), {"num": _counted(num), **values})


@pass_context
def _pgettext(context: Context, meaning: str, message: str, /, **values: Any) -> str:
    return _shown(context, i18n.pgettext_now(meaning, message), {"context": meaning, **values})


@pass_context
def _npgettext(context: Context, meaning: str, one: str, many: str, num: int, /, **values: Any) -> str:
    said = i18n.npgettext_now(meaning, one, many, num)
    return _shown(context, said, {"context": meaning, "num": _counted(num), **values})


@pass_context
def plugin_gettext(context: Context, plugin: str, message: str, /, **values: Any) -> str:
    return _shown(context, i18n.of_plugin(plugin).gettext(message), values)


@pass_context
def plugin_ngettext(context: Context, plugin: str, one: str, many: str, num: int, /, **values: Any) -> str:
    return _shown(context, i18n.of_plugin(plugin).ngettext(one, many, num), {"num": _counted(num), **values})


@pass_context
def plugin_pgettext(context: Context, plugin: str, meaning: str, message: str, /, **values: Any) -> str:
    return _shown(context, i18n.of_plugin(plugin).pgettext(meaning, message), {"context": meaning, **values})


@pass_context
def plugin_npgettext(
    context: Context, plugin: str, meaning: str, one: str, many: str, num: int, /, **values: Any
) -> str:
    said = i18n.of_plugin(plugin).npgettext(meaning, one, many, num)
    return _shown(context, said, {"context": meaning, "num": _counted(num), **values})


TEXTS: dict[str, Any] = {
    "_": _gettext,
    "gettext": _gettext,
    "ngettext": _ngettext,
    "pgettext": _pgettext,
    "npgettext": _npgettext,
    "plugin_gettext": plugin_gettext,
    "plugin_ngettext": plugin_ngettext,
    "plugin_pgettext": plugin_pgettext,
    "plugin_npgettext": plugin_npgettext,
}


def prepare(
    environment: ThemeEnvironment, features: Sequence[Feature], slots: render.Slots, more: render.More = tuple
) -> None:
    """``more`` are the features that come and go while the shop runs."""
    environment.newstyle_gettext = True  # type: ignore[attr-defined]
    environment.globals.update(TEXTS)
    environment.texts = frozenset(TEXTS.values())
    environment.filters.update(
        in_words=in_words,
        pairs=pairs,
        seconds=seconds,
        ticks=ticks,
        money=money,
        number=number,
        percent=percent,
        day=day,
        device=device,
        moment=moment,
        ago=ago,
        span=span,
        iso=iso,
        from_iso=datetime.fromisoformat,
        size=size,
    )
    static = cast("Callable[[str], str]", environment.globals["static"])
    draw_icon = icons(static("img/icons.svg"))
    environment.globals.update(
        csrf=render.csrf_token,
        draw_icon=draw_icon,
        html_attributes=attributes,
        CSRF_FIELD=FIELD,
        once=once.once,
        slot=partial(slots.fill, environment),
        slot_columns=partial(slots.columns, environment),
        nav=partial(_nav, features, more),
        opens=Ways(features).opens,
        query=query,
        here=visits.current,
        html_lang=i18n.html_lang,
        LANGUAGES=i18n.NAMES,
        languages_offered=languages.offered,
    )
    plain = (render.csrf_token, draw_icon, attributes, once.once, query, visits.current, i18n.html_lang)
    environment.plain = frozenset(cast("FunctionType", each) for each in plain)


def _nav(features: Sequence[Feature], more: render.More) -> dict[str, Any]:
    visit = visits.current()
    session = visit.session if visit else None
    return nav_for([*features, *more()], session.may if session else lambda _right: False)
