"""The list of what one supplier offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core import db
from core.money import Money
from core.web.i18n import Text, _
from core.web.lists import Badge, Cell, Choice, Column, Listing, Many, Nothing, Scope

SHOWS: dict[str, Text] = {
    "there": _("Can be bought now"),
    "free": _("Not sold by us yet"),
    "linked": _("Sold by us"),
    "gone": _("Not offered any more"),
}
LINKED = "EXISTS (SELECT 1 FROM supply_link WHERE offer_id = offer.id)"


def _offer(row: Any) -> Cell:
    note = " · ".join(filter(None, (row["item"], row["category"])))
    return Cell(row["title"], note=note, badges=(Badge(_("top-up"), "busy"),) if row["delivers"] == "top_up" else ())


def _stock(row: Any) -> Any:
    if row["gone"]:
        return Badge(_("gone"))
    if not row["listed"]:
        return Badge(_("not sold"))
    if row["stock"] is None:
        return _("plenty")
    return Badge(_("none"), "warning") if row["stock"] == 0 else row["stock"]


async def categories(_scope: Scope) -> Sequence[tuple[str, str]]:
    rows = await db.fetch(
        "SELECT DISTINCT category FROM supply_offer WHERE category <> '' AND NOT gone ORDER BY 1 LIMIT 500"
    )
    return [(row["category"], row["category"]) for row in rows]


async def suppliers(_scope: Scope) -> Sequence[tuple[str, str]]:
    return [(row["key"], row["key"]) for row in await db.fetch("SELECT key FROM supply_supplier ORDER BY key")]


OFFERS = Listing(
    name="offers",
    title=_("Offers"),
    path="/admin/supply",
    right="supply.read",
    key="offer.id",
    source="FROM supply_offer offer WHERE {whole}",
    rows="SELECT offer.id AS row_key, offer.*, (SELECT json_agg(json_build_object('id', sku.id, 'code', sku.code)"
    " ORDER BY sku.id) FROM supply_link link JOIN catalog_sku sku ON sku.id = link.sku_id"
    " WHERE link.offer_id = offer.id) AS skus FROM supply_offer offer WHERE offer.id = ANY({keys})",
    order="offer.category, offer.title, offer.id",
    columns=(
        Column("offer", _("Offer"), _offer, "offer.title", draw="supply/_offer.html"),
        Column("cost", _("Cost"), lambda row: Money(row["cost"], row["currency"]), "offer.cost", kind="number"),
        Column("stock", _("Stock"), _stock, kind="number"),
        Column(
            "skus",
            _("Our SKUs"),
            lambda row: Many([Cell(one["code"], f"/admin/supply/skus/{one['id']}") for one in row["skus"] or []]),
        ),
        Column("changed", _("Changed"), lambda row: row["changed_at"], "offer.changed_at"),
    ),
    hint=_("Name, number or category"),
    search="offer.title ILIKE {like} OR offer.item ILIKE {like} OR offer.category ILIKE {like}",
    filters=(
        Choice("supplier", _("All suppliers"), suppliers, "offer.supplier = {value}"),
        Choice("category", _("All categories"), categories, "offer.category = {value}"),
        Choice(
            "show",
            _("All offers"),
            SHOWS,
            {
                "there": "offer.listed AND NOT offer.gone AND coalesce(offer.stock, 1) > 0",
                "linked": LINKED,
                "free": f"NOT offer.gone AND NOT {LINKED}",
                "gone": "offer.gone",
            },
        ),
    ),
    label=lambda row: row["title"],
    empty=Nothing(
        _("No offers yet"),
        _("They appear by themselves once the supplier has been looked at."),
        icon="packages",
    ),
)

LISTS = (OFFERS,)
