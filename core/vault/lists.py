"""Lists of what is in stock, of the batches it came in, and of the codes that are set aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core import db
from core.money import Money
from core.refused import Refused
from core.vault import quarantine
from core.web.i18n import Text, _, in_words
from core.web.lists import Act, Ask, Badge, Cell, Choice, Column, Day, Doing, Listing, Nothing, Scope, badge

BATCH_STATES: dict[str, tuple[Text, str]] = {
    "importing": (_("Importing"), "busy"),
    "ready": (_("In stock"), "good"),
    "undone": (_("Undone"), "neutral"),
}
COUNTED = 100_000
"""Free codes of one SKU are counted up to here: an index without the rows is read for it."""

# Each number comes from an index of its own, and only for the SKUs of the page.
STOCK = """
SELECT sku.id AS row_key, sku.id, sku.code, sku.title, sku.low_stock, sku.listed, product.id AS product_id,
       product.title AS product_title,
       (SELECT count(*) FROM (SELECT 1 FROM vault_code WHERE sku_id = sku.id AND state = 'free' LIMIT 100000) one)
           AS free,
       (SELECT count(*) FROM vault_code WHERE sku_id = sku.id AND state = 'quarantined') AS aside,
       coalesce(line.reserved, 0) AS reserved, coalesce(line.sold, 0) AS sold
FROM catalog_sku sku JOIN catalog_product product ON product.id = sku.product_id
LEFT JOIN LATERAL (
    SELECT sum(quantity) FILTER (WHERE state = 'reserved' AND source = 'codes') AS reserved,
           sum(quantity) FILTER (WHERE state = 'delivered') AS sold
    FROM orders_line WHERE sku_id = sku.id) line ON true
