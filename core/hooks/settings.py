"""A plugin's settings: one frozen model, from which the form in the console is drawn."""

from __future__ import annotations

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


class _Mark:
    """Marks a text as something that has a form field of its own."""


URL = _Mark()


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or any(c.isspace() for c in text):
        raise ValueError(gettext("Write an address such as https://pay.example.com"))
    return text


Url = Annotated[str, AfterValidator(_web_address), URL]
"""A web address with http or https, kept as text."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a setting is shown."""

    title: Text | str
    help: Text | str = ""
    unit: Text | str = ""
    long: bool = False
    choices: Mapping[str, Text | str] | None = None


def setting(
    title: Text | str,
    *,
    help: Text | str = "",
    default: Any = PydanticUndefined,
    unit: Text | str = "",
    long: bool = False,
    choices: Mapping[str, Text | str] | None = None,
    ge: int | None = None,
    le: int | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    pattern: str | None = None,
) -> Any:
    """One setting of a :class:`PluginSettings` model.

    ``title`` is its label and ``help`` the sentence below. Without ``default`` it must be filled in before the
    plugin works. ``unit`` stands behind a number (``seconds``). ``long`` gives a text several lines.
    ``choices`` are the labels for the values of a ``Literal``. The rest are limits.
    """
    limits: dict[str, Any] = {
        "ge": ge,
        "le": le,
        "min_length": min_length,
        "max_length": max_length,
        "pattern": pattern,
        "json_schema_extra": {LOOK: Look(title, help, unit, long, choices)},
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


def fields_of(model: type[PluginSettings]) -> tuple[FormField, ...]:
    """The form of a settings model.

    :raises CannotDraw: for a field without :func:`setting` or of a type no form field fits.
    """
    return tuple(_field(name, info) for name, info in model.model_fields.items())


def _field(name: str, info: FieldInfo) -> FormField:
    extra = info.json_schema_extra
    look = extra.get(LOOK) if isinstance(extra, dict) else None
    if not isinstance(look, Look):
        raise CannotDraw(f'the setting {name} needs: = setting("its label")')
    kind, choices = _kind(name, info, look)
    required = info.is_required()
    default = None if required else info.get_default(call_default_factory=True)
    low, high, longest = (_limit(info, limit) for limit in ("ge", "le", "max_length"))
    return FormField(name, kind, look, required, default, choices, low, high, longest)


def _limit(info: FieldInfo, limit: str) -> int | None:
    return next((getattr(one, limit) for one in info.metadata if getattr(one, limit, None) is not None), None)


def _kind(name: str, info: FieldInfo, look: Look) -> tuple[Kind, tuple[tuple[str, Text | str], ...]]:
    wanted = _without_none(info.annotation)
    if get_origin(wanted) is Literal:
        labels = look.choices or {}
        return Kind.SELECT, tuple((str(value), labels.get(str(value), str(value))) for value in get_args(wanted))
    if wanted is str:
        if URL in info.metadata:
            return Kind.URL, ()
        return (Kind.LONG if look.long else Kind.TEXT), ()
    if get_origin(wanted) in (tuple, list) and get_args(wanted)[0] is str:
        return Kind.LINES, ()
    kinds: dict[Any, Kind] = {Secret: Kind.SECRET, bool: Kind.SWITCH, int: Kind.NUMBER, Money: Kind.MONEY}
    if wanted not in kinds:
        raise CannotDraw(f"the setting {name} has a type that no form field fits: {info.annotation}")
    return kinds[wanted], ()


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        left = [one for one in get_args(annotation) if one is not NoneType]
        if len(left) == 1:
            return left[0]
    return annotation


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
        raise SettingsWrong({str(one["loc"][0]) if one["loc"] else "": _words(one) for one in error.errors()}) from None


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
        case Kind.MONEY:
            try:
                return Money.parse(text, currency)
            except ValueError:
                raise SettingsWrong({field.name: _("Write an amount such as 19.90")}) from None
    return text


def to_text(field: FormField, value: Any) -> str:
    """A value as it stands in its form field. A secret stays out of the form."""
    if value is None or field.kind is Kind.SECRET:
        return ""
    match field.kind:
        case Kind.SWITCH:
            return "on" if value else ""
        case Kind.LINES:
            return "\n".join(value)
        case Kind.MONEY:
            return Money(**value).plain() if isinstance(value, dict) else str(value.plain())
    return str(value)


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
        elif field.kind is Kind.LINES:
            open_ones[field.name] = list(value)
        else:
            open_ones[field.name] = value
    return open_ones, secret


def variable(plugin: str, name: str) -> str:
    """The environment variable that overrides a setting: ``VOUCHSAFE_PAYMENTS_EPAY_KEY``."""
    return f"VOUCHSAFE_{plugin}_{name}".replace(".", "_").upper()
