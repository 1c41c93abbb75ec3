"""What a merchant may set of a theme: the schema in ``theme.toml``, its values, and the stylesheet made of them.

Nothing a person writes reaches a stylesheet as it came: colours are ``#rrggbb``, numbers are numbers with a unit of the
schema, fonts and choices are names of a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from core.web import colours, i18n
from core.web.i18n import Text, _

KINDS = (
    "text", "textarea", "bool", "int", "range", "select", "color", "font_stack",
    "image", "url", "product", "category", "heading", "note",
)  # fmt: skip
SAID = ("heading", "note")
"""Rows that only say something."""
IN_CSS = ("bool", "int", "range", "select", "color", "font_stack")
UNITS = ("", "px", "rem", "em", "%")
SCHEMES = ("", "dark")
DERIVED = ("strong", "soft", "text")
KEYS = frozenset(
    "id type label help group default min max step unit options css_var scheme derived readable_on show_if translated"
    " max_length hidden".split()
)
ID = re.compile(r"[a-z][a-z0-9_]{0,39}")
CSS_VAR = re.compile(r"--[a-z][a-z0-9-]{0,39}")
CSS_WORD = re.compile(r"-?[a-z0-9][a-z0-9.%-]{0,39}")
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,119}")
LONGEST = {"text": 200, "textarea": 2000, "url": 500}
NOT_IDS = frozenset(dir(dict)) | {"get", "id"}

CJK = '"PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC"'
FONTS: dict[str, tuple[Text, str]] = {
    "system": (_("Plain, as the device has it"), f'system-ui, -apple-system, "Segoe UI", Roboto, {CJK}, sans-serif'),
    "serif": (
        _("With serifs, like a book"),
        'Georgia, "Songti SC", "SimSun", "Noto Serif CJK SC", "Noto Serif SC", serif',
    ),
    "round": (_("Round"), f'ui-rounded, "SF Pro Rounded", "Nunito", "Yuanti SC", {CJK}, sans-serif'),
    "mono": (_("Every sign as wide as the other"), f"ui-monospace, SFMono-Regular, Menlo, Consolas, {CJK}, monospace"),
}

Words = Mapping[str, str]
"""The same text by language: ``{"en": …, "zh-CN": …}``; under an empty name when it is one for all."""


class BadSchema(ValueError):
    """The settings of a theme cannot be used; the message says why."""


class BadValue(ValueError):
    """A value that does not fit its setting; the text is for the merchant."""

    def __init__(self, text: Text) -> None:
        super().__init__(str(text))
        self.text = text


@dataclass(frozen=True, slots=True)
class Setting:
    id: str
    kind: str
    label: Words
    help: Words = field(default_factory=dict)
    group: str = ""
    default: Any = None
    first: Any = None
    """The default where the setting was first declared: what the theme's own files show."""
    low: int = 0
    high: int = 0
    step: int = 1
    unit: str = ""
    options: tuple[tuple[str, Words], ...] = ()
    css_var: str = ""
    scheme: str = ""
    derived: Mapping[str, str] = field(default_factory=dict)
    """Further variables made of this colour: ``strong``, ``soft``, or the ``text`` that is read on it."""
    readable_on: str = ""
    show_if: str = ""
    translated: bool = False
    longest: int = 0
    hidden: bool = False

    @property
    def asks(self) -> bool:
        return self.kind not in SAID


# -- the schema -------------------------------------------------------------------------


def merged(levels: Iterable[Sequence[Mapping[str, Any]]]) -> tuple[Setting, ...]:
    """The settings of a theme. ``levels`` are those of its first ancestor, then of that one's child, and so on: a child
    says only what it changes about a setting it inherits."""
    entries: dict[str, dict[str, Any]] = {}
    first: dict[str, Any] = {}
    for level in levels:
        for entry in level:
            if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), str):
                raise BadSchema("a setting has no id")
            entries[entry["id"]] = {**entries.get(entry["id"], {}), **entry}
            first.setdefault(entry["id"], entry)
    settings = tuple(_setting(entry, first[name]) for name, entry in entries.items())
    switches = {one.id for one in settings if one.kind == "bool"}
    for one in settings:
        if one.show_if and one.show_if not in switches:
            raise BadSchema(f"{one.id}: show_if must name a setting of type bool, not {one.show_if}")
    return settings