WHERE sku.id = ANY({keys})
"""
LEAST_FREE = "SELECT 1 FROM vault_code WHERE sku_id = sku.id AND state = 'free'"


def _free(row: Any) -> Cell:
    if row["free"] == 0:
        return Cell(_number(row["free"]), badges=(Badge(_("out"), "bad"),))
    marks = (Badge(_("low"), "warning"),) if row["free"] <= row["low_stock"] else ()
    return Cell(_number(row["free"]), badges=marks)


def _number(count: int) -> str:
    return f"{count:,}" + "+" * (count >= COUNTED)


STOCKED = Listing(
    name="stock",
    title=_("Stock"),
    about=_("Codes lie encrypted; nobody sees them here, only how many there are."),
    path="/admin/stock",
    right="stock.read",
    key="sku.id",
    source="FROM catalog_sku sku JOIN catalog_product product ON product.id = sku.product_id"
    " WHERE sku.shop_id = {shop}",
    rows=STOCK,
    order="product.position, product.id, sku.position, sku.id",
    columns=(
        Column(
            "product",
            _("Product"),
            lambda row: Cell(in_words(row["product_title"]), f"/admin/products/{row['product_id']}"),
        ),
        Column("sku", _("SKU"), lambda row: Cell(in_words(row["title"]), note=row["code"])),
        Column("free", _("Free"), _free, kind="number"),
        Column("reserved", _("Reserved"), lambda row: row["reserved"], kind="number"),
        Column("aside", _("Set aside"), lambda row: row["aside"], shown=False, kind="number"),
        Column("sold", _("Sold"), lambda row: row["sold"], kind="number"),
        Column("do", "", draw="vault/_import_here.html"),
    ),
    hint=_("Name of the product, or SKU code"),
    search="sku.code = {q} OR product.title::text ILIKE {like}",
    filters=(
        Choice(
            "level",
            _("All levels"),
            {"out": _("Out of stock"), "low": _("Running low"), "there": _("In stock")},
            {
                "out": f"sku.source = 'codes' AND NOT EXISTS ({LEAST_FREE})",
                "low": f"sku.source = 'codes' AND NOT EXISTS ({LEAST_FREE} OFFSET greatest(sku.low_stock, 0))",
                "there": f"sku.source = 'codes' AND EXISTS ({LEAST_FREE})",
            },
        ),
        Choice(
            "listed",
            _("On sale or not"),
            {"yes": _("On sale"), "no": _("Hidden")},
            {"yes": "sku.listed", "no": "NOT sku.listed"},
        ),
    ),
    label=lambda row: row["code"],
    empty=Nothing(
        _("Nothing to stock yet"),
        _("Codes belong to a SKU, and a SKU to a product."),
        "/admin/products/new",
        _("Add a product"),
        "packages",
    ),
)


async def hold(doing: Doing, key: int) -> None:
    reason = doing.fields.get("reason", "").strip()
    if not reason:
        raise Refused(_("Say why these codes are set aside."), "reason")
    await db.transaction(quarantine.hold_batch, doing.scope.shop_id, key, reason, doing.scope.staff_id)


async def skus(scope: Scope) -> Sequence[tuple[str, str]]:
    rows = await db.fetch("SELECT code FROM catalog_sku WHERE shop_id = $1 ORDER BY code LIMIT 2000", scope.shop_id)
    return [(row["code"], row["code"]) for row in rows]


def _batch(row: Any) -> Cell:
    return Cell(row["name"], note=row["note"], badges=(Badge(_("demo")),) if row["demo"] else ())


def _cost(row: Any) -> Money | None:
    return None if row["unit_cost"] is None else Money(row["unit_cost"], row["shop_currency"])


BATCHES = Listing(
    name="batches",
    title=_("Batches"),
    about=_("The codes of one import or one run of own codes belong together."),
    path="/admin/stock/batches",
    right="stock.read",
    key="batch.id",
    source="FROM vault_batch batch JOIN catalog_sku sku ON sku.id = batch.sku_id WHERE batch.shop_id = {shop}",
    rows="SELECT batch.id AS row_key, batch.*, sku.code AS sku_code, shop.currency AS shop_currency,"
    " coalesce(nullif(staff.name, ''), staff.email) AS made_by FROM vault_batch batch"
    " JOIN catalog_sku sku ON sku.id = batch.sku_id JOIN shops_shop shop ON shop.id = batch.shop_id"
    " LEFT JOIN people_staff staff ON staff.id = batch.created_by WHERE batch.id = ANY({keys})",
    order="batch.id DESC",
    columns=(
        Column("batch", _("Batch"), _batch),
        Column("sku", _("SKU"), lambda row: row["sku_code"]),
        Column("codes", _("Codes"), lambda row: row["counts"].get("imported", 0), kind="number"),
        Column("cost", _("Unit cost"), _cost, "batch.unit_cost", kind="number"),
        Column("state", _("State"), lambda row: badge(BATCH_STATES, row["state"])),
        Column("imported", _("Imported"), lambda row: row["created_at"], "batch.id"),
        Column("by", _("By"), lambda row: row["made_by"]),
        Column("do", "", draw="vault/_undo_batch.html"),
    ),
    hint=_("Name of the batch, or SKU code"),
    search="batch.name ILIKE {like} OR sku.code = {q}",
    filters=(
        Choice("state", _("State"), BATCH_STATES, "batch.state = {value}"),
        Choice("sku", _("SKU"), skus, "sku.code = {value}"),
        Day("since", _("From the day"), "batch.created_at >= {value}"),
        Day("until", _("Up to the day"), "batch.created_at < {value}", after=True),
    ),
    acts=(
        Act(
            "hold",
            _("Set aside"),
            "codes.hold",
            _("Every unsold code of these batches is taken off sale until somebody decides about it."),
            hold,
            "batch.state = 'ready'",
            _("they are not in stock"),
            (Ask("reason", _("Why?")),),
            danger=True,
        ),
    ),
    label=lambda row: row["name"],
    empty=Nothing(
        _("No batch yet"),
        _("Every import of codes makes one."),
        "/admin/stock/import",
        _("Import codes"),
        "packages",
    ),
)


# -- set aside --------------------------------------------------------------------------

HOLDS = "SELECT id, reason FROM vault_hold WHERE shop_id = $1 ORDER BY id DESC LIMIT 200"
GONE = _("They are not set aside any more.")


async def holds(scope: Scope) -> Sequence[tuple[str, str]]:
    return [(str(row["id"]), row["reason"][:60]) for row in await db.fetch(HOLDS, scope.shop_id)]


async def put_back(doing: Doing, key: int) -> None:
    if not await db.transaction(quarantine.put_back, doing.scope.shop_id, [key], doing.scope.staff_id):
        raise Refused(GONE)


async def write_off(doing: Doing, key: int) -> None:
    if not await db.transaction(quarantine.write_off, doing.scope.shop_id, [key], doing.scope.staff_id):
        raise Refused(GONE)


def _why(row: Any) -> Any:
    return row["reason"] if row["hold_id"] else Badge(_("Ends too soon"), "warning")


ASIDE = Listing(
    name="aside",
    title=_("Set aside"),
    about=_("Codes here are not sold: they are suspect, or end too soon. Put them back on sale or write them off."),
    path="/admin/stock/aside",
    right="stock.read",
    key="code.id",
    source="FROM vault_code code JOIN catalog_sku sku ON sku.id = code.sku_id JOIN vault_batch batch"
    " ON batch.id = code.batch_id LEFT JOIN vault_hold hold ON hold.id = code.hold_id"
    " WHERE sku.shop_id = {shop} AND code.state = 'quarantined'",
    rows="SELECT code.id AS row_key, code.id, code.mask, code.expires_on, code.note, code.hold_id, hold.reason,"
    " hold.held_at, sku.code AS sku_code, batch.name AS batch_name FROM vault_code code"
    " JOIN catalog_sku sku ON sku.id = code.sku_id JOIN vault_batch batch ON batch.id = code.batch_id"
    " LEFT JOIN vault_hold hold ON hold.id = code.hold_id WHERE code.id = ANY({keys})",
    order="code.sku_id, code.id",
    columns=(
        Column("code", _("Code"), lambda row: Cell(row["mask"], note=row["note"], code=True)),
        Column("sku", _("SKU"), lambda row: row["sku_code"]),
        Column("batch", _("Batch"), lambda row: row["batch_name"]),
        Column("ends", _("Ends"), lambda row: row["expires_on"], "code.expires_on"),
        Column("why", _("Why"), _why, kind="long"),
        Column("since", _("Since"), lambda row: row["held_at"], "hold.held_at", shown=False),
    ),
    hint=_("SKU code, batch or note"),
    search="sku.code = {q} OR batch.name ILIKE {like} OR code.note ILIKE {like}",
    filters=(
        Choice("sku", _("SKU"), skus, "sku.code = {value}"),
        Choice(
            "why",
            _("Suspect or ending"),
            {"suspect": _("Suspect"), "ending": _("Ends too soon")},
            {"suspect": "code.hold_id IS NOT NULL", "ending": "code.hold_id IS NULL"},
        ),
        Choice("hold", _("All reasons"), holds, "code.hold_id::text = {value}"),
    ),
    acts=(
        Act(
            "back",
            _("Put back on sale"),
            "codes.hold",
            _("These codes are good after all: they are sold again."),
            put_back,
            "code.state = 'quarantined' AND code.hold_id IS NOT NULL",
            _("they end too soon, or are not set aside any more"),
        ),
        Act(
            "off",
            _("Write off"),
            "codes.hold",
            _("These codes are never sold again. What they cost is booked."),
            write_off,
            "code.state = 'quarantined'",
            _("they are not set aside any more"),
            danger=True,
            fresh=True,
        ),
    ),
    label=lambda row: f"{row['mask']} {row['sku_code']}",
    empty=Nothing(
        _("No code is set aside"),
        _("A batch that buyers complain about, or single codes a supplier takes back, can be kept from sale here."),
        icon="shield-check",
    ),
)

LISTS = (STOCKED, BATCHES, ASIDE)
