"""Changing the catalogue. Every save names the version it was made from, so nobody overwrites a colleague."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import msgspec

from core import db
from core.audit import service as audit
from core.audit.person import Person
from core.catalog.buyer_fields import BuyerField
from core.catalog.service import forget
from core.db import Tx
from core.ids import new_ref
from core.refused import Refused
from core.web.i18n import _

Words = dict[str, str]


class ChangedMeanwhile(Refused):
    def __init__(self) -> None:
        super().__init__(
            _(
                "Somebody else saved this in the meantime. What you typed is still here and not saved: compare it with"
                " their version in a new tab, then save again if yours shall stand."
            )
        )


@dataclass(frozen=True, slots=True)
class ProductDraft:
    slug: str
    title: Words
    summary: Words
    description: Words
    delivery_note: Words
    buyer_fields: list[BuyerField]
    category_id: int | None
    state: str
    position: int
    tags: list[str] = field(default_factory=list)
    """More words it is found by."""
    seo_title: Words = field(default_factory=dict)
    seo_description: Words = field(default_factory=dict)
    guide_id: int | None = None
    """How it is redeemed; a SKU may have another one."""


@dataclass(frozen=True, slots=True)
class SkuRow:
    """What the list of SKUs changes of one."""

    id: int
    version: int
    price: int
    position: int
    listed: bool


@dataclass(frozen=True, slots=True)
class SkuDraft:
    code: str
    title: Words
    price: int
    currency: str
    face_value: int | None
    period: str
    min_per_order: int
    max_per_order: int
    max_per_buyer: int | None
    low_stock: int
    listed: bool
    position: int
    burn_hours: int | None = None
    """After how many hours shown codes are erased; 0 is never, None what the shop says."""
    min_days_left: int = 1
    """How many days a code must still be good for when it is sold."""


def slug_from(text: str) -> str:
    """A short address out of a title; a random one where the title has no Latin letters."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-")
    return slug or new_ref("p-", 6).lower()


# -- products ---------------------------------------------------------------------------


async def add_product(editor: Person, draft: ProductDraft) -> int:
    return await db.transaction(add_product_in, editor, draft)


async def add_product_in(tx: Tx, editor: Person, draft: ProductDraft) -> int:
    """The same within the caller's transaction."""
    await _check_parts(tx, editor, draft)
    product_id = await _unique(
        _("Another product has this address."),
        "slug",
        tx.fetchval(
            "INSERT INTO catalog_product (shop_id, slug, title, summary, description, delivery_note, buyer_fields,"
            " category_id, state, position, tags, seo_title, seo_description, guide_id)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING id",
            editor.shop_id,
            *_product_columns(draft),
        ),
    )
    await audit.record(tx, editor.actor, "product.added", f"product:{product_id}", shop_id=editor.shop_id)
    return int(product_id)


async def save_product(editor: Person, product_id: int, version: int, draft: ProductDraft) -> None:
    """:raises ChangedMeanwhile: the product is not at ``version`` any more."""
    await db.transaction(_save_product, editor, product_id, version, draft)
    forget()


async def _save_product(tx: Tx, editor: Person, product_id: int, version: int, draft: ProductDraft) -> None:
    await _check_parts(tx, editor, draft)
    saved = await _unique(
        _("Another product has this address."),
        "slug",
        tx.fetchval(
            "UPDATE catalog_product SET slug = $4, title = $5, summary = $6, description = $7, delivery_note = $8,"
            " buyer_fields = $9, category_id = $10, state = $11, position = $12, tags = $13, seo_title = $14,"
            " seo_description = $15, guide_id = $16, version = version + 1, updated_at = now()"
            " WHERE shop_id = $1 AND id = $2 AND version = $3 RETURNING id",
            editor.shop_id,
            product_id,
            version,
            *_product_columns(draft),
        ),
    )
    if saved is None:
        raise ChangedMeanwhile
    await audit.record(
        tx, editor.actor, "product.saved", f"product:{product_id}", {"state": draft.state}, shop_id=editor.shop_id
    )


async def _check_parts(tx: Tx, editor: Person, draft: ProductDraft) -> None:
    if draft.category_id is not None and not await tx.fetchval(
        "SELECT true FROM catalog_category WHERE shop_id = $1 AND id = $2 FOR KEY SHARE",
        editor.shop_id,
        draft.category_id,
    ):
        raise Refused(_("This category is gone. Choose another one."), "category")
    if draft.guide_id is not None and not await tx.fetchval(
        "SELECT true FROM catalog_guide WHERE shop_id = $1 AND id = $2 FOR KEY SHARE", editor.shop_id, draft.guide_id
    ):
        raise Refused(_("This guide is gone. Choose another one."), "guide")


