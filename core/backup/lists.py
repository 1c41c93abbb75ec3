"""The list of backups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.web.i18n import Text, _
from core.web.lists import Badge, Cell, Choice, Column, Listing, Nothing

STATES: dict[str, tuple[Text, str]] = {
    "running": (_("Being made"), "busy"),
    "done": (_("Good"), "good"),
    "failed": (_("Failed"), "bad"),
    "removed": (_("Made room for newer ones"), "neutral"),
}


def _state(row: Any) -> Cell:
    state = STATES[row["state"]]
    error = _("It was interrupted.") if row["error"] == "it was interrupted" else row["error"]
    return Cell("", badges=(Badge(*state),), note=error)


BACKUPS = Listing(
    name="backups",
    title=_("Backups"),
    path="/admin/backups",
    right="backups.manage",
    key="file.id",
    source="FROM backup_file file WHERE {whole}",
    rows="SELECT file.id AS row_key, file.* FROM backup_file file WHERE file.id = ANY({keys})",
    order="file.id DESC",
    columns=(
        Column("begun", _("Begun"), lambda row: row["started_at"], "file.id"),
        Column("state", _("State"), _state),
        Column("size", _("Size"), lambda row: row["size"], "file.size", kind="number", draw="backup/_size.html"),
        Column("file", _("File"), lambda row: Cell(Path(row["path"]).name, note=row["host"])),
        Column("do", "", draw="backup/_fetch.html"),
    ),
    filters=(Choice("state", _("State"), STATES, "file.state = {value}"),),
    label=lambda row: Path(row["path"]).name,
    empty=Nothing(
        _("No backups yet"),
        _("With a public key in the plan, the shop makes them by itself, and “Back up now” makes one at once."),
        icon="archive",
    ),
)

LISTS = (BACKUPS,)
