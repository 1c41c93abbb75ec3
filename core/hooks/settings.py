"""A plugin's settings: one frozen model, from which the form in the console is drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from core.money import Money
from core.web.i18n import Text, _, gettext

LOOK = "vouchsafe"


class PluginSettings(BaseModel):
    """Derive to name a plugin's settings, one :func:`setting` each. Frozen; a name it does not know is an error.

    Raise ``settings_version`` when a setting is renamed or means something else, and write :meth:`upgrade`.
    """

    settings_version: ClassVar[int] = 1

    @classmethod
    def upgrade(cls, old: dict[str, Any], from_version: int) -> dict[str, Any]:
        """What was stored by an earlier version, as this one wants it.

        ``old`` are the values as they were stored, secrets in plain text among them. Called whenever older ones are
        read; what it gives is checked and used, and stored only when the settings are saved the next time.
        """
        return old

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False)


class Secret(SecretStr):
    """A key or password: sealed in the database, shown nowhere, told only by :meth:`reveal`."""

    def reveal(self) -> str:
        """The text itself. Use it at once and keep it nowhere."""
        return self.get_secret_value()


@dataclass(frozen=True, slots=True)
class _Mark:
    """Marks a text as something that has a form field of its own."""

    what: str


URL, SKU, PRODUCT, CATEGORY = _Mark("url"), _Mark("sku"), _Mark("product"), _Mark("category")
PICKED = (SKU, PRODUCT, CATEGORY)


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or any(c.isspace() for c in text):
        raise ValueError(gettext("Write an address such as https://pay.example.com"))
    return text


Url = Annotated[str, AfterValidator(_web_address), URL]
"""A web address with http or https, kept as text."""

SkuCode = Annotated[str, SKU]
"""The code of a SKU of this shop; the form offers those that are there and refuses others."""

ProductSlug = Annotated[str, PRODUCT]
"""The product whose page is ``/p/<slug>``."""

CategorySlug = Annotated[str, CATEGORY]
"""The category whose page is ``/c/<slug>``."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a setting is shown."""

    title: Text | str
    help: Text | str = ""
    unit: Text | str = ""
    long: bool = False
    choices: Mapping[str, Text | str] | None = None
    depends: bool = False


def setting(
    title: Text | str,
    *,
    help: Text | str = "",
    default: Any = PydanticUndefined,
    unit: Text | str = "",
    long: bool = False,
    choices: Mapping[str, Text | str] | None = None,
    depends: bool = False,
    ge: int | None = None,
    le: int | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    pattern: str | None = None,
) -> Any:
    """One setting of a :class:`PluginSettings` model.

    ``title`` is its label and ``help`` the sentence below. Without ``default`` it must be filled in before the
    plugin works. ``unit`` stands behind a number (``seconds``). ``long`` gives a text several lines.
    ``choices`` are the labels for the values of a ``Literal``. ``depends`` says that another setting decides
    whether this one is needed, so that it is not marked as optional; a validator of yours tells when it is missing. The
    rest are limits.

    A list of rows is ``tuple[Row, ...]``, where ``Row`` is a :class:`PluginSettings` of its own, without secrets,
    lists and rows in it. An empty row of the form counts as none.
    """
    limits: dict[str, Any] = {
        "ge": ge,
        "le": le,
        "min_length": min_length,
        "max_length": max_length,
        "pattern": pattern,
        "json_schema_extra": {LOOK: Look(title, help, unit, long, choices, depends)},
    }
    return Field(default, **limits)


class Kind(StrEnum):
    TEXT = "text"
    LONG = "long"
    SECRET = "secret"  # noqa: S105  the name of a kind of field
    NUMBER = "number"
    SWITCH = "switch"
    SELECT = "select"
    LINES = "lines"
    MONEY = "money"
    URL = "url"
    CHOICES = "choices"
    PICK = "pick"
    PICKS = "picks"
    ROWS = "rows"


MANY = (Kind.LINES, Kind.CHOICES, Kind.PICKS, Kind.ROWS)
IN_ROWS = (Kind.TEXT, Kind.NUMBER, Kind.SWITCH, Kind.SELECT, Kind.MONEY, Kind.URL, Kind.PICK)


