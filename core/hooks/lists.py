"""The list of plugins. It calls no hook, so that it works when every plugin is broken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.hooks import runtime
from core.hooks.manager import State
from core.hooks.manifest import KINDS
from core.web.i18n import Text, _, html_lang, locale, ngettext
from core.web.lists import Badge, Cell, Choice, Column, Listing, Many, Nothing, Scope, badge

STATES: dict[str, tuple[Text, str]] = {
    State.ACTIVE: (_("Active"), "good"),
    State.NEEDS_SETTINGS: (_("Needs settings"), "warning"),
    State.FAILED: (_("Failed"), "bad"),
    State.INCOMPATIBLE: (_("Does not fit"), "bad"),
    State.TEST_MODE_ONLY: (_("Test mode only"), "neutral"),
    State.DISABLED: (_("Off"), "neutral"),
}
TROUBLED = (State.FAILED, State.INCOMPATIBLE, State.NEEDS_SETTINGS)
KIND_TITLES: dict[str, Text] = {
    "payments": _("Payment"),
    "notifiers": _("Messages"),
    "risk": _("Risk"),
    "suppliers": _("Suppliers"),
    "promotions": _("Promotions"),
    "channels": _("Sales channels"),
    "bridges": _("Bridges"),
    "apps": _("More"),
}
SOURCES: dict[str, Text] = {
    "shop": _("Came with the shop"),
    "folder": _("Folder of the merchant"),
    "package": _("Installed package"),
}

FROM = """
FROM jsonb_to_recordset({plugins}) AS plugin (id text, place integer, kind text, state text, source text, words text)
WHERE {whole}
"""


def kind_of(plugin: str) -> str:
    """What cannot even say its kind stands with the rest."""
    kind = plugin.split(".")[0]
    return kind if kind in KINDS else "apps"


def words(by_locale: Mapping[str, str]) -> str:
    """A manifest's text in the language of the page."""
    return by_locale.get(html_lang(locale())) or by_locale.get("en") or next(iter(by_locale.values()), "")


def _now() -> Mapping[str, Any]:
    return {
        "plugins": [
            {
                "id": one.id,
                "place": KINDS.index(kind_of(one.id)),
                "kind": kind_of(one.id),
                "state": one.state.value,
                "source": one.source,
                "words": " ".join([*one.title.values(), *(one.manifest.summary.values() if one.manifest else ())]),
            }
            for one in runtime.current().plugins
        ]
    }


async def _with_plugin(_scope: Scope, rows: list[dict[str, Any]]) -> None:
    loaded = {one.id: one for one in runtime.current().plugins}
    rows[:] = [{**row, "plugin": loaded[row["row_key"]]} for row in rows if row["row_key"] in loaded]


def _plugin(row: Any) -> Cell:
    plugin = row["plugin"]
    return Cell(words(plugin.title), f"/admin/plugins/{plugin.id}", note=plugin.id)


def _about(row: Any) -> str:
    manifest = row["plugin"].manifest
    return words(manifest.summary) if manifest else ""


def _state(row: Any) -> Many:
    plugin = row["plugin"]
    broke = sum(one.count for one in plugin.failures.values())
    failures = [Badge(ngettext("failed once", "failed %(num)s times", broke), "bad")] if broke else []
    return Many([badge(STATES, plugin.state), *failures, *([plugin.reason] if plugin.reason else [])])


PLUGINS = Listing(
    name="plugins",
    title=_("Plugins"),
    about=_(
        "How buyers pay, how people hear, who may not buy. A plugin is a program with all the rights of the shop:"
        " install only what you trust."
    ),
    path="/admin/plugins",
    right="plugins.read",
    key="plugin.id",
    source=FROM,
    rows=f"SELECT plugin.id AS row_key {FROM} AND plugin.id = ANY({{keys}})",
    order="plugin.place, plugin.id",
    given=_now,
    prepare=_with_plugin,
    columns=(
        Column("plugin", _("Plugin"), _plugin, "plugin.id"),
        Column("about", _("What it does"), _about, kind="long"),
        Column("kind", _("Kind"), lambda row: KIND_TITLES[kind_of(row["row_key"])], "plugin.place"),
        Column("state", _("State"), _state, "plugin.state", kind="long"),
        Column(
            "version",
            _("Version"),
            lambda row: row["plugin"].manifest and row["plugin"].manifest.version,
            shown=False,
        ),
        Column("source", _("Source"), lambda row: SOURCES[row["plugin"].source], shown=False),
        Column("do", "", draw="hooks/_switch.html"),
    ),
    hint=_("Name of the plugin"),
    search="plugin.id ILIKE {like} OR plugin.words ILIKE {like}",
    filters=(
        Choice("kind", _("All kinds"), KIND_TITLES, "plugin.kind = {value}"),
        Choice("state", _("State"), STATES, "plugin.state = {value}"),
        Choice("source", _("All sources"), SOURCES, "plugin.source = {value}"),
    ),
    label=lambda row: row["row_key"],
    empty=Nothing(_("There are no plugins"), _("The folder plugins is empty."), icon="puzzle"),
)

LISTS = (PLUGINS,)
