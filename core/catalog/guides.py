"""Redemption guides: how to use what was bought, written once for each device and used by many products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

from core import db
from core.audit import service as audit
from core.audit.person import Person
from core.catalog.devices import DEVICES
from core.catalog.editing import ChangedMeanwhile, Words
from core.db import Tx
from core.refused import Refused
from core.web.i18n import _

LONGEST_TEXT = 10_000
MOST_PICTURES = 30

Texts = dict[str, Words]
"""By device, then by language: Markdown."""

# What buyers said of the lines that were sold with it.
SAID = """
    (SELECT count(*) FROM orders_worked said WHERE said.guide_id = guide.id) AS said,
    (SELECT count(*) FROM orders_worked said WHERE said.guide_id = guide.id AND NOT said.worked) AS not_worked
"""
LIST = f"""
SELECT guide.*, {SAID},
    (SELECT count(*) FROM catalog_product WHERE guide_id = guide.id) AS products,
    (SELECT count(*) FROM catalog_sku WHERE guide_id = guide.id) AS skus
FROM catalog_guide guide WHERE guide.shop_id = $1 ORDER BY lower(guide.name) LIMIT 500
"""  # noqa: S608 - put together from constants
ONE = f"SELECT guide.*, {SAID} FROM catalog_guide guide WHERE guide.shop_id = $1 AND guide.id = $2"  # noqa: S608
USED_BY = """
SELECT product.id, product.title, NULL::bigint AS sku_id, '' AS sku_code,
    (SELECT count(*) FROM orders_worked said WHERE said.product_id = product.id AND said.guide_id = $1) AS said,
    (SELECT count(*) FROM orders_worked said
     WHERE said.product_id = product.id AND said.guide_id = $1 AND NOT said.worked) AS not_worked