class CannotDraw(Exception):
    """A setting has a type that no form field fits."""


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of the settings form."""

    name: str
    kind: Kind
    look: Look
    required: bool
    default: Any
    choices: tuple[tuple[str, Text | str], ...] = ()
    low: int | None = None
    high: int | None = None
    longest: int | None = None
    pick: str = ""
    """Of what there is to pick: ``sku``, ``product`` or ``category``."""
    columns: tuple[FormField, ...] = ()
    """The fields of one row."""


def fields_of(model: type[PluginSettings]) -> tuple[FormField, ...]:
    """The form of a settings model.

    :raises CannotDraw: for a field without :func:`setting`, of a type no form field fits, or a secret in plain sight.
    """
    return tuple(_field(name, info) for name, info in model.model_fields.items())


def _field(name: str, info: FieldInfo) -> FormField:
    extra = info.json_schema_extra
    look = extra.get(LOOK) if isinstance(extra, dict) else None
    if not isinstance(look, Look):
        raise CannotDraw(f'the setting {name} needs: = setting("its label")')
    wanted, marks = _bare(info.annotation, tuple(info.metadata))
    kind, inner, marks = _kind(name, wanted, marks, look)
    required = info.is_required()
    default = None if required else info.get_default(call_default_factory=True)
    if kind is Kind.SECRET and default is not None:
        raise CannotDraw(
            f"the setting {name} is a secret and has a default; only default=None, which makes it optional"
        )
    low, high, longest = (_limit(info, limit) for limit in ("ge", "le", "max_length"))
    return FormField(
        name=name,
        kind=kind,
        look=look,
        required=required,
        default=default,
        choices=_choices(inner, look) if kind in (Kind.SELECT, Kind.CHOICES) else (),
        low=low,
        high=high,
        longest=longest,
        pick=next((mark.what for mark in PICKED if mark in marks), ""),
        columns=_columns(name, inner) if kind is Kind.ROWS else (),
    )


def _limit(info: FieldInfo, limit: str) -> int | None:
    return next((getattr(one, limit) for one in info.metadata if getattr(one, limit, None) is not None), None)


def _kind(name: str, wanted: Any, marks: tuple[Any, ...], look: Look) -> tuple[Kind, Any, tuple[Any, ...]]:
    """The kind of field, and for lists what they are of."""
    if get_origin(wanted) in (tuple, list):
        inner, inner_marks = _bare(get_args(wanted)[0], ())
        kind = _kind_of_list(inner, inner_marks)
        if kind is not None:
            return kind, inner, inner_marks
    elif get_origin(wanted) is Literal:
        return Kind.SELECT, wanted, marks
    elif wanted is str:
        if any(mark in marks for mark in PICKED):
            return Kind.PICK, wanted, marks
        return (Kind.URL if URL in marks else Kind.LONG if look.long else Kind.TEXT), wanted, marks
    kinds: dict[Any, Kind] = {Secret: Kind.SECRET, bool: Kind.SWITCH, int: Kind.NUMBER, Money: Kind.MONEY}
    if wanted not in kinds:
        raise CannotDraw(f"the setting {name} has a type that no form field fits: {wanted}")
    return kinds[wanted], wanted, marks


def _kind_of_list(inner: Any, marks: tuple[Any, ...]) -> Kind | None:
    if inner is str:
        return Kind.PICKS if any(mark in marks for mark in PICKED) else Kind.LINES
    if get_origin(inner) is Literal:
        return Kind.CHOICES
    return Kind.ROWS if isinstance(inner, type) and issubclass(inner, PluginSettings) else None


def _choices(literal: Any, look: Look) -> tuple[tuple[str, Text | str], ...]:
    labels = look.choices or {}
    return tuple((str(value), labels.get(str(value), str(value))) for value in get_args(literal))


def _columns(name: str, row: type[PluginSettings]) -> tuple[FormField, ...]:
    columns = fields_of(row)
    strange = next((one for one in columns if one.kind not in IN_ROWS), None)
    if strange is not None:
        raise CannotDraw(f"the setting {name}: {strange.name} cannot stand in a row")
    if all(one.kind in (Kind.SELECT, Kind.SWITCH) for one in columns):
        raise CannotDraw(f"the setting {name}: a row needs something to write, or nobody can leave it empty")
    return columns


def _bare(annotation: Any, marks: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The type without ``None`` and without what was noted beside it, and these notes."""
    if get_origin(annotation) in (Union, UnionType):
        left = [one for one in get_args(annotation) if one is not NoneType]
        if len(left) == 1:
            return _bare(left[0], marks)
    if get_origin(annotation) is Annotated:
        bare, *notes = get_args(annotation)
        return _bare(bare, (*marks, *notes))
    return annotation, marks


# -- values -----------------------------------------------------------------------------


class SettingsWrong(Exception):
    """Settings that cannot be used: a message for each field."""

    def __init__(self, fields: dict[str, Text | str]) -> None:
        super().__init__(", ".join(sorted(fields)))
        self.fields = fields


