"""The demo shop: three believable products with made-up codes, put in and taken out in one act."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core import db
from core.catalog.service import Words, forget
from core.db import Tx
from core.hooks import store
from core.ids import ALPHABET
from core.vault import cipher, stock
from core.vault.import_run import BatchFacts, open_new_batch

PICTURES = Path(__file__).parent / "demo_pictures"
WIDTH, HEIGHT = 960, 600
CODES = 10
TEST_GATEWAY = "payments.sandbox"


@dataclass(frozen=True)
class Sku:
    code: str
    title: Words
    price: int
    period: str = "none"
    face_value: int | None = None


@dataclass(frozen=True)
class Product:
    slug: str
    category: tuple[str, Words]
    picture: str
    title: Words
    summary: Words
    description: Words
    delivery_note: Words
    skus: tuple[Sku, ...]
    buyer_fields: list[dict[str, Any]] = field(default_factory=list)


PRODUCTS = (
    Product(
        slug="starlight-music",
        category=("memberships", {"en": "Memberships", "zh-CN": "会员"}),
        picture="music.webp",
        title={"en": "Starlight Music membership", "zh-CN": "星光音乐会员"},
        summary={
            "en": "Every song without ads, also offline. Works worldwide.",
            "zh-CN": "全曲库无广告畅听，可离线下载，全球通用。",
        },
        description={
            "en": (
                "### What you get\n\n- 40 million songs in lossless quality\n- Offline on up to five devices\n"
                "- No automatic renewal: it simply ends\n\nThe time is **added** to what your account still has."
            ),
            "zh-CN": (
                "### 会员权益\n\n- 四千万首无损音乐\n- 最多五台设备离线下载\n- 不自动续费，到期即止\n\n"
                "有效期会**累加**到账户现有时长之后。"
            ),
        },
        delivery_note={
            "en": "1. Open the Starlight app, **Me → Redeem**.\n2. Paste the code.\n\nUse it within 12 months.",
            "zh-CN": "1. 打开星光音乐 App，进入 **我的 → 兑换中心**。\n2. 粘贴兑换码并确认。\n\n请在 12 个月内使用。",
        },
        skus=(
            Sku("DEMO-MUSIC-1M", {"en": "1 month", "zh-CN": "月卡"}, 1500, "month"),
            Sku("DEMO-MUSIC-3M", {"en": "3 months", "zh-CN": "季卡"}, 3900, "season"),
            Sku("DEMO-MUSIC-1Y", {"en": "1 year", "zh-CN": "年卡"}, 12800, "year"),
        ),
    ),
    Product(
        slug="comet-games-card",
        category=("games", {"en": "Games", "zh-CN": "游戏"}),
        picture="game.webp",
        title={"en": "Comet Games gift card", "zh-CN": "彗星游戏点卡"},
        summary={
            "en": "Top up your Comet wallet for games, passes and skins.",
            "zh-CN": "为彗星平台钱包充值，购买游戏、通行证与皮肤。",
        },
        description={
            "en": "The full amount lands in your Comet wallet and never expires.\n\n> China region accounts only.",
            "zh-CN": "面值即时到账彗星钱包，永久有效。\n\n> 仅限国区账号使用。",
        },
        delivery_note={
            "en": "Sign in at **comet.example/redeem**, paste the code, done. Each code works once.",
            "zh-CN": "登录 **comet.example/redeem**，粘贴卡密即可到账。每个卡密仅能使用一次。",
        },
        skus=(
            Sku("DEMO-COMET-50", {"en": "¥50 card", "zh-CN": "50 元"}, 4850, face_value=5000),
            Sku("DEMO-COMET-100", {"en": "¥100 card", "zh-CN": "100 元"}, 9600, face_value=10000),
        ),
    ),
    Product(
        slug="nimbus-drive",
        category=("tools", {"en": "Tools", "zh-CN": "工具"}),
        picture="cloud.webp",
        title={"en": "Nimbus Drive, 200 GB for a year", "zh-CN": "云朵网盘 200GB 年卡"},
        summary={
            "en": "Room for all your photos, encrypted on the way and at rest.",
            "zh-CN": "给照片和文件一个家，传输与存储全程加密。",
        },
        description={
            "en": "200 GB more for an existing or new account, for twelve months from the day you redeem it.",
            "zh-CN": "为新老账户增加 200GB 空间，自兑换之日起十二个月有效。",
        },
        delivery_note={
            "en": "Open **nimbus.example → Settings → Add storage** and paste the code.",
            "zh-CN": "打开 **nimbus.example → 设置 → 扩容**，粘贴兑换码。",
        },
        skus=(Sku("DEMO-NIMBUS-200", {"en": "200 GB, 1 year", "zh-CN": "200GB · 一年"}, 9900, "year"),),
        buyer_fields=[
            {
                "key": "account",
                "label": {"en": "Your Nimbus account", "zh-CN": "您的云朵账号"},
                "kind": "email",
                "required": True,
                "help": {
                    "en": "Only noted on the order, so that support can find you.",
                    "zh-CN": "仅记录在订单上，方便客服查找。",
                },
            }
        ],
    ),
)

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
ON CONFLICT (shop_id, code) DO UPDATE SET listed = true WHERE catalog_sku.demo RETURNING id
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


async def seed() -> None:
    """Put the demo products on the shelf, or back on it, each with ten codes, and switch the test gateway on."""
    await db.transaction(_seed)


async def _seed(tx: Tx) -> None:
    shop_id = await tx.fetchval("SELECT min(id) FROM shops_shop")
    for position, product in enumerate(PRODUCTS):
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
    await db.transaction(_remove)
    forget()


async def _remove(tx: Tx) -> None:
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