def group_names(levels: Iterable[Any]) -> dict[str, Words]:
    """What the groups of the settings are called; ``levels`` as for :func:`merged`."""
    names: dict[str, Words] = {}
    for level in levels:
        if not isinstance(level, Mapping):
            raise BadSchema("groups are written as [groups]")
        names |= {group: _words(group, name) for group, name in level.items()}
    return names


def _setting(entry: Mapping[str, Any], first: Mapping[str, Any]) -> Setting:
    name = entry["id"]
    if not ID.fullmatch(name) or name in NOT_IDS:
        raise BadSchema(f"{name}: the id is small letters, digits and _, and no word of Python's dictionaries")
    unknown = sorted(entry.keys() - KEYS)
    if unknown:
        raise BadSchema(f"{name}: there is no such key: {', '.join(unknown)}")
    kind = entry.get("type")
    if kind not in KINDS:
        raise BadSchema(f"{name}: type must be one of {', '.join(KINDS)}")
    low, high, step = (_whole(name, entry, key, default) for key, default in (("min", 0), ("max", 100), ("step", 1)))
    one = Setting(
        id=name,
        kind=kind,
        label=_words(name, entry.get("label", name)),
        help=_words(name, entry.get("help", "")),
        group=str(entry.get("group", "")),
        low=low,
        high=high,
        step=step,
        unit=_among(name, entry, "unit", UNITS),
        options=_options(name, entry.get("options", [])),
        css_var=str(entry.get("css_var", "")),
        scheme=_among(name, entry, "scheme", SCHEMES),
        derived=dict(entry.get("derived", {})),
        readable_on=str(entry.get("readable_on", "")),
        show_if=str(entry.get("show_if", "")),
        translated=bool(entry.get("translated", False)),
        longest=min(_whole(name, entry, "max_length", LONGEST.get(kind, 0)), 5000),
        hidden=bool(entry.get("hidden", False)),
    )
    _fits_css(one)
    return replace(one, default=_default(one, entry), first=_default(one, first))


def _default(one: Setting, entry: Mapping[str, Any]) -> Any:
    if not one.asks:
        return None
    given = entry.get("default")
    if given is None:
        given = _empty(one)
    if one.translated and isinstance(given, str):
        given = {"en": given} if given else {}
    try:
        return checked(one, given)
    except BadValue as error:
        with i18n.speaking("en"):
            raise BadSchema(f"{one.id}: the default: {error.text}") from None


def _empty(one: Setting) -> Any:
    match one.kind:
        case "bool":
            return False
        case "int" | "range":
            return one.low
        case "select":
            return one.options[0][0]
        case "color" | "font_stack" | "image":
            return {"color": "#000000", "font_stack": "system", "image": None}[one.kind]
    return ""


def _fits_css(one: Setting) -> None:
    if one.kind == "select" and not one.options:
        raise BadSchema(f"{one.id}: a select needs options")
    if one.translated and one.kind not in ("text", "textarea"):
        raise BadSchema(f"{one.id}: only text can be translated")
    if one.low > one.high or one.step < 1:
        raise BadSchema(f"{one.id}: min, max and step do not fit each other")
    if one.readable_on and not colours.HEX.fullmatch(one.readable_on):
        raise BadSchema(f"{one.id}: readable_on is a colour such as #ffffff")
    names = [one.css_var, *one.derived] if one.css_var or one.derived else []
    if names and one.kind not in IN_CSS:
        raise BadSchema(f"{one.id}: a {one.kind} cannot become a CSS variable")
    if not all(CSS_VAR.fullmatch(name) for name in names):
        raise BadSchema(f"{one.id}: a CSS variable is written like --shop-accent")
    if one.derived and (one.kind != "color" or not set(one.derived.values()) <= set(DERIVED)):
        raise BadSchema(f"{one.id}: derived makes {', '.join(DERIVED)} of a color")
    if one.css_var and any(not CSS_WORD.fullmatch(value) for value, _label in one.options):
        raise BadSchema(f"{one.id}: an option that becomes a CSS value is one word or number")


