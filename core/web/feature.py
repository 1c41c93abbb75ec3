"""What a feature brings: routes, menu entries, templates, words, files. One object each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.web.i18n import Text

WHO = ("anyone", "buyer", "gateway")
STAFF = "staff:"
KEY = "key:"

Slot = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Nav:
    """One entry of the console's side menu; shown to staff who hold ``right``, to all when it is None.

    ``icon`` as in ``ui.icon``; ``group`` is the part of the menu, in which the lowest ``order`` comes first.
    """

    title: Text | str
    path: str
    icon: str
    group: str = "shop"
    right: str | None = None
    order: int = 100


@dataclass(frozen=True)
class Feature:
    """``buyer_routes`` stand at the root (plugins: ``/x/<name>``), ``console_routes`` under ``/admin``
    (plugins: ``/admin/x/<name>``), ``rest_routes`` under ``/api/v1`` (plugins: ``/api/v1/x/<name>``).

    ``folder`` holds ``templates/<name>/``, ``static/`` and ``locales/`` where there are any.
    ``slots`` maps a place on a page (:mod:`core.web.slots`) to what fills it. A feature of the shop gets the page's
    subject and returns the template to show there with its context, or None; a plugin is asked after the page was
    drawn, as that module says.
    """

    name: str
    folder: Path | None = None
    buyer_routes: Sequence[Any] = ()
    console_routes: Sequence[Any] = ()
    rest_routes: Sequence[Any] = ()
    nav: Sequence[Nav] = ()
    slots: Mapping[str, Slot] = field(default_factory=dict)
    plugin: bool = False

    def part(self, name: str) -> Path | None:
        """The feature's ``templates``, ``static`` or ``locales`` folder, when it has one."""
        path = self.folder / name if self.folder else None
        return path if path and path.is_dir() else None

    @property
    def prefix(self) -> str:
        return f"/x/{self.name}" if self.plugin else ""


class BadRoute(Exception):
    """A route that does not say who may use it. The application does not start."""


def who_may(opt: Mapping[str, Any], name: str) -> str:
    who = opt.get("who")
    named = isinstance(who, str) and any(who.startswith(kind) and len(who) > len(kind) for kind in (STAFF, KEY))
    if who in WHO or named:
        return str(who)
    known = '"anyone" | "buyer" | "staff:<right>" | "key:<scope>" | "gateway"'
    raise BadRoute(f'{name}: say who may use it: opt={{"who": {known}}}')


def nav_for(features: Iterable[Feature], rights: Callable[[str], bool]) -> dict[str, list[Nav]]:
    """Menu entries by group, each group in order, only what these rights open."""
    groups: dict[str, list[Nav]] = {}
    entries = [entry for feature in features for entry in feature.nav]
    for entry in sorted(entries, key=lambda entry: entry.order):
        if entry.right is None or rights(entry.right):
            groups.setdefault(entry.group, []).append(entry)
    return groups