FROM catalog_product product WHERE product.guide_id = $1
UNION ALL
SELECT product.id, product.title, sku.id, sku.code, 0, 0
FROM catalog_sku sku JOIN catalog_product product ON product.id = sku.product_id WHERE sku.guide_id = $1
ORDER BY 1, 3 NULLS FIRST LIMIT 200
"""
ON_DEVICES = """
SELECT device, count(*) AS said, count(*) FILTER (WHERE NOT worked) AS not_worked
FROM orders_worked WHERE guide_id = $1 GROUP BY device
"""
PICTURES = """
SELECT media.id, left(media.sha256, 16) AS sha, media.width, media.height
FROM catalog_guide_picture picture JOIN catalog_media media ON media.id = picture.media_id
WHERE picture.guide_id = $1 ORDER BY media.id DESC
"""


@dataclass(frozen=True, slots=True)
class GuideDraft:
    name: str
    texts: Texts
    link: str = ""


async def all_of(shop_id: int) -> list[Any]:
    return await db.fetch(LIST, shop_id)


async def one(shop_id: int, guide_id: int) -> Any:
    return await db.fetchrow(ONE, shop_id, guide_id)


async def used_by(guide_id: int) -> list[Any]:
    """The products and SKUs that have it, with what their buyers said."""
    return await db.fetch(USED_BY, guide_id)


async def on_devices(guide_id: int) -> dict[str, Any]:
    return {row["device"]: row for row in await db.fetch(ON_DEVICES, guide_id)}


async def pictures(guide_id: int) -> list[Any]:
    return await db.fetch(PICTURES, guide_id)


# -- changing ---------------------------------------------------------------------------


async def add(editor: Person, draft: GuideDraft) -> int:
    """:raises Refused: another guide has this name, or there is nothing in it."""
    return await db.transaction(_add, editor, draft)


async def _add(tx: Tx, editor: Person, draft: GuideDraft) -> int:
    _check(draft)
    insert = "INSERT INTO catalog_guide (shop_id, name, texts, link) VALUES ($1, $2, $3, $4) RETURNING id"
    try:
        guide_id = int(await tx.fetchval(insert, editor.shop_id, draft.name, draft.texts, draft.link))
    except asyncpg.UniqueViolationError:
        raise Refused(_("Another guide has this name."), "name") from None
    await audit.record(tx, editor.actor, "guide.added", f"guide:{guide_id}", shop_id=editor.shop_id)
    return guide_id


async def save(editor: Person, guide_id: int, version: int, draft: GuideDraft) -> None:
    """:raises ChangedMeanwhile: it is not at ``version`` any more."""
    await db.transaction(_save, editor, guide_id, version, draft)


async def _save(tx: Tx, editor: Person, guide_id: int, version: int, draft: GuideDraft) -> None:
    _check(draft)
    try:
        saved = await tx.fetchval(
            "UPDATE catalog_guide SET name = $4, texts = $5, link = $6, version = version + 1, updated_at = now()"
            " WHERE shop_id = $1 AND id = $2 AND version = $3 RETURNING id",
            editor.shop_id,
            guide_id,
            version,
            draft.name,
            draft.texts,
            draft.link,
        )
    except asyncpg.UniqueViolationError:
        raise Refused(_("Another guide has this name."), "name") from None
    if saved is None:
        raise ChangedMeanwhile
    await audit.record(tx, editor.actor, "guide.saved", f"guide:{guide_id}", shop_id=editor.shop_id)


def _check(draft: GuideDraft) -> None:
    if not draft.name:
        raise Refused(_("Give it a name."), "name")
    if draft.link and not draft.link.startswith(("https://", "http://")):
        raise Refused(_("A link begins with https://"), "link")
    if not any(text for words in draft.texts.values() for text in words.values()):
        raise Refused(_("Write the steps for at least one device."), "text_any_zh")
    if draft.texts.keys() - DEVICES.keys():
        raise Refused(_("There is no such device."))


async def duplicate(editor: Person, guide_id: int) -> int | None:
    """A copy to be changed, used by nothing yet; None when there is no such guide."""
    return await db.transaction(_duplicate, editor, guide_id)


async def _duplicate(tx: Tx, editor: Person, guide_id: int) -> int | None:
    copy = await tx.fetchval(
        "INSERT INTO catalog_guide (shop_id, name, texts, link)"
        " SELECT shop_id, left(name, 88) || ' (' || (SELECT 1 + count(*) FROM catalog_guide other"
        "  WHERE other.shop_id = $1 AND starts_with(other.name, left(guide.name, 88))) || ')', texts, link"
        " FROM catalog_guide guide WHERE shop_id = $1 AND id = $2 ON CONFLICT DO NOTHING RETURNING id",
        editor.shop_id,
        guide_id,
    )
    if copy is None:
        return None
    await tx.execute(
        "INSERT INTO catalog_guide_picture SELECT $1, media_id FROM catalog_guide_picture WHERE guide_id = $2",
        copy,
        guide_id,
    )
    await audit.record(tx, editor.actor, "guide.added", f"guide:{copy}", {"copy_of": guide_id}, shop_id=editor.shop_id)
    return int(copy)


async def delete(editor: Person, guide_id: int) -> None:
    """:raises Refused: a product still uses it."""
    await db.transaction(_delete, editor, guide_id)


async def _delete(tx: Tx, editor: Person, guide_id: int) -> None:
    try:
        gone = await tx.fetchval(
            "DELETE FROM catalog_guide WHERE shop_id = $1 AND id = $2 RETURNING id", editor.shop_id, guide_id
        )
    except asyncpg.ForeignKeyViolationError:
        raise Refused(_("Products still use this guide. Take it away from them first.")) from None
    if gone is not None:
        await audit.record(tx, editor.actor, "guide.deleted", f"guide:{guide_id}", shop_id=editor.shop_id)


async def keep_picture(tx: Tx, guide_id: int, media_id: int) -> None:
    """:raises Refused: it has too many already."""
    kept = await tx.fetchval("SELECT count(*) FROM catalog_guide_picture WHERE guide_id = $1", guide_id)
    if kept >= MOST_PICTURES:
        raise Refused(_("A guide has at most %(most)d pictures.", most=MOST_PICTURES), "image")
    await tx.execute("INSERT INTO catalog_guide_picture VALUES ($1, $2) ON CONFLICT DO NOTHING", guide_id, media_id)


async def names(shop_id: int) -> list[tuple[int, str]]:
    """To choose from."""
    rows = await db.fetch("SELECT id, name FROM catalog_guide WHERE shop_id = $1 ORDER BY lower(name)", shop_id)
    return [(row["id"], row["name"]) for row in rows]


# -- what uses it -----------------------------------------------------------------------

GIVE = """
WITH sku AS (
    UPDATE catalog_sku SET guide_id = $2 WHERE shop_id = $1 AND code = $3 RETURNING id
), product AS (
    UPDATE catalog_product SET guide_id = $2, version = version + 1 WHERE shop_id = $1 AND slug = $3 RETURNING id
)
SELECT (SELECT count(*) FROM sku) + (SELECT count(*) FROM product)
"""


async def give(editor: Person, guide_id: int, to: str) -> None:
    """Let a product (by its address) or one SKU (by its code) use the guide instead of the one it had.

    :raises Refused: there is neither.
    """
    await db.transaction(_give, editor, guide_id, to)


async def _give(tx: Tx, editor: Person, guide_id: int, to: str) -> None:
    if not await tx.fetchval(GIVE, editor.shop_id, guide_id, to.strip().rpartition("/p/")[2]):
        raise Refused(_("There is no product with this address and no SKU with this code."), "to")
    await audit.record(tx, editor.actor, "guide.given", f"guide:{guide_id}", {"to": to[:100]}, shop_id=editor.shop_id)


async def take_away(editor: Person, guide_id: int, product_id: int, sku_id: int | None) -> None:
    """From a product, or from one SKU of it."""
    await db.transaction(_take_away, editor, guide_id, product_id, sku_id)


async def _take_away(tx: Tx, editor: Person, guide_id: int, product_id: int, sku_id: int | None) -> None:
    if sku_id is None:
        await tx.execute(
            "UPDATE catalog_product SET guide_id = NULL, version = version + 1"
            " WHERE shop_id = $1 AND guide_id = $2 AND id = $3",
            editor.shop_id,
            guide_id,
            product_id,
        )
    else:
        await tx.execute(
            "UPDATE catalog_sku SET guide_id = NULL WHERE shop_id = $1 AND guide_id = $2 AND id = $3",
            editor.shop_id,
            guide_id,
            sku_id,
        )
    detail = {"product": product_id, "sku": sku_id}
    await audit.record(tx, editor.actor, "guide.taken", f"guide:{guide_id}", detail, shop_id=editor.shop_id)
