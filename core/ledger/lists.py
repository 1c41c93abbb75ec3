"""The list of entries in the books."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core import db
from core.ledger import chart
from core.money import Money
from core.web.i18n import _
from core.web.lists import Cell, Choice, Column, Day, Listing, Nothing, Scope

ACCOUNTS = """
SELECT DISTINCT CASE WHEN starts_with(code, 'customer:') THEN 'customer' ELSE code END AS code
FROM ledger_account WHERE shop_id = $1
"""
OF_ACCOUNT = """
entry.debit_id IN (SELECT id FROM ledger_account WHERE shop_id = {shop} AND (
    code = {value} OR {value} = 'customer' AND starts_with(code, 'customer:')))
OR entry.credit_id IN (SELECT id FROM ledger_account WHERE shop_id = {shop} AND (
    code = {value} OR {value} = 'customer' AND starts_with(code, 'customer:')))
"""


async def accounts(scope: Scope) -> Sequence[tuple[str, str]]:
    order = list(chart.CHART)
    codes = [row["code"] for row in await db.fetch(ACCOUNTS, scope.shop_id)]
    codes.sort(key=lambda code: (order.index(chart.heading(code).key), code))
    return [(code, chart.title(code)) for code in codes]


async def currencies(scope: Scope) -> Sequence[tuple[str, str]]:
    rows = await db.fetch("SELECT DISTINCT currency FROM ledger_account WHERE shop_id = $1 ORDER BY 1", scope.shop_id)
    return [(row["currency"], row["currency"]) for row in rows]


def _order(row: Any) -> Cell | None:
    return Cell(row["order_ref"], f"/admin/orders/{row['order_ref']}") if row["order_ref"] else None


ENTRIES = Listing(
    name="entries",
    title=_("Entries"),
    about=_("Every movement of money in the books, the newest first. Test orders stay out of them."),
    path="/admin/books/entries",
    right="finance.read",
    key="entry.id",
    source="FROM ledger_entry entry JOIN ledger_account debit ON debit.id = entry.debit_id"
    " WHERE debit.shop_id = {shop}",
    rows="SELECT entry.id AS row_key, entry.*, debit.code AS debit, credit.code AS credit, o.ref AS order_ref"
    " FROM ledger_entry entry JOIN ledger_account debit ON debit.id = entry.debit_id"
    " JOIN ledger_account credit ON credit.id = entry.credit_id LEFT JOIN orders_order o ON o.id = entry.order_id"
    " WHERE entry.id = ANY({keys})",
    order="entry.id DESC",
    columns=(
        Column("what", _("What"), lambda row: Cell(chart.KINDS.get(row["kind"], row["kind"]), note=row["id"])),
        Column("order", _("Order"), _order),
        Column("debit", _("Debit"), lambda row: chart.title(row["debit"])),
        Column("credit", _("Credit"), lambda row: chart.title(row["credit"])),
        Column("amount", _("Amount"), lambda row: Money(row["amount"], row["currency"]), kind="number"),
        Column("at", _("When"), lambda row: row["at"], "entry.id"),
        Column("source", _("Source"), lambda row: row["source"], shown=False, kind="long"),
    ),
    hint=_("Order no."),
    search="entry.order_id IN (SELECT id FROM orders_order WHERE ref = upper({q}))",
    filters=(
        Choice("kind", _("All kinds"), chart.KINDS, "entry.kind = {value}"),
        Choice("account", _("All accounts"), accounts, OF_ACCOUNT),
        Choice("currency", _("All currencies"), currencies, "entry.currency = {value}"),
        Day("since", _("From the day"), "entry.at >= {value}"),
        Day("until", _("Up to the day"), "entry.at < {value}", after=True),
    ),
    total=("amount", "entry.currency", "entry.amount"),
    label=lambda row: row["id"],
    empty=Nothing(
        _("Nothing is booked yet"),
        _("The first payment writes the first entries. Test orders stay out of the books."),
        "/admin/orders",
        _("See all orders"),
        "receipt",
    ),
)

LISTS = (ENTRIES,)