def built(model: type[PluginSettings], values: Mapping[str, Any]) -> PluginSettings:
    """The settings with these values.

    :raises SettingsWrong: naming every field that is missing, unknown or wrong.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise SettingsWrong({_where(one["loc"]): _words(one) for one in error.errors()}) from None


def _where(place: tuple[int | str, ...]) -> str:
    """``rows.0.name`` for a field of a row, as in the form; else the name of the setting."""
    if len(place) > 2 and isinstance(place[1], int):
        return ".".join(str(part) for part in place[:3])
    return str(place[0]) if place else ""


class CannotUpgrade(Exception):
    """Stored settings are of another version and cannot be brought to this one."""

    def __init__(self, reason: Text) -> None:
        super().__init__(str(reason))
        self.reason = reason


def upgraded(model: type[PluginSettings], stored: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Stored values as this version of the model wants them.

    :raises CannotUpgrade: a newer version wrote them, or the plugin's own ``upgrade`` failed.
    """
    if version == model.settings_version or not stored:
        return dict(stored)
    if version > model.settings_version:
        words = _(
            "Its settings are of version %(there)d; it knows them up to %(here)d.",
            there=version,
            here=model.settings_version,
        )
        raise CannotUpgrade(words)
    try:
        return dict(model.upgrade(dict(stored), version))
    except (Exception, SystemExit) as error:
        why = f"{type(error).__name__}: {error}"
        raise CannotUpgrade(_("Its settings of before cannot be brought to this version: %(why)s", why=why)) from error


def _words(error: Any) -> Text | str:
    kind, facts = error["type"], error.get("ctx", {})
    match kind:
        case "missing":
            return _("Please fill this in.")
        case "extra_forbidden":
            return _("There is no such setting.")
        case "greater_than_equal":
            return _("This must be %(number)s or more.", number=facts["ge"])
        case "less_than_equal":
            return _("This must be %(number)s or less.", number=facts["le"])
        case "string_too_short" | "too_short":
            return _("At least %(number)s signs, please.", number=facts["min_length"])
        case "string_too_long" | "too_long":
            return _("At most %(number)s signs, please.", number=facts["max_length"])
        case "int_parsing" | "int_type" | "int_from_float":
            return _("Please enter a whole number.")
        case "literal_error":
            return _("Please choose one of the values offered.")
        case "value_error":
            return str(facts["error"])
    return _("This does not look right.")


def from_text(field: FormField, text: str, currency: str) -> Any:
    """What a person wrote into one field, or the environment says, as a value for :func:`built`."""
    text = text.strip()
    match field.kind:
        case Kind.SWITCH:
            return text.lower() in ("on", "true", "yes", "1")
        case Kind.LINES:
            return [line.strip() for line in text.splitlines() if line.strip()]
        case Kind.CHOICES | Kind.PICKS:
            return [one.strip() for one in text.replace(",", "\n").splitlines() if one.strip()]
        case Kind.ROWS:
            return _rows_from_json(field, text)
        case Kind.MONEY:
            try:
                return Money.parse(text, currency)
            except ValueError:
                raise SettingsWrong({field.name: _("Write an amount such as 19.90")}) from None
    return text


def _rows_from_json(field: FormField, text: str) -> list[Any]:
    """Only the environment says rows like this."""
    try:
        rows = json.loads(text)
    except ValueError:
        raise SettingsWrong({field.name: _("Write the rows as JSON.")}) from None
    return rows if isinstance(rows, list) else [rows]


def to_text(field: FormField, value: Any) -> str:
    """A value as it stands in its form field. A secret stays out of the form."""
    if value is None or field.kind is Kind.SECRET:
        return ""
    match field.kind:
        case Kind.SWITCH:
            return "on" if value else ""
        case Kind.LINES | Kind.CHOICES | Kind.PICKS:
            return "\n".join(value)
        case Kind.ROWS:
            return json.dumps(rows_of(field, value), ensure_ascii=False)
        case Kind.MONEY:
            return Money(**value).plain() if isinstance(value, dict) else str(value.plain())
    return str(value)


def rows_of(field: FormField, value: Any) -> list[dict[str, Any]]:
    """The rows of a setting as they are stored."""
    return [one if isinstance(one, dict) else to_store(field.columns, one)[0] for one in value or ()]


def to_store(fields: tuple[FormField, ...], settings: PluginSettings) -> tuple[dict[str, Any], dict[str, str]]:
    """The values that were set, apart from defaults: the open ones, and the secret ones in plain text."""
    open_ones: dict[str, Any] = {}
    secret: dict[str, str] = {}
    for field in fields:
        value = getattr(settings, field.name)
        if field.name not in settings.model_fields_set or value is None:
            continue
        if field.kind is Kind.SECRET:
            secret[field.name] = value.reveal()
        elif field.kind is Kind.MONEY:
            open_ones[field.name] = {"amount": value.amount, "currency": value.currency}
        elif field.kind is Kind.ROWS:
            open_ones[field.name] = rows_of(field, value)
        elif field.kind in MANY:
            open_ones[field.name] = list(value)
        else:
            open_ones[field.name] = value
    return open_ones, secret


def variable(plugin: str, name: str) -> str:
    """The environment variable that overrides a setting: ``VOUCHSAFE_PAYMENTS_EPAY_KEY``."""
    return f"VOUCHSAFE_{plugin}_{name}".replace(".", "_").upper()
