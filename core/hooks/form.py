"""The settings form of one plugin: what it shows, and what somebody sent with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from core.hooks import store
from core.hooks.manager import Loaded
from core.hooks.runtime import Runtime
from core.hooks.settings import (
    MANY,
    CannotUpgrade,
    FormField,
    Kind,
    PluginSettings,
    SettingsWrong,
    built,
    fields_of,
    from_text,
    rows_of,
    to_store,
    to_text,
    upgraded,
    variable,
)
from core.hooks.store import Row
from core.vault.cipher import DecryptError
from core.web.i18n import Text


@dataclass(frozen=True, slots=True)
class Sent:
    """What came with the form, by setting. ``forget`` names the secrets to be taken out."""

    texts: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    forget: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Shown:
    """One field of the page. ``decided_by`` names the environment variable that overrides it.

    ``many`` are the values of a field that can have several, ``rows`` the fields of each row of a list.
    """

    field: FormField
    text: str
    decided_by: str
    kept: bool
    many: tuple[str, ...] = ()
    rows: tuple[tuple[Shown, ...], ...] = ()


class SettingsForm:
    """The settings of a plugin as they are stored now."""

    def __init__(self, runtime: Runtime, loaded: Loaded, row: Row) -> None:
        if loaded.plugin is None or loaded.plugin.Settings is None:
            raise ValueError(f"{loaded.id} has no settings")
        self.model: type[PluginSettings] = loaded.plugin.Settings
        self.fields = fields_of(self.model)
        self._plugin = loaded.id
        self._currency = runtime.facts.currency
        self._stored, self._secrets = self._kept(row)
        try:
            self._overrides = runtime.overrides(loaded.id, self.fields, self._currency)
        except SettingsWrong as wrong:
            self._overrides = dict.fromkeys(wrong.fields)

    def _kept(self, row: Row) -> tuple[dict[str, Any], dict[str, str]]:
        """The open and the secret values of before, as this version of the settings wants them where that works."""
        secrets = _opened(self._plugin, row)
        try:
            values = upgraded(self.model, {**row.settings, **secrets}, row.version)
        except CannotUpgrade:
            return dict(row.settings), secrets
        hidden = {one.name for one in self.fields if one.kind is Kind.SECRET}
        return (
            {name: value for name, value in values.items() if name not in hidden},
            {name: value for name, value in values.items() if name in hidden},
        )

    def shown(self, sent: Sent | None = None) -> list[Shown]:
        return [self._shown(one, sent) for one in self.fields]

    def _shown(self, one: FormField, sent: Sent | None) -> Shown:
        if one.name in self._overrides:
            text = to_text(one, self._overrides[one.name])
        elif sent is not None and one.kind in (Kind.CHOICES, Kind.PICKS):
            return Shown(one, "", "", kept=False, many=tuple(_several(one, sent)))
        elif sent is not None and one.kind is Kind.ROWS:
            return Shown(one, "", "", kept=False, rows=_shown_rows(one, _sent_rows(one, sent)))
        elif sent is not None and one.kind is not Kind.SECRET:
            text = sent.texts.get(one.name, "")
        else:
            return self._stored_one(one)
        decided_by = variable(self._plugin, one.name) if one.name in self._overrides else ""
        return Shown(one, text, decided_by, one.name in self._secrets)

    def _stored_one(self, one: FormField) -> Shown:
        value = self._stored.get(one.name, one.default)
        if one.kind is Kind.ROWS:
            texts = [
                {cell.name: to_text(cell, row.get(cell.name, cell.default)) for cell in one.columns}
                for row in rows_of(one, value)
            ]
            return Shown(one, "", "", kept=False, rows=_shown_rows(one, texts))
        many = tuple(value or ()) if one.kind in (Kind.CHOICES, Kind.PICKS) else ()
        return Shown(one, to_text(one, value), "", one.name in self._secrets, many)

    def read(self, sent: Sent) -> PluginSettings:
        """The settings that were sent, with kept secrets and the environment filled in.

        :raises SettingsWrong: a message for each field that cannot be used.
        """
        values: dict[str, Any] = {}
        wrong: dict[str, Text | str] = {}
        known = {one.name: one for one in self.fields}
        values.update({name: text for name, text in {**sent.texts, **sent.secrets}.items() if _of(name) not in known})
        for one in self.fields:
            try:
                values.update(self._value(one, sent, wrong))
            except SettingsWrong as mistake:
                wrong.update(mistake.fields)
        try:
            settings = built(self.model, values)
        except SettingsWrong as mistake:
            raise SettingsWrong({**mistake.fields, **wrong}) from None
        if wrong:
            raise SettingsWrong(wrong)
        return settings

    def _value(self, one: FormField, sent: Sent, wrong: dict[str, Text | str]) -> dict[str, Any]:
        if one.name in self._overrides:
            return {one.name: self._overrides[one.name]}
        if one.kind is Kind.SECRET:
            return self._secret(one.name, sent)
        if one.kind in (Kind.CHOICES, Kind.PICKS):
            return {one.name: _several(one, sent)}
        if one.kind is Kind.ROWS:
            return {one.name: self._rows(one, sent, wrong)}
        text = sent.texts.get(one.name, "")
        # An unticked switch and an emptied list say something; any other empty field leaves the default.
        if text.strip() or one.kind is Kind.SWITCH or one.kind in MANY:
            return {one.name: from_text(one, text, self._currency)}
        return {}

    def _rows(self, one: FormField, sent: Sent, wrong: dict[str, Text | str]) -> list[dict[str, Any]]:
        """The rows; what cannot be read in them is added to ``wrong``, so that the rest is looked at too."""
        rows: list[dict[str, Any]] = []
        for place, texts in enumerate(_sent_rows(one, sent)):
            row = {}
            for cell in one.columns:
                if not texts[cell.name].strip() and cell.kind is not Kind.SWITCH:
                    continue
                try:
                    row[cell.name] = from_text(cell, texts[cell.name], self._currency)
                except SettingsWrong as mistake:
                    wrong[f"{one.name}.{place}.{cell.name}"] = mistake.fields[cell.name]
            rows.append(row)
        return rows

    def _secret(self, name: str, sent: Sent) -> dict[str, Any]:
        given = sent.secrets.get(name, "").strip()
        if given:
            return {name: given}
        if name in self._secrets and name not in sent.forget:
            return {name: self._secrets[name]}
        return {}

    def to_store(self, settings: PluginSettings) -> tuple[dict[str, Any], dict[str, str]]:
        """What goes into the database: not what the environment decides, so that it can change its mind."""
        open_ones, secrets = to_store(self.fields, settings)
        for name in self._overrides:
            open_ones.pop(name, None)
            secrets.pop(name, None)
            if name in self._stored:
                open_ones[name] = self._stored[name]
            if name in self._secrets:
                secrets[name] = self._secrets[name]
        return open_ones, secrets

    def changed(self, open_ones: Mapping[str, Any], secrets: Mapping[str, str]) -> list[str]:
        """The names of the settings that differ from what is stored."""
        before, after = {**self._stored, **self._secrets}, {**open_ones, **secrets}
        return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


MOST_ROWS = 200


def _of(name: str) -> str:
    """The setting that a field of the form belongs to: of ``rows.0.name`` it is ``rows``."""
    return name.partition(".")[0]


def _several(one: FormField, sent: Sent) -> list[str]:
    """The ticked choices (``events.order_paid``), or what was picked in one of the fields (``skus.0``)."""
    parts = {
        name.removeprefix(f"{one.name}."): text.strip() for name, text in sent.texts.items() if _of(name) == one.name
    }
    if one.kind is Kind.CHOICES:
        return list(parts)
    return list(dict.fromkeys(text for text in parts.values() if text))


def _sent_rows(one: FormField, sent: Sent) -> list[dict[str, str]]:
    """The rows that were filled in and not taken out, in their order."""
    rows = []
    for place in range(MOST_ROWS):
        texts = {cell.name: sent.texts.get(f"{one.name}.{place}.{cell.name}", "") for cell in one.columns}
        written = any(texts[cell.name].strip() for cell in one.columns if cell.kind not in (Kind.SELECT, Kind.SWITCH))
        if written and f"{one.name}.{place}.remove" not in sent.texts:
            rows.append(texts)
    return rows


def _shown_rows(one: FormField, rows: list[dict[str, str]]) -> tuple[tuple[Shown, ...], ...]:
    """Every row, and an empty one to write into."""
    empty = {cell.name: to_text(cell, cell.default) for cell in one.columns}
    return tuple(
        tuple(
            Shown(replace(cell, name=f"{one.name}.{place}.{cell.name}"), texts[cell.name], "", kept=False)
            for cell in one.columns
        )
        for place, texts in enumerate([*rows, empty])
    )


def _opened(plugin: str, row: Row) -> dict[str, str]:
    try:
        return store.open_secrets(plugin, row.secrets)
    except DecryptError:
        return {}