def _words(name: str, given: Any) -> Words:
    if isinstance(given, str):
        return {"": given} if given else {}
    if isinstance(given, Mapping) and all(isinstance(text, str) for text in given.values()):
        return dict(given)
    raise BadSchema(f"{name}: label, help and the name of a group are texts, or one text for each language")


def _whole(name: str, entry: Mapping[str, Any], key: str, default: int) -> int:
    value = entry.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadSchema(f"{name}: {key} is a whole number")
    return value


def _among(name: str, entry: Mapping[str, Any], key: str, known: Sequence[str]) -> str:
    value = str(entry.get(key, ""))
    if value not in known:
        raise BadSchema(f"{name}: {key} must be one of {', '.join(filter(None, known))}")
    return value


def _options(name: str, given: Any) -> tuple[tuple[str, Words], ...]:
    if not isinstance(given, list):
        raise BadSchema(f"{name}: options are a list")
    options = []
    for one in given:
        value, label = (
            (one.get("value"), one.get("label", one.get("value"))) if isinstance(one, Mapping) else (one, one)
        )
        if not isinstance(value, str | int):
            raise BadSchema(f"{name}: each option has a value")
        options.append((str(value), _words(name, label if not isinstance(label, int) else str(label))))
    return tuple(options)


# -- values -----------------------------------------------------------------------------


def checked(one: Setting, value: Any) -> Any:
    """The value as it is kept.

    :raises BadValue: it does not fit the setting.
    """
    match one.kind:
        case "bool" if isinstance(value, bool):
            return value
        case "int" | "range" if isinstance(value, int) and not isinstance(value, bool):
            if not one.low <= value <= one.high or (value - one.low) % one.step:
                raise BadValue(_("A whole number from %(low)s to %(high)s, please.", low=one.low, high=one.high))
            return value
        case "select" if value in dict(one.options):
            return value
        case "font_stack" if value in FONTS:
            return value
        case "color" if isinstance(value, str) and colours.HEX.fullmatch(value.lower()):
            return value.lower()
        case "text" | "textarea":
            return _checked_text(one, value)
        case "url" if isinstance(value, str):
            return _checked_url(one, value)
        case "product" | "category" if value == "" or (isinstance(value, str) and SLUG.fullmatch(value)):
            return value
        case "image":
            return _checked_image(value)
    raise BadValue(WRONG[one.kind])


WRONG: dict[str, Text] = {
    "bool": _("Say yes or no."),
    "int": _("Please enter a whole number."),
    "range": _("Please enter a whole number."),
    "select": _("Please choose one of the values offered."),
    "font_stack": _("Please choose one of the values offered."),
    "color": _("A colour is written like #0a6b4d."),
    "url": _("Write an address such as https://example.com/about or /i/about."),
    "product": _("There is no such product."),
    "category": _("There is no such category."),
    "image": _("This is not a picture we can read. Use PNG, JPEG, WebP, AVIF or GIF."),
    "heading": _("There is no such setting."),
    "note": _("There is no such setting."),
}


def _checked_text(one: Setting, value: Any) -> Any:
    texts = value if isinstance(value, Mapping) and one.translated else {"": value}
    for text in texts.values():
        if not isinstance(text, str) or any(ord(sign) < 32 and sign not in "\t\n\r" for sign in text):
            raise BadValue(_("This contains signs that cannot be used."))
        if len(text) > one.longest:
            raise BadValue(_("At most %(number)s signs, please.", number=one.longest))
        if one.kind == "text" and ("\n" in text or "\r" in text):
            raise BadValue(_("This is one line of text."))
    return {name: text for name, text in texts.items() if text} if one.translated else value


def _checked_url(one: Setting, value: str) -> str:
    parts = urlsplit(value)
    own = value.startswith("/") and not value.startswith("//")
    foreign = parts.scheme in ("http", "https") and parts.hostname and not parts.username
    odd = "\\" in value or any(sign.isspace() or not sign.isprintable() for sign in value)
    if value and (odd or len(value) > one.longest or not (own or foreign)):
        raise BadValue(WRONG["url"])
    return value


PICTURE = re.compile(r"/media/[0-9]{1,18}-[0-9a-f]{16}")


