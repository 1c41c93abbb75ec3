"""The list of staff."""

from __future__ import annotations

from typing import Any

from core.people import rights
from core.web.i18n import _
from core.web.lists import Badge, Cell, Choice, Column, Listing, Nothing


def _person(row: Any) -> Cell:
    marks: tuple[Badge, ...] = ()
    if row["disabled_at"]:
        marks = (Badge(_("disabled"), "bad"),)
    elif not row["password_hash"]:
        marks = (Badge(_("invited"), "busy"),)
    note = row["email"] if row["name"] else ""
    return Cell(row["name"] or row["email"], f"/admin/staff/{row['id']}", note, marks)


STAFF = Listing(
    name="staff",
    title=_("Staff"),
    about=_("Who may work here, and what each may do."),
    path="/admin/staff",
    right="staff.manage",
    key="person.id",
    source="FROM people_staff person WHERE person.shop_id = {shop}",
    rows="SELECT person.id AS row_key, person.id, person.name, person.email, person.role, person.last_sign_in_at,"
    " person.disabled_at, person.created_at, person.password_hash IS NOT NULL AS password_hash,"
    " person.totp_secret IS NOT NULL AS totp_secret,"
    " EXISTS (SELECT 1 FROM people_passkey WHERE staff_id = person.id) AS has_passkey"
    " FROM people_staff person WHERE person.id = ANY({keys})",
    order="person.id",
    columns=(
        Column("person", _("Person"), _person, "person.name"),
        Column("role", _("Role"), lambda row: rights.ROLE_NAMES[row["role"]], "person.role"),
        Column("factor", _("Two-step"), lambda row: Badge(_("On"), "good") if row["totp_secret"] else Badge(_("Off"))),
        Column("signed_in", _("Last sign-in"), lambda row: row["last_sign_in_at"], "person.last_sign_in_at"),
        Column("since", _("Since"), lambda row: row["created_at"], "person.id", shown=False),
        Column("do", "", draw="people/_change_person.html"),
    ),
    hint=_("Name or e-mail"),
    search="person.name ILIKE {like} OR person.email ILIKE {like}",
    filters=(
        Choice("role", _("Role"), rights.ROLE_NAMES, "person.role = {value}"),
        Choice(
            "state",
            _("State"),
            {"in": _("May sign in"), "out": _("Locked out")},
            {"in": "person.disabled_at IS NULL", "out": "person.disabled_at IS NOT NULL"},
        ),
    ),
    label=lambda row: row["name"] or row["email"],
    empty=Nothing(_("Nobody yet"), icon="users"),
)

LISTS = (STAFF,)
