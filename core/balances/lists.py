"""The list of what buyers keep with the shop."""

from __future__ import annotations

from core.money import Money
from core.web.i18n import _
from core.web.lists import Cell, Choice, Column, Listing, Nothing

BALANCES = Listing(
    name="balances",
    title=_("Balances"),
    about=_("What buyers keep with the shop. They pay with it after opening a link from their mail."),
    path="/admin/balances",
    right="balance.read",
    key="balance.id",
    source="FROM ledger_balance balance WHERE balance.shop_id = {shop}",
    rows="SELECT balance.id AS row_key, balance.* FROM ledger_balance balance WHERE balance.id = ANY({keys})",
    order="balance.changed_at DESC, balance.id DESC",
    columns=(
        Column("buyer", _("Buyer"), lambda row: Cell(row["contact"], f"/admin/balances/{row['id']}")),
        Column(
            "balance", _("Balance"), lambda row: Money(row["amount"], row["currency"]), "balance.amount", kind="number"
        ),
        Column("changed", _("Last change"), lambda row: row["changed_at"], "balance.changed_at"),
        Column("since", _("Since"), lambda row: row["created_at"], shown=False),
    ),
    hint=_("Begin of the e-mail address"),
    search="starts_with(balance.contact, lower({q}))",
    filters=(
        Choice(
            "there",
            _("All balances"),
            {"yes": _("With money on them"), "no": _("Empty ones")},
            {"yes": "balance.amount > 0", "no": "balance.amount = 0"},
        ),
    ),
    total=("balance", "balance.currency", "balance.amount"),
    label=lambda row: row["contact"],
    empty=Nothing(
        _("No balances here"), _("A balance begins when money is put in, or a refund goes to it."), icon="cash"
    ),
)

LISTS = (BALANCES,)
