"""The list of what was bought from suppliers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.money import Money
from core.supply import purchases
from core.web.i18n import Text, _, in_language
from core.web.lists import Cell, Choice, Column, Day, Listing, Nothing, Scope, badge

PURCHASE: dict[str, tuple[Text, str]] = {
    "created": (_("To be sent"), "neutral"),
    "sent": (_("Sent"), "busy"),
    "waiting": (_("The supplier works on it"), "busy"),
    "unknown": (_("Outcome unknown"), "bad"),
    "done": (_("Bought"), "good"),
    "failed": (_("Not sold"), "warning"),
}


async def suppliers(scope: Scope) -> Sequence[tuple[str, str]]:
    return [(key, key) for key in await purchases.suppliers_of(scope.shop_id)]


def _cost(row: Any) -> Money | None:
    return Money(row["cost"], row["cost_currency"]) if row["cost_currency"] else None


PURCHASES = Listing(
    name="purchases",
    title=_("Purchases"),
    about=_("What was bought from suppliers for paid orders."),
    path="/admin/purchases",
    right="purchases.read",
    key="purchase.id",
    source="FROM supply_purchase purchase JOIN orders_order o ON o.id = purchase.order_id"
    " WHERE purchase.shop_id = {shop}",
    rows="SELECT purchase.id AS row_key, purchase.*, o.ref AS order_ref, offer.title AS offer_title"
    " FROM supply_purchase purchase JOIN orders_order o ON o.id = purchase.order_id"
    " JOIN supply_offer offer ON offer.id = purchase.offer_id WHERE purchase.id = ANY({keys})",
    order="purchase.id DESC",
    columns=(
        Column("purchase", _("Purchase"), lambda row: Cell(row["ref"], f"/admin/purchases/{row['id']}", copy=True)),
        Column("order", _("Order"), lambda row: Cell(row["order_ref"], f"/admin/orders/{row['order_ref']}")),
        Column("offer", _("Offer"), lambda row: Cell(row["offer_title"], note=row["supplier"])),
        Column("quantity", _("Quantity"), lambda row: row["quantity"], kind="number"),
        Column("cost", _("Cost"), _cost, kind="number"),
        Column("state", _("State"), lambda row: badge(PURCHASE, row["state"])),
        Column("begun", _("Begun"), lambda row: row["created_at"], "purchase.id"),
        Column("number", _("Supplier's no."), lambda row: row["supplier_ref"], shown=False),
        Column("problem", _("Problem"), lambda row: in_language(row["error"]), shown=False),
    ),
    hint=_("Order no., purchase no. or supplier's no."),
    search="purchase.id IN (SELECT id FROM supply_purchase WHERE ref = {q}"
    " UNION ALL SELECT id FROM supply_purchase WHERE supplier_ref = {q} AND supplier_ref <> ''"
    " UNION ALL SELECT one.id FROM supply_purchase one JOIN orders_order ON orders_order.id = one.order_id"
    " WHERE orders_order.ref = upper({q}))",
    filters=(
        Choice("state", _("State"), PURCHASE, "purchase.state = {value}"),
        Choice("supplier", _("All suppliers"), suppliers, "purchase.supplier = {value}"),
        Day("since", _("From the day"), "purchase.created_at >= {value}"),
        Day("until", _("Up to the day"), "purchase.created_at < {value}", after=True),
    ),
    total=("cost", "purchase.cost_currency", "purchase.cost"),
    label=lambda row: row["ref"],
    empty=Nothing(
        _("Nothing was bought yet"),
        _("Orders for goods of suppliers make purchases once they are paid."),
        "/admin/supply",
        _("Suppliers"),
        "truck-delivery",
    ),
)

LISTS = (PURCHASES,)
