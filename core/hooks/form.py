"""The settings form of one plugin: what it shows, and what somebody sent with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.hooks import store
from core.hooks.manager import Loaded
from core.hooks.runtime import Runtime
from core.hooks.settings import (
    CannotUpgrade,
    FormField,
    Kind,
    PluginSettings,
    SettingsWrong,
    built,
    fields_of,
    from_text,
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
    """One field of the page. ``decided_by`` names the environment variable that overrides it."""

    field: FormField
    text: str
    decided_by: str
    kept: bool


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
        elif sent is not None and one.kind is not Kind.SECRET:
            text = sent.texts.get(one.name, "")
        else:
            text = to_text(one, self._stored.get(one.name, one.default))
        decided_by = variable(self._plugin, one.name) if one.name in self._overrides else ""
        return Shown(one, text, decided_by, one.name in self._secrets)

    def read(self, sent: Sent) -> PluginSettings:
        """The settings that were sent, with kept secrets and the environment filled in.

        :raises SettingsWrong: a message for each field that cannot be used.
        """
        values: dict[str, Any] = {}
        wrong: dict[str, Text | str] = {}
        known = {one.name: one for one in self.fields}
        values.update({name: text for name, text in {**sent.texts, **sent.secrets}.items() if name not in known})
        for one in self.fields:
            try:
                values.update(self._value(one, sent))
            except SettingsWrong as mistake:
                wrong.update(mistake.fields)
        try:
            settings = built(self.model, values)
        except SettingsWrong as mistake:
            raise SettingsWrong({**mistake.fields, **wrong}) from None
        if wrong:
            raise SettingsWrong(wrong)
        return settings

    def _value(self, one: FormField, sent: Sent) -> dict[str, Any]:
        if one.name in self._overrides:
            return {one.name: self._overrides[one.name]}
        if one.kind is Kind.SECRET:
            return self._secret(one.name, sent)
        text = sent.texts.get(one.name, "")
        # An unticked switch and an emptied list say something; any other empty field leaves the default.
        if text.strip() or one.kind in (Kind.SWITCH, Kind.LINES):
            return {one.name: from_text(one, text, self._currency)}
        return {}

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


def _opened(plugin: str, row: Row) -> dict[str, str]:
    try:
        return store.open_secrets(plugin, row.secrets)
    except DecryptError:
        return {}