def _checked_image(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Mapping) and value.keys() == {"path", "width", "height"}:
        sizes = all(isinstance(value[name], int) and 0 < value[name] < 10_000 for name in ("width", "height"))
        if sizes and isinstance(value["path"], str) and PICTURE.fullmatch(value["path"]):
            return dict(value)
    raise BadValue(WRONG["image"])


def fitting(settings: Sequence[Setting], stored: Mapping[str, Any]) -> dict[str, Any]:
    """What of stored values the settings of today know and accept."""
    kept = {}
    for one in settings:
        if one.asks and one.id in stored and not one.hidden:
            try:
                value = checked(one, stored[one.id])
            except BadValue:
                continue
            if value != one.default:
                kept[one.id] = value
    return kept


def from_form(one: Setting, texts: Mapping[str, str], languages: Iterable[str] = ()) -> Any:
    """The value of a setting out of the fields of its form, by their names; pictures come another way.

    :raises BadValue: it cannot be used.
    """
    if one.translated:
        return checked(one, {name: _clean(texts.get(f"{one.id}.{name}", "")) for name in languages})
    text = _clean(texts.get(one.id, ""))
    if one.kind == "bool":
        return text == "on"
    if one.kind in ("int", "range"):
        if not re.fullmatch(r"-?[0-9]{1,9}", text):
            raise BadValue(WRONG["int"])
        return checked(one, int(text))
    return checked(one, text)


def _clean(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


# -- in templates -----------------------------------------------------------------------


def shown(settings: Sequence[Setting], stored: Mapping[str, Any]) -> dict[str, Any]:
    """``theme.<id>`` in the language of this moment."""
    values = {}
    for one in settings:
        if one.asks:
            value = stored.get(one.id, one.default)
            values[one.id] = i18n.in_words(value) if one.translated else value
    return values


# -- the stylesheet ---------------------------------------------------------------------


def stylesheet(settings: Sequence[Setting], stored: Mapping[str, Any]) -> str:
    """The CSS variables of everything that is not as the theme has it; empty when all of it is."""
    rules: dict[str, dict[str, str]] = {"": {}, "dark": {}}
    for one in settings:
        value = stored.get(one.id, one.default)
        if one.asks and value != one.first:
            rules[one.scheme].update(_variables(one, value))
    light, dark = (_declared(rules[scheme]) for scheme in SCHEMES)
    text = f":root{{{light}}}\n" if light else ""
    if dark:
        text += f'@media (prefers-color-scheme:dark){{:root:not([data-theme="light"]){{{dark}}}}}\n'
        text += f':root[data-theme="dark"]{{{dark}}}\n'
    return text


def _declared(variables: Mapping[str, str]) -> str:
    return ";".join(f"{name}:{value}" for name, value in variables.items())


def _variables(one: Setting, value: Any) -> dict[str, str]:
    variables = {one.css_var: css_value(one, value)} if one.css_var else {}
    for name, how in one.derived.items():
        variables[name] = derived(value, how, one.scheme)
    return variables


def css_value(one: Setting, value: Any) -> str:
    match one.kind:
        case "bool":
            return "1" if value else "0"
        case "int" | "range":
            return f"{int(value)}{one.unit}"
        case "font_stack":
            return FONTS[value][1]
    return str(value)


def derived(colour: str, how: str, scheme: str) -> str:
    if how == "text":
        return colours.text_on(colour)
    dark = scheme == "dark"
    if how == "strong":
        return colours.mixed(colour, "#ffffff" if dark else "#000000", 0.22)
    return colours.mixed(colour, "#17181a" if dark else "#ffffff", 0.84 if dark else 0.9)


@dataclass(frozen=True, slots=True)
class Hard:
    """A colour that is hard to read where it stands, and the nearest that is not."""

    setting: Setting
    colour: str
    ratio: float
    better: str


def hard_to_read(settings: Sequence[Setting], stored: Mapping[str, Any]) -> list[Hard]:
    found = []
    for one in settings:
        if one.kind == "color" and one.readable_on:
            colour = stored.get(one.id, one.default)
            ratio = colours.contrast(colour, one.readable_on)
            if ratio < colours.READABLE:
                found.append(Hard(one, colour, round(ratio, 1), colours.readable(colour, one.readable_on)))
    return found
