"""SKUs on sale with no more codes than their threshold, and of which of them the merchant has not been told yet."""

from __future__ import annotations

from typing import Any

from core import clock, db
from core.db import Tx
from core.vault.stock import SELLABLE_FROM

LOW = f"""
SELECT sku.id, sku.code, sku.title, product.title AS product_title, product.id AS product_id, stock.free,
       told.told_at
FROM catalog_sku sku JOIN shops_shop shop ON shop.id = sku.shop_id
JOIN catalog_product product ON product.id = sku.product_id AND product.state = 'listed'
LEFT JOIN vault_low_stock told ON told.sku_id = sku.id
CROSS JOIN LATERAL (SELECT count(*) AS free FROM (
    SELECT 1 FROM vault_code WHERE sku_id = sku.id AND state = 'free' AND slot >= {SELLABLE_FROM}
    LIMIT sku.low_stock + 1) AS few) AS stock
WHERE sku.shop_id = $2 AND sku.listed AND sku.source = 'codes' AND stock.free <= sku.low_stock
ORDER BY stock.free, sku.id
"""  # noqa: S608 - put together from constants

# Codes that come back from unpaid orders are no refill: without this, each cancelled order would be a mail.
REFILLED = """
DELETE FROM vault_low_stock told USING catalog_sku sku
WHERE sku.id = told.sku_id AND sku.shop_id = $1 AND told.sku_id <> ALL($2::bigint[]) AND EXISTS (
    SELECT 1 FROM vault_batch WHERE sku_id = sku.id AND state = 'ready' AND created_at > told.told_at)
"""

# Staff may also bring codes back on sale, or let one be given more often: no batch tells of that.
COME_BACK = "UPDATE vault_low_stock SET told_at = '-infinity' WHERE sku_id = ANY($1::bigint[])"

# A SKU that never had codes is not running low, it was not begun.
TELL = """
INSERT INTO vault_low_stock (sku_id, told_at) SELECT id, $2 FROM unnest($1::bigint[]) AS low (id)
WHERE EXISTS (SELECT 1 FROM vault_batch WHERE sku_id = low.id AND state = 'ready')
ON CONFLICT (sku_id) DO NOTHING RETURNING sku_id
"""

KEEPERS = """
SELECT id, email, locale FROM people_staff
WHERE shop_id = $1 AND role IN ('owner', 'manager', 'stock') AND disabled_at IS NULL ORDER BY id
"""


async def now_low(shop_id: int) -> list[Any]:
    """SKUs on sale that run low, the emptiest first."""
    return await db.fetch(LOW, clock.now(), shop_id)


async def newly_low(tx: Tx, shop_id: int) -> list[int]:
    """SKUs that ran low since the last look; each is given once until it is refilled."""
    now = clock.now()
    low = [row["id"] for row in await tx.fetch(LOW, now, shop_id)]
    await tx.execute(REFILLED, shop_id, low)
    return [row["sku_id"] for row in await tx.fetch(TELL, low, now)]


async def come_back(tx: Tx, sku_ids: list[int]) -> None:
    """Staff put more of these on sale: the merchant is told when they run low again."""
    await tx.execute(COME_BACK, sku_ids)


async def keepers(tx: Tx, shop_id: int) -> list[Any]:
    """Staff who look after the stock."""
    return await tx.fetch(KEEPERS, shop_id)