def _product_columns(draft: ProductDraft) -> tuple[Any, ...]:
    return (
        draft.slug,
        draft.title,
        draft.summary,
        draft.description,
        draft.delivery_note,
        msgspec.to_builtins(draft.buyer_fields),
        draft.category_id,
        draft.state,
        draft.position,
        draft.tags,
        draft.seo_title,
        draft.seo_description,
        draft.guide_id,
    )


COPIED = {"zh-CN": "（副本）"}
"""What a copy's name ends with; in other languages it is English."""

COPY_SKU = """
INSERT INTO catalog_sku (shop_id, product_id, code, title, price, currency, face_value, period, min_per_order,
    max_per_order, max_per_buyer, low_stock, listed, position, burn_hours, min_days_left, guide_id)
SELECT shop_id, $2, left(code, 58) || $3, title, price, currency, face_value, period, min_per_order,
    max_per_order, max_per_buyer, low_stock, listed, position, burn_hours, min_days_left, guide_id
FROM catalog_sku WHERE id = $1 RETURNING id
"""
COPY_TIERS = """
INSERT INTO catalog_price_tier (sku_id, from_quantity, price)
SELECT $2, from_quantity, price FROM catalog_price_tier WHERE sku_id = $1
"""


async def duplicate_product(editor: Person, product_id: int) -> int:
    """A draft like it, with its SKUs and their prices; codes and suppliers stay with the first one."""
    return await db.transaction(_duplicate_product, editor, product_id)


async def _duplicate_product(tx: Tx, editor: Person, product_id: int) -> int:
    mark = new_ref("-", 4).lower()
    copy_id = await tx.fetchval(
        "INSERT INTO catalog_product (shop_id, category_id, slug, title, summary, description, delivery_note,"
        " buyer_fields, image_id, position, tags, seo_title, seo_description, guide_id)"
        " SELECT shop_id, category_id, rtrim(left(slug, 55), '-') || $3, title, summary, description, delivery_note,"
        " buyer_fields, image_id, position, tags, seo_title, seo_description, guide_id"
        " FROM catalog_product WHERE shop_id = $1 AND id = $2 RETURNING id",
        editor.shop_id,
        product_id,
        mark,
    )
    if copy_id is None:
        raise Refused(_("There is no such product."))
    title = await tx.fetchval("SELECT title FROM catalog_product WHERE id = $1", copy_id)
    named = {language: text + COPIED.get(language, " (copy)") for language, text in title.items()}
    await tx.execute("UPDATE catalog_product SET title = $2 WHERE id = $1", copy_id, named)
    for sku in await tx.fetch("SELECT id FROM catalog_sku WHERE product_id = $1 ORDER BY id", product_id):
        sku_id = await tx.fetchval(COPY_SKU, sku["id"], copy_id, mark.upper())
        await tx.execute(COPY_TIERS, sku["id"], sku_id)
    facts = {"like": product_id}
    await audit.record(tx, editor.actor, "product.added", f"product:{copy_id}", facts, shop_id=editor.shop_id)
    return int(copy_id)


async def set_image(editor: Person, product_id: int, image_id: int | None) -> None:
    async def write(tx: Tx) -> None:
        await tx.execute(
            "UPDATE catalog_product SET image_id = $3, updated_at = now() WHERE shop_id = $1 AND id = $2",
            editor.shop_id,
            product_id,
            image_id,
        )
        await audit.record(tx, editor.actor, "product.picture", f"product:{product_id}", shop_id=editor.shop_id)

    await db.transaction(write)


async def delete_product(editor: Person, product_id: int) -> None:
    """Delete a product that never sold and holds no codes; others are archived instead."""
    await db.transaction(_delete_product, editor, product_id)
    forget()


async def _delete_product(tx: Tx, editor: Person, product_id: int) -> None:
    try:
        done = await tx.fetchval(
            "DELETE FROM catalog_product WHERE shop_id = $1 AND id = $2 RETURNING id", editor.shop_id, product_id
        )
    except asyncpg.ForeignKeyViolationError:
        raise Refused(
            _("This product has orders or codes, so it stays in the books. Archive it instead to take it off sale.")
        ) from None
    if done is not None:
        await audit.record(tx, editor.actor, "product.deleted", f"product:{product_id}", shop_id=editor.shop_id)


