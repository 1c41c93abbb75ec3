"""Plugins among the installed packages, and what to do about two of one name. Nothing of a plugin is run here."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from importlib import metadata
from itertools import groupby
from pathlib import Path

from core.hooks.manifest import FALLBACK, Installed, described
from core.web.i18n import _

GROUP = "vouchsafe.plugins"
"""Entry points of a package: ``"payments.acme" = "vouchsafe_acme"``, with ``plugin.toml`` in that package's folder."""


def packages() -> list[Installed]:
    """The plugins that packages of this Python bring, by id."""
    points = {(point.name, point.value.partition(":")[0]) for point in metadata.entry_points(group=GROUP)}
    return [_package(id, module) for id, module in sorted(points)]


def _package(id: str, module: str) -> Installed:
    folder = _folder(module)
    if folder is None:
        problem = _("The package %(name)s it should be in cannot be found.", name=module)
        return Installed(id, Path(module), problem=problem, title={FALLBACK: id}, module=module, source="package")
    return described(id, folder, module, "package")


def _folder(module: str) -> Path | None:
    """Where a package lies. Only its topmost part is looked up: more than that would import it."""
    top, *below = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    places = spec.submodule_search_locations if spec else None
    folders = [Path(place, *below) for place in places or ()]
    return next((folder for folder in folders if (folder / "__init__.py").is_file()), None)


def told_apart(found: Iterable[Installed]) -> list[Installed]:
    """One for each id. Where there are two, nobody but the operator can say which is meant, so neither is used."""
    by_id = groupby(sorted(found, key=lambda one: one.id), key=lambda one: one.id)
    return [_only(list(members)) for _id, members in by_id]


def _only(members: list[Installed]) -> Installed:
    first = members[0]
    if len(members) == 1:
        return first
    places = ", ".join(str(one.folder) for one in members)
    problem = _("It is there %(times)d times; take all but one away: %(places)s", times=len(members), places=places)
    return Installed(first.id, first.folder, None, problem, first.title, first.module, first.source)
