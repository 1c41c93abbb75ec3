"""The list of suppliers, and that of what one of them offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core import db
from core.hooks import runtime
from core.money import Money
from core.supply import suppliers as known_suppliers
from core.supply.supplier import Supplier
from core.web.i18n import Text, _, in_words
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


async def categories(scope: Scope) -> Sequence[tuple[str, str]]:
    rows = await db.fetch(
        "SELECT DISTINCT category FROM supply_offer WHERE category <> '' AND NOT gone AND ($1 = '' OR supplier = $1)"
        " ORDER BY 1 LIMIT 500",
        scope.within.get("supplier", ""),
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


# -- suppliers --------------------------------------------------------------------------

# What plugins deliver now, and what is stored of suppliers; either may be missing.
SUPPLIERS_FROM = """
FROM jsonb_to_recordset({delivered}) AS delivered (key text, title text, works boolean)
FULL JOIN supply_supplier seen ON seen.key = delivered.key WHERE {whole}
"""
SUPPLIER_KEY = "coalesce(delivered.key, seen.key)"


def delivered() -> Mapping[str, Any]:
    now = runtime.current().delivered("register_suppliers")
    return {
        "delivered": [
            {"key": key, "title": " ".join(one.item.title.values()), "works": isinstance(one.item, Supplier)}
            for key, one in now.items()
        ]
    }


async def _with_facts(_scope: Scope, rows: list[dict[str, Any]]) -> None:
    known = {one.key: one for one in await known_suppliers.known()}
    for row in rows:
        row["known"] = known[row["row_key"]]


def _supplier(row: Any) -> Cell:
    return Cell(in_words(row["known"].title), f"/admin/supply/{row['row_key']}", note=row["row_key"])


def _state(row: Any) -> Badge:
    known = row["known"]
    if not known.works:
        return Badge(_("Plugin is off"))
    if known.sync_error:
        return Badge(_("Cannot be looked at"), "bad")
    return Badge(_("Works"), "good") if known.synced_at else Badge(_("Not looked at yet"), "busy")


def _balance(row: Any) -> Many:
    known = row["known"]
    return Many([known.balance, *([Badge(_("low"), "bad")] if known.is_low else [])])


SUPPLIERS = Listing(
    name="suppliers",
    title=_("Suppliers"),
    about=_("Where goods come from that are not in the vault. Each is brought by a plugin."),
    path="/admin/supply",
    right="supply.read",
    key=SUPPLIER_KEY,
    source=SUPPLIERS_FROM,
    rows=f"SELECT {SUPPLIER_KEY} AS row_key {SUPPLIERS_FROM} AND {SUPPLIER_KEY} = ANY({{keys}})",
    order=SUPPLIER_KEY,
    given=delivered,
    prepare=_with_facts,
    columns=(
        Column("supplier", _("Supplier"), _supplier, SUPPLIER_KEY),
        Column("state", _("State"), _state),
        Column("balance", _("Balance"), _balance, kind="number"),
        Column("offers", _("Offers"), lambda row: row["known"].offers, kind="number"),
        Column("skus", _("Our SKUs"), lambda row: row["known"].skus, kind="number"),
        Column("looked", _("Looked at"), lambda row: row["known"].synced_at, "seen.synced_at"),
        Column("error", _("Error"), lambda row: row["known"].sync_error, shown=False, kind="long"),
    ),
    hint=_("Name of the supplier"),
    search=f"{SUPPLIER_KEY} ILIKE {{like}} OR delivered.title ILIKE {{like}} OR seen.title::text ILIKE {{like}}",
    filters=(
        Choice(
            "state",
            _("State"),
            {"on": _("Works"), "wrong": _("Cannot be looked at"), "low": _("Low balance"), "off": _("Plugin is off")},
            {
                "on": "delivered.works AND coalesce(seen.sync_error, '') = ''",
                "wrong": "delivered.works AND seen.sync_error <> ''",
                "low": "seen.low_told",
                "off": "NOT coalesce(delivered.works, false)",
            },
        ),
    ),
    label=lambda row: row["row_key"],
    empty=Nothing(
        _("No suppliers yet"),
        _("Switch a supplier's plugin on and give it your account there."),
        "/admin/plugins?kind=suppliers",
        _("Plugins"),
        "packages",
    ),
)

LISTS = (OFFERS, SUPPLIERS)