# -- SKUs -------------------------------------------------------------------------------


async def add_sku(editor: Person, product_id: int, draft: SkuDraft) -> int:
    return await db.transaction(add_sku_in, editor, product_id, draft)


async def add_sku_in(tx: Tx, editor: Person, product_id: int, draft: SkuDraft) -> int:
    """The same within the caller's transaction."""
    sku_id = await _unique(
        _("Another SKU has this code."),
        "code",
        tx.fetchval(
            "INSERT INTO catalog_sku (shop_id, product_id, code, title, price, currency, face_value, period,"
            " min_per_order, max_per_order, max_per_buyer, low_stock, listed, position,"
            " burn_hours, min_days_left)"
            " SELECT $1, id, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16 FROM catalog_product"
            " WHERE shop_id = $1 AND id = $2 RETURNING id",
            editor.shop_id,
            product_id,
            *_sku_columns(draft),
        ),
    )
    if sku_id is None:
        raise Refused(_("There is no such product."))
    await audit.record(tx, editor.actor, "sku.added", f"sku:{draft.code}", _price(draft), shop_id=editor.shop_id)
    return int(sku_id)


async def save_sku(editor: Person, sku_id: int, version: int, draft: SkuDraft) -> None:
    """:raises ChangedMeanwhile: the SKU is not at ``version`` any more."""
    await db.transaction(_save_sku, editor, sku_id, version, draft)
    forget()


async def _save_sku(tx: Tx, editor: Person, sku_id: int, version: int, draft: SkuDraft) -> None:
    saved = await _unique(
        _("Another SKU has this code."),
        "code",
        tx.fetchval(
            "UPDATE catalog_sku SET code = $4, title = $5, price = $6, currency = $7, face_value = $8, period = $9,"
            " min_per_order = $10, max_per_order = $11, max_per_buyer = $12, low_stock = $13, listed = $14,"
            " position = $15, burn_hours = $16, min_days_left = $17, version = version + 1"
            " WHERE shop_id = $1 AND id = $2 AND version = $3 RETURNING id",
            editor.shop_id,
            sku_id,
            version,
            *_sku_columns(draft),
        ),
    )
    if saved is None:
        raise ChangedMeanwhile
    await audit.record(tx, editor.actor, "sku.saved", f"sku:{draft.code}", _price(draft), shop_id=editor.shop_id)


async def save_sku_rows(editor: Person, product_id: int, rows: Sequence[SkuRow]) -> None:
    """Prices, order and sale of several SKUs at once; what is as before is left alone.

    :raises ChangedMeanwhile: one of them is not at its version any more; then none is changed.
    """
    await db.transaction(_save_sku_rows, editor, product_id, rows)
    forget()


async def _save_sku_rows(tx: Tx, editor: Person, product_id: int, rows: Sequence[SkuRow]) -> None:
    found = await tx.fetch(
        "SELECT id, code, version, price, currency, position, listed FROM catalog_sku"
        " WHERE shop_id = $1 AND product_id = $2 ORDER BY id FOR UPDATE",
        editor.shop_id,
        product_id,
    )
    before = {sku["id"]: sku for sku in found}
    for row in rows:
        sku = before.get(row.id)
        if sku is None or sku["version"] != row.version:
            raise ChangedMeanwhile
        if (sku["price"], sku["position"], sku["listed"]) == (row.price, row.position, row.listed):
            continue
        await tx.execute(
            "UPDATE catalog_sku SET price = $2, position = $3, listed = $4, version = version + 1 WHERE id = $1",
            row.id,
            row.price,
            row.position,
            row.listed,
        )
        facts = {"price": row.price, "currency": sku["currency"], "listed": row.listed}
        await audit.record(tx, editor.actor, "sku.saved", f"sku:{sku['code']}", facts, shop_id=editor.shop_id)


def _price(draft: SkuDraft) -> dict[str, Any]:
    facts = {"price": draft.price, "currency": draft.currency, "listed": draft.listed}
    return facts if draft.burn_hours is None else {**facts, "burn_hours": draft.burn_hours}


def _sku_columns(draft: SkuDraft) -> tuple[Any, ...]:
    return (
        draft.code,
        draft.title,
        draft.price,
        draft.currency,
        draft.face_value,
        draft.period,
        draft.min_per_order,
        draft.max_per_order,
        draft.max_per_buyer,
        draft.low_stock,
        draft.listed,
        draft.position,
        draft.burn_hours,
        draft.min_days_left,
    )


