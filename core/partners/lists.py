"""The list of partners."""

from __future__ import annotations

from typing import Any

from core.money import Money
from core.partners.accounts import contact_of
from core.web.i18n import _
from core.web.lists import Badge, Cell, Choice, Column, Listing, Many, Nothing

ROWS = """
SELECT partner.id AS row_key, partner.id, partner.name, partner.api_key, partner.discount, partner.created_at,
       partner.stopped_at, (SELECT count(*) FROM partners_order WHERE partner_id = partner.id) AS orders,
       coalesce((SELECT json_agg(json_build_object('amount', amount, 'currency', currency) ORDER BY currency)
                 FROM ledger_balance WHERE shop_id = partner.shop_id AND contact = '%s' || partner.name), '[]'
       ) AS balances
FROM partners_partner partner WHERE partner.id = ANY({keys})
"""


def _partner(row: Any) -> Cell:
    marks = (Badge(_("stopped"), "bad"),) if row["stopped_at"] else ()
    return Cell(row["name"], f"/admin/partners/{row['id']}", row["api_key"], marks)


PARTNERS = Listing(
    name="partners",
    title=_("Partners"),
    about=_(
        "Other shops and programs that buy here. Each pays from money it keeps with you and gets its goods at once."
    ),
    path="/admin/partners",
    right="partners.read",
    key="partner.id",
    source="FROM partners_partner partner WHERE partner.shop_id = {shop}",
    rows=ROWS.replace("%s", contact_of("")),
    order="partner.stopped_at IS NOT NULL, partner.name",
    columns=(
        Column("partner", _("Partner"), _partner, "partner.name"),
        Column("balance", _("Balance"), lambda row: Many([Money(**one) for one in row["balances"]]), kind="number"),
        Column(
            "discount", _("Discount"), lambda row: f"{row['discount'] / 100:.2f} %", "partner.discount", kind="number"
        ),
        Column("orders", _("Orders"), lambda row: row["orders"], kind="number"),
        Column("made", _("Made"), lambda row: row["created_at"], "partner.id"),
    ),
    hint=_("Name or key"),
    search="partner.name ILIKE {like} OR partner.api_key = {q}",
    filters=(
        Choice(
            "state",
            _("State"),
            {"open": _("Buying"), "stopped": _("Stopped")},
            {"open": "partner.stopped_at IS NULL", "stopped": "partner.stopped_at IS NOT NULL"},
        ),
    ),
    label=lambda row: row["name"],
    empty=Nothing(_("No partners yet"), _("Make one for each shop that wants to sell your goods."), icon="users"),
)

LISTS = (PARTNERS,)
