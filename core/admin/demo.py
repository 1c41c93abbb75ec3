"""The demo shop: believable products with made-up codes, put in and taken out in one act."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from core import db
from core.admin.packs import EVERYTHING, PACKS, Product
from core.catalog.service import forget
from core.db import Tx
from core.hooks import store
from core.ids import ALPHABET
from core.vault import cipher, stock
from core.vault.import_run import BatchFacts, open_new_batch

PICTURES = Path(__file__).parent / "demo_pictures"
WIDTH, HEIGHT = 960, 600
CODES = 10
TEST_GATEWAY = "payments.sandbox"


CATEGORY = """
INSERT INTO catalog_category (shop_id, slug, title, position, demo) VALUES ($1, $2, $3, $4, true)
ON CONFLICT (shop_id, slug) DO UPDATE SET slug = excluded.slug RETURNING id
"""

PICTURE = """
INSERT INTO catalog_media (shop_id, sha256, content_type, width, height, body) VALUES ($1, $2, 'image/webp', $3, $4, $5)
ON CONFLICT (shop_id, sha256) DO UPDATE SET width = excluded.width RETURNING id
"""

# A product of the merchant's own that happens to have this address is left alone.
PRODUCT = """
INSERT INTO catalog_product (shop_id, category_id, slug, title, summary, description, delivery_note, buyer_fields,
                             image_id, state, position, demo)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'listed', $10, true)
ON CONFLICT (shop_id, slug) DO UPDATE SET state = 'listed', category_id = excluded.category_id,
    image_id = excluded.image_id WHERE catalog_product.demo RETURNING id
"""

SKU = """
INSERT INTO catalog_sku (shop_id, product_id, code, title, price, currency, face_value, period, position, low_stock,
                         demo)
SELECT $1, $2, $3, $4, $5, shop.currency, $6, $7, $8, 3, true FROM shops_shop shop WHERE shop.id = $1
ON CONFLICT (shop_id, code) DO UPDATE SET listed = true, currency = excluded.currency
    WHERE catalog_sku.demo RETURNING id
"""

CODE = """
INSERT INTO vault_code (id, shop_id, sku_id, batch_id, slot, blob, fingerprint, mask)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""


async def is_first_start() -> bool:
    """Nobody has set this shop up yet, and it never had a product."""
    return await db.fetchval(
        "SELECT NOT is_called AND NOT EXISTS (SELECT 1 FROM people_staff) FROM catalog_product_id_seq"
    )


async def seed(pack: str = EVERYTHING) -> None:
    """Put the demo products on the shelf, or back on it, each with ten codes, and switch the test gateway on."""
    await db.transaction(put, pack)
    forget()


async def put(tx: Tx, pack: str = EVERYTHING) -> None:
    """The same within a transaction; the catalogue is to be forgotten after it."""
    shop_id = await tx.fetchval("SELECT min(id) FROM shops_shop")
    for position, product in enumerate(PACKS[pack].products):
        await _put(tx, shop_id, product, position)
    await store.enable(tx, TEST_GATEWAY, True)


async def _put(tx: Tx, shop_id: int, product: Product, position: int) -> None:
    slug, title = product.category
    category_id = await tx.fetchval(CATEGORY, shop_id, slug, title, position)
    body = (PICTURES / product.picture).read_bytes()
    sha = hashlib.sha256(body).hexdigest()
    picture_id = await tx.fetchval(PICTURE, shop_id, sha, WIDTH, HEIGHT, body)
    product_id = await tx.fetchval(
        PRODUCT,
        shop_id,
        category_id,
        product.slug,
        product.title,
        product.summary,
        product.description,
        product.delivery_note,
        product.buyer_fields,
        picture_id,
        position,
    )
    if product_id is None:
        return
    for place, sku in enumerate(product.skus):
        sku_id = await tx.fetchval(
            SKU, shop_id, product_id, sku.code, sku.title, sku.price, sku.face_value, sku.period, place
        )
        if sku_id is not None:
            await _stock_up(tx, shop_id, sku_id)


async def _stock_up(tx: Tx, shop_id: int, sku_id: int) -> None:
    free = await tx.fetchval("SELECT count(*) FROM vault_code WHERE sku_id = $1 AND state = 'free'", sku_id)
    if free >= CODES:
        return
    codes = [_made_up() for _ in range(CODES - free)]
    batch_id, batch = await open_new_batch(
        tx, shop_id, sku_id, BatchFacts(name="Demo", source="demo", demo=True), staff_id=None
    )
    ids = [
        row["id"]
        for row in await tx.fetch("SELECT nextval('vault_code_id_seq') AS id FROM generate_series(1, $1)", len(codes))
    ]
    marks = cipher.fingerprints(shop_id, codes)
    await tx.executemany(
        CODE,
        [
            (id, shop_id, sku_id, batch_id, stock.slot(mark, None), blob, mark, cipher.mask(code))
            for id, code, mark, blob in zip(ids, codes, marks, batch.seal_many(ids, codes), strict=True)
        ],
    )
    await tx.execute(
        "UPDATE vault_batch SET state = 'ready', counts = $2 WHERE id = $1", batch_id, {"imported": len(codes)}
    )


def _made_up() -> str:
    groups = ("".join(secrets.choice(ALPHABET) for _ in range(4)) for _ in range(3))
    return "-".join(("DEMO", *groups))


async def remove() -> None:
    """Take the demo away. What was sold stays in the books: its product is archived and not deleted."""
    await db.transaction(take_out)
    forget()


async def take_out(tx: Tx) -> None:
    """The same within a transaction; the catalogue is to be forgotten after it."""
    await tx.execute(
        "DELETE FROM vault_code WHERE state NOT IN ('reserved', 'delivered')"
        " AND batch_id IN (SELECT id FROM vault_batch WHERE demo)"
    )
    await tx.execute(
        "DELETE FROM vault_batch batch WHERE demo AND NOT EXISTS (SELECT 1 FROM vault_code WHERE batch_id = batch.id)"
        " AND NOT EXISTS (SELECT 1 FROM vault_import WHERE batch_id = batch.id)"
    )
    await tx.execute(
        "DELETE FROM catalog_sku sku WHERE demo AND NOT EXISTS (SELECT 1 FROM orders_line WHERE sku_id = sku.id)"
        " AND NOT EXISTS (SELECT 1 FROM vault_batch WHERE sku_id = sku.id)"
    )
    await tx.execute("UPDATE catalog_sku SET listed = false WHERE demo")
    await tx.execute(
        "DELETE FROM catalog_product product WHERE demo"
        " AND NOT EXISTS (SELECT 1 FROM catalog_sku WHERE product_id = product.id)"
    )
    await tx.execute("UPDATE catalog_product SET state = 'archived' WHERE demo")
    await tx.execute(
        "DELETE FROM catalog_category category WHERE demo"
        " AND NOT EXISTS (SELECT 1 FROM catalog_product WHERE category_id = category.id AND state <> 'archived')"
    )
    await tx.execute(
        "DELETE FROM catalog_media media WHERE sha256 = ANY($1)"
        " AND NOT EXISTS (SELECT 1 FROM catalog_product WHERE image_id = media.id)",
        [hashlib.sha256(path.read_bytes()).hexdigest() for path in PICTURES.glob("*.webp")],
    )
