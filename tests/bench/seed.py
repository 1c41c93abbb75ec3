"""Puts into our shop what the bench buys: one product with one SKU, and 易支付 to pay with.

The environment says which shop, as for `server.py`; the shop runs already.
"""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("PICCOLO_CONF", "core.piccolo_conf")

from core import db, embedded
from core.config import Config
from core.db import Tx
from core.hooks import store
from core.shops import service as shops
from core.vault import keys

SKU = "BENCH"
PRICE = 1990
PAYEE = "1001"
PAYEE_KEY = "bench-merchant-key"
EPAY = {"gateway": "http://127.0.0.1:9", "pid": PAYEE, "alipay": True, "wxpay": False}

PRODUCT = """
WITH product AS (
    INSERT INTO catalog_product (shop_id, slug, title, state) VALUES ($1, 'bench', $2, 'listed') RETURNING id
)
INSERT INTO catalog_sku (shop_id, product_id, code, title, price, currency)
SELECT $1, id, $3, $2, $4, 'CNY' FROM product
"""


async def seed(tx: Tx) -> None:
    shop = await tx.fetchval("SELECT min(id) FROM shops_shop")
    await tx.execute(PRODUCT, shop, {"en": "Month card", "zh-CN": "月卡"}, SKU, PRICE)
    await shops.change(tx, shop, test_mode=False)
    await store.save(tx, "payments.epay", True, EPAY, {"key": PAYEE_KEY})


async def main(config: Config) -> None:
    keys.use(keys.load(config)[0])
    await db.open_pool(str(config.database_url), size=2)
    await db.transaction(seed)
    await db.close_pool()


if __name__ == "__main__":
    with embedded.addresses(Config.from_env(), lambda text: None) as config:
        asyncio.run(main(config))
