"""The list of products, and what may be done with many of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core import db
from core.audit.person import Person
from core.catalog import bulk
from core.catalog.service import words
from core.money import Money
from core.refused import Refused
from core.vault import stock
from core.web.i18n import Text, _, in_words, locale
from core.web.lists import Act, Ask, Badge, Cell, Choice, Column, Doing, Listing, Many, Nothing, Scope, badge

PREVIEWED = 20

STATES: dict[str, tuple[Text, str]] = {
    "draft": (_("Draft"), "neutral"),
    "listed": (_("On sale"), "good"),
    "archived": (_("Archived"), "neutral"),
}

ROWS = """
SELECT product.id AS row_key, product.id, product.slug, product.title, product.state, product.demo, product.updated_at,
       category.title AS category_title,
       (SELECT json_agg(json_build_object('id', sku.id, 'code', sku.code, 'title', sku.title, 'price', sku.price,
            'currency', sku.currency, 'low_stock', sku.low_stock, 'listed', sku.listed, 'source', sku.source,
            'available', sku.available) ORDER BY sku.position, sku.id)
        FROM catalog_sku sku WHERE sku.product_id = product.id) AS skus
FROM catalog_product product LEFT JOIN catalog_category category ON category.id = product.category_id
WHERE product.id = ANY({keys})
"""


async def _with_stock(_scope: Scope, rows: list[dict[str, Any]]) -> None:
    skus = [sku for row in rows for sku in row["skus"] or []]
    free = await stock.free_counts([sku["id"] for sku in skus if sku["source"] == "codes"])
    for sku in skus:
        sku["free"] = free.get(sku["id"], 0)


async def categories(scope: Scope) -> Sequence[tuple[str, str]]:
    rows = await db.fetch(
        "SELECT id, title FROM catalog_category WHERE shop_id = $1 ORDER BY position, id LIMIT 500", scope.shop_id
    )
    return [(str(row["id"]), words(row["title"], locale())) for row in rows]


def _product(row: Any) -> Cell:
    marks = (Badge(_("demo")),) if row["demo"] else ()
    return Cell(in_words(row["title"]), f"/admin/products/{row['id']}", f"/p/{row['slug']}", marks)


def _skus(row: Any) -> Any:
    hidden = (Badge(_("hidden")),)
    cells = [
        Cell(f"{in_words(sku['title'])} · {sku['code']}", badges=() if sku["listed"] else hidden)
        for sku in row["skus"] or []
    ]
    return Many(cells) if cells else Cell(_("No SKU yet: it cannot be bought."))


def _prices(row: Any) -> Many:
    return Many([Money(sku["price"], sku["currency"]) for sku in row["skus"] or []])


def _stock(row: Any) -> Many:
    return Many([_stock_of(sku) for sku in row["skus"] or []])


def _stock_of(sku: Any) -> Any:
    if sku["source"] != "codes":
        where = _("from a supplier") if sku["source"] == "supplier" else _("made by a person")
        return Cell(_("plenty") if sku["available"] is None else sku["available"], badges=(Badge(where),))
    free = f"{sku['free']}+" if sku["free"] >= stock.COUNTED_UP_TO else sku["free"]
    if sku["free"] == 0:
        return Cell(free, badges=(Badge(_("out"), "bad"),))
    return Cell(free, badges=(Badge(_("low"), "warning"),) if sku["free"] <= sku["low_stock"] else ())


# -- what may be done with many ---------------------------------------------------------


def _editor(doing: Doing) -> Person:
    return Person(doing.scope.shop_id, doing.scope.staff_id)


async def put_on_sale(doing: Doing, key: int) -> None:
    await bulk.set_state(_editor(doing), key, "listed")


async def take_off_sale(doing: Doing, key: int) -> None:
    await bulk.set_state(_editor(doing), key, "draft")


async def move(doing: Doing, key: int) -> None:
    chosen = doing.fields.get("category", "")
    if not (chosen.isascii() and chosen.isdigit()) or len(chosen) > 18:
        raise Refused(_("Choose a category."), "category")
    await bulk.set_category(_editor(doing), key, int(chosen))


async def reprice(doing: Doing, key: int) -> None:
    await bulk.change_prices(_editor(doing), key, bulk.read_percent(doing.fields.get("percent", "")))


async def new_prices(doing: Doing, keys: list[Any]) -> list[tuple[Any, Any, Any]]:
    percent = bulk.read_percent(doing.fields.get("percent", ""))
    await bulk.check_lowest(doing.scope.shop_id, keys, percent)
    rows = await bulk.prices(doing.scope.shop_id, keys, PREVIEWED)
    return [
        (
            f"{in_words(row['title'])} · {row['code']}",
            Money(row["price"], row["currency"]),
            Money(bulk.priced(row["price"], percent), row["currency"]),
        )
        for row in rows
    ]


ACTS = (
    Act(
        "list",
        _("Put on sale"),
        "products.edit",
        _("Buyers see them at once."),
        put_on_sale,
        "product.state <> 'listed'",
        _("they are on sale already"),
    ),
    Act(
        "unlist",
        _("Take off sale"),
        "products.edit",
        _("They become drafts: nobody finds them in the shop. Orders that were placed go on."),
        take_off_sale,
        "product.state = 'listed'",
        _("they are not on sale"),
    ),
    Act(
        "move",
        _("Move to a category"),
        "products.edit",
        _("They stand in this category from now on."),
        move,
        fields=(Ask("category", _("Category"), categories),),
    ),
    Act(
        "price",
        _("Change prices"),
        "products.edit",
        _("The price of every SKU of these products is changed and rounded to the smallest coin."),
        reprice,
        "EXISTS (SELECT 1 FROM catalog_sku WHERE product_id = product.id)",
        _("they have no SKU yet"),
        (Ask("percent", _("By how many percent"), help=_("10 makes them a tenth dearer, -10 a tenth cheaper.")),),
        new_prices,
    ),
)

PRODUCTS = Listing(
    name="products",
    title=_("Products"),
    path="/admin/products",
    right="products.read",
    key="product.id",
    source="FROM catalog_product product WHERE product.shop_id = {shop}",
    rows=ROWS,
    order="product.position, product.id DESC",
    columns=(
        Column("product", _("Product"), _product),
        Column("category", _("Category"), lambda row: in_words(row["category_title"] or {}) or None),
        Column("state", _("State"), lambda row: badge(STATES, row["state"])),
        Column("skus", _("SKU"), _skus, kind="wide"),
        Column("price", _("Price"), _prices, kind="number"),
        Column("stock", _("Stock"), _stock, kind="number"),
        Column("changed", _("Changed"), lambda row: row["updated_at"], "product.updated_at", shown=False),
    ),
    hint=_("Name, address or SKU code"),
    search="product.title::text ILIKE {like} OR product.slug = {q}"
    " OR product.id IN (SELECT product_id FROM catalog_sku WHERE shop_id = {shop} AND code = {q})",
    filters=(
        Choice("state", _("State"), STATES, "product.state = {value}"),
        Choice("category", _("Category"), categories, "product.category_id::text = {value}"),
        Choice(
            "demo",
            _("Demo and own"),
            {"no": _("Own ones"), "yes": _("Demo ones")},
            {"no": "NOT product.demo", "yes": "product.demo"},
        ),
    ),
    prepare=_with_stock,
    acts=ACTS,
    label=lambda row: in_words(row["title"]),
    empty=Nothing(
        _("No products yet"),
        _("A product has a page in the shop; its SKUs have prices and codes."),
        "/admin/products/new",
        _("Add a product"),
        "box",
    ),
)

LISTS = (PRODUCTS,)