async def delete_sku(editor: Person, sku_id: int) -> None:
    await db.transaction(_delete_sku, editor, sku_id)
    forget()


async def _delete_sku(tx: Tx, editor: Person, sku_id: int) -> None:
    try:
        code = await tx.fetchval(
            "DELETE FROM catalog_sku WHERE shop_id = $1 AND id = $2 RETURNING code", editor.shop_id, sku_id
        )
    except asyncpg.ForeignKeyViolationError:
        raise Refused(_("This SKU has orders or codes, so it stays in the books. Take it off sale instead.")) from None
    if code is not None:
        await audit.record(tx, editor.actor, "sku.deleted", f"sku:{code}", shop_id=editor.shop_id)


async def save_tiers(editor: Person, sku_id: int, version: int, tiers: Mapping[int, int]) -> None:
    """Give a SKU these prices for larger quantities, and no others: from how many, and the price of one.

    :raises ChangedMeanwhile: the SKU is not at ``version`` any more.
    :raises Refused: a price that is not below the SKU's own or the one for fewer, or a quantity nobody may order.
    """
    await db.transaction(_save_tiers, editor, sku_id, version, tiers)
    forget()


async def _save_tiers(tx: Tx, editor: Person, sku_id: int, version: int, tiers: Mapping[int, int]) -> None:
    sku = await tx.fetchrow(
        "UPDATE catalog_sku SET version = version + 1 WHERE shop_id = $1 AND id = $2 AND version = $3"
        " RETURNING code, price, max_per_order",
        editor.shop_id,
        sku_id,
        version,
    )
    if sku is None:
        raise ChangedMeanwhile
    before = sku["price"]
    for least, price in sorted(tiers.items()):
        if not 2 <= least <= sku["max_per_order"]:
            most = sku["max_per_order"]
            raise Refused(_("Choose a quantity from %(least)d to %(most)d.", least=2, most=most), f"{least}_from")
        if not 0 < price < before:
            raise Refused(_("More pieces must cost less for each than fewer do."), f"{least}_price")
        before = price
    await tx.execute("DELETE FROM catalog_price_tier WHERE sku_id = $1", sku_id)
    await tx.execute(
        "INSERT INTO catalog_price_tier (sku_id, from_quantity, price)"
        " SELECT $1, * FROM unnest($2::int[], $3::bigint[])",
        sku_id,
        list(tiers),
        list(tiers.values()),
    )
    facts = {str(least): price for least, price in sorted(tiers.items())}
    await audit.record(tx, editor.actor, "sku.tiers", f"sku:{sku['code']}", facts, shop_id=editor.shop_id)


# -- categories -------------------------------------------------------------------------


async def save_category(
    editor: Person, category_id: int | None, slug: str, title: Words, position: int, visible: bool
) -> None:
    await db.transaction(_save_category, editor, category_id, slug, title, position, visible)


async def _save_category(
    tx: Tx, editor: Person, category_id: int | None, slug: str, title: Words, position: int, visible: bool
) -> None:
    if category_id is None:
        statement = tx.fetchval(
            "INSERT INTO catalog_category (shop_id, slug, title, position, visible) VALUES ($1, $2, $3, $4, $5)"
            " RETURNING id",
            editor.shop_id,
            slug,
            title,
            position,
            visible,
        )
    else:
        statement = tx.fetchval(
            "UPDATE catalog_category SET slug = $3, title = $4, position = $5, visible = $6"
            " WHERE shop_id = $1 AND id = $2 RETURNING id",
            editor.shop_id,
            category_id,
            slug,
            title,
            position,
            visible,
        )
    saved = await _unique(_("Another category has this address."), "slug", statement)
    if saved is None:
        raise Refused(_("This category is gone. Choose another one."))
    await audit.record(tx, editor.actor, "category.saved", f"category:{saved}", shop_id=editor.shop_id)


async def delete_category(editor: Person, category_id: int) -> None:
    """Its products stay, without a category."""

    async def write(tx: Tx) -> None:
        gone = await tx.fetchval(
            "DELETE FROM catalog_category WHERE shop_id = $1 AND id = $2 RETURNING id", editor.shop_id, category_id
        )
        if gone is None:
            return
        await audit.record(tx, editor.actor, "category.deleted", f"category:{category_id}", shop_id=editor.shop_id)

    await db.transaction(write)


async def _unique(text: Any, field: str, statement: Any) -> Any:
    try:
        return await statement
    except asyncpg.UniqueViolationError:
        raise Refused(text, field) from None
