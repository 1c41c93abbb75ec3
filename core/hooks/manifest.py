"""``plugin.toml``: what a plugin says of itself, read without running any of its code."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

FILE = "plugin.toml"
KINDS = ("suppliers", "payments", "risk", "promotions", "notifiers", "channels", "bridges", "apps")
PERMISSIONS = ("network", "mail", "contacts", "codes")
"""What a plugin may say it needs: to call other servers, to send mail, to see how buyers are reached, to see codes."""

FALLBACK = "en"
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class BadManifest(Exception):
    """The text says what is wrong in which place."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``id`` is the import path below ``plugins``. ``title`` and ``summary`` are by locale (``en``, ``zh-CN``).

    ``core`` is the range of shop versions it works with (``>=0.1,<1``). ``default_enabled`` switches it on
    until somebody decides otherwise; ``test_mode_only`` keeps it out of a shop that sells for real.
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

    def works_with(self, core_version: str) -> bool:
        return SpecifierSet(self.core).contains(Version(core_version), prereleases=True)


@dataclass(frozen=True, slots=True)
class Installed:
    """A plugin's folder. Without a manifest, ``problem`` says why it cannot be read."""

    id: str
    folder: Path
    manifest: Manifest | None = None
    problem: str = ""
    title: Mapping[str, str] = field(default_factory=dict)


def discover(folder: Path) -> list[Installed]:
    """Every ``<kind>/<name>/plugin.toml`` below ``folder``, by id. Nothing is imported."""
    return sorted((_installed(path) for path in folder.glob(f"*/*/{FILE}")), key=lambda found: found.id)


def _installed(path: Path) -> Installed:
    id = f"{path.parent.parent.name}.{path.parent.name}"
    try:
        manifest = read(path)
    except BadManifest as problem:
        return Installed(id, path.parent, problem=f"{FILE}: {problem}", title={FALLBACK: id})
    return Installed(id, path.parent, manifest, title=manifest.title)


def read(path: Path) -> Manifest:
    try:
        manifest = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Manifest)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, OSError) as error:
        raise BadManifest(str(error)) from None
    _check(manifest, path.parent.parent.name, path.parent.name)
    return manifest


def _check(manifest: Manifest, kind: str, name: str) -> None:
    if kind not in KINDS:
        raise BadManifest(f"the folder {kind} is not a kind of plugin; kinds are {', '.join(KINDS)}")
    if not NAME.fullmatch(name):
        raise BadManifest(f"the folder name {name!r} must be small letters, digits and _, starting with a letter")
    if manifest.kind != kind or manifest.id != f"{kind}.{name}":
        raise BadManifest(f'in this folder it must say id = "{kind}.{name}" and kind = "{kind}"')
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
