"""``plugin.toml``: what a plugin says of itself, read without running any of its code."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from core.web.i18n import Text

FILE = "plugin.toml"
KINDS = ("suppliers", "payments", "risk", "promotions", "notifiers", "channels", "bridges", "apps")
PERMISSIONS = ("network", "mail", "contacts", "codes")
"""What a plugin may say it needs: to call other servers, to send mail, to see how buyers are reached, to see codes."""

Source = Literal["shop", "folder", "package"]
"""Where a plugin was found: beside the shop's own, in the merchant's folder, or among the installed packages."""

FALLBACK = "en"
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class BadManifest(Exception):
    """The text says what is wrong in which place."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``id`` is the import path below ``plugins``. ``title`` and ``summary`` are by locale (``en``, ``zh-CN``).

    ``core`` is the range of shop versions it works with (``>=0.1,<1``). ``default_enabled`` switches it on
    until somebody decides otherwise; ``test_mode_only`` keeps it out of a shop that sells for real. ``needs`` says what
    a merchant must have at hand before setting it up; the set-up offers the ways to pay that say so.
    """

    id: str
    kind: str
    version: str
    api: int
    core: str
    title: dict[str, str]
    summary: dict[str, str]
    permissions: list[str] = []
    default_enabled: bool = False
    test_mode_only: bool = False
    needs: dict[str, str] = {}

    def works_with(self, core_version: str) -> bool:
        return SpecifierSet(self.core).contains(Version(core_version), prereleases=True)


@dataclass(frozen=True, slots=True)
class Installed:
    """A plugin's folder and what it is imported as. Without a manifest, ``problem`` says why it cannot be used."""

    id: str
    folder: Path
    manifest: Manifest | None = None
    problem: Text | str = ""
    title: Mapping[str, str] = field(default_factory=dict)
    module: str = ""
    source: Source = "shop"


def discover(folder: Path, package: str = "plugins", source: Source = "shop") -> list[Installed]:
    """Every ``<kind>/<name>/plugin.toml`` below ``folder``, by id. Nothing is imported."""
    found = [_in_folder(path, package, source) for path in folder.glob(f"*/*/{FILE}")]
    return sorted(found, key=lambda one: one.id)


def _in_folder(path: Path, package: str, source: Source) -> Installed:
    kind, name = path.parent.parent.name, path.parent.name
    return described(f"{kind}.{name}", path.parent, f"{package}.{kind}.{name}", source)


def described(id: str, folder: Path, module: str, source: Source) -> Installed:
    """The plugin in ``folder``, which must call itself ``id``."""
    try:
        manifest = read(folder / FILE, id)
    except BadManifest as problem:
        return Installed(id, folder, None, f"{FILE}: {problem}", {FALLBACK: id}, module, source)
    return Installed(id, folder, manifest, "", manifest.title, module, source)


def read(path: Path, id: str = "") -> Manifest:
    """The manifest of the plugin ``id``; without one, its folders say what it is called.

    :raises BadManifest: it cannot be read, or it is another plugin's.
    """
    try:
        manifest = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Manifest)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, OSError) as error:
        raise BadManifest(str(error)) from None
    _check(manifest, id or f"{path.parent.parent.name}.{path.parent.name}")
    return manifest


def _check(manifest: Manifest, id: str) -> None:
    kind, _dot, name = id.partition(".")
    if kind not in KINDS:
        raise BadManifest(f"the folder {kind} is not a kind of plugin; kinds are {', '.join(KINDS)}")
    if not NAME.fullmatch(name):
        raise BadManifest(f"the folder name {name!r} must be small letters, digits and _, starting with a letter")
    if manifest.kind != kind or manifest.id != id:
        raise BadManifest(f'here it must say id = "{id}" and kind = "{kind}"')
    for words in ("title", "summary"):
        if not getattr(manifest, words).get(FALLBACK):
            raise BadManifest(f"[{words}] needs at least a line for {FALLBACK}")
    unknown = sorted(set(manifest.permissions) - set(PERMISSIONS))
    if unknown:
        raise BadManifest(f"no such permission: {', '.join(unknown)}; there are {', '.join(PERMISSIONS)}")
    try:
        Version(manifest.version)
        SpecifierSet(manifest.core)
    except (InvalidVersion, InvalidSpecifier) as error:
        raise BadManifest(str(error)) from None
