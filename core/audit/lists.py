"""Lists of what people did, and of what looked like an attack."""

from __future__ import annotations

from typing import Any

from core import db
from core.audit import service
from core.audit.words import KINDS, readable
from core.refused import Refused
from core.web.i18n import _, in_language
from core.web.lists import Act, Badge, Cell, Choice, Column, Day, Doing, Listing, Many, Nothing

OURS = "(entry.shop_id = {shop} OR (entry.shop_id IS NULL AND {whole}))"
SEEN = """
UPDATE audit_alarm SET seen_at = now(), seen_by = $4
WHERE id = $3 AND seen_at IS NULL AND (shop_id = $1 OR (shop_id IS NULL AND $2)) RETURNING id
"""


def _details(row: Any) -> Many:
    return Many([f"{key}: {_plain(value)}" for key, value in readable(row["detail"]).items()])


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(_("Yes") if value else _("No"))
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)


def _linked(said: str) -> Any:
    kind, _colon, ref = said.partition(":")
    return Cell(ref, f"/admin/orders/{ref}") if kind == "order" and ref else said


def _act(row: Any) -> Cell:
    title = service.title(row["act"])
    return Cell(title or row["act"], note=row["act"] if title else "")


LOG = Listing(
    name="audit",
    title=_("Audit log"),
    about=_("Who did what, and when. Nothing here can be changed or deleted."),
    path="/admin/audit",
    right="audit.read",
    key="entry.id",
    source=f"FROM audit_entry entry WHERE {OURS}",
    rows="SELECT entry.id AS row_key, entry.*, staff.name, staff.email FROM audit_entry entry"
    " LEFT JOIN people_staff staff ON entry.actor = 'staff:' || staff.id WHERE entry.id = ANY({keys})",
    order="entry.id DESC",
    columns=(
        Column("when", _("When"), lambda row: row["at"], "entry.id"),
        Column("who", _("Who"), lambda row: row["name"] or row["email"] or row["actor"]),
        Column("act", _("Act"), _act),
        Column("object", _("Object"), lambda row: _linked(row["object"])),
        Column("details", _("Details"), _details, kind="details"),
        Column("address", _("Address"), lambda row: str(row["ip"]) if row["ip"] else None),
    ),
    hint=_("Order no., act or person, such as staff:1"),
    search="entry.id IN (SELECT id FROM audit_entry WHERE object = {q}"
    " UNION ALL SELECT id FROM audit_entry WHERE object = 'order:' || upper({q})"
    " UNION ALL SELECT id FROM audit_entry WHERE act = {q} UNION ALL SELECT id FROM audit_entry WHERE actor = {q})",
    filters=(
        Day("since", _("From the day"), "entry.at >= {value}"),
        Day("until", _("Up to the day"), "entry.at < {value}", after=True),
    ),
    empty=Nothing(_("Nothing was done yet"), _("Whatever people on the staff do is written here."), icon="history"),
)


async def seen(doing: Doing, key: int) -> None:
    scope = doing.scope
    if await db.fetchval(SEEN, scope.shop_id, scope.whole_server, key, scope.staff_id) is None:
        raise Refused(_("It was seen before."))


ALARMS = Listing(
    name="alarms",
    title=_("Alarms"),
    about=_(
        "Forged callbacks, wrong amounts and strangers at other people's orders. Nothing was delivered because of them."
    ),
    path="/admin/alarms",
    right="audit.read",
    key="entry.id",
    source=f"FROM audit_alarm entry WHERE {OURS}",
    rows="SELECT entry.id AS row_key, entry.* FROM audit_alarm entry WHERE entry.id = ANY({keys})",
    order="entry.seen_at IS NOT NULL, entry.id DESC",
    columns=(
        Column("when", _("When"), lambda row: row["at"], "entry.id"),
        Column(
            "kind",
            _("Kind"),
            lambda row: Badge(KINDS.get(row["kind"], row["kind"]), "neutral" if row["seen_at"] else "bad"),
        ),
        Column("about", _("About"), lambda row: _linked(row["subject"])),
        Column("why", _("Why"), lambda row: in_language(row["reason"])),
        Column("details", _("Details"), _details, kind="details"),
        Column("address", _("Address"), lambda row: str(row["ip"]) if row["ip"] else None),
        Column("seen", "", draw="audit/_seen.html"),
    ),
    hint=_("What it is about"),
    search="entry.subject = {q} OR entry.kind = {q} OR host(entry.ip) = {q}",
    filters=(
        Choice("kind", _("Kind"), KINDS, "entry.kind = {value}"),
        Choice(
            "seen",
            _("Seen or not"),
            {"no": _("Not seen yet"), "yes": _("Seen")},
            {"no": "entry.seen_at IS NULL", "yes": "entry.seen_at IS NOT NULL"},
        ),
        Day("since", _("From the day"), "entry.at >= {value}"),
        Day("until", _("Up to the day"), "entry.at < {value}", after=True),
    ),
    acts=(
        Act(
            "seen",
            _("I have seen them"),
            "audit.read",
            _("They stay in the list, and are no longer counted."),
            seen,
            "entry.seen_at IS NULL",
            _("they were seen before"),
        ),
    ),
    label=lambda row: f"{KINDS.get(row['kind'], row['kind'])} · {row['subject'].removeprefix('order:')}",
    empty=Nothing(_("No alarms"), _("Nobody tried anything so far."), "/admin", _("To the dashboard"), "circle-check"),
)

LISTS = (LOG, ALARMS)
