"""What the clock sets going around stock: the merchant hears of SKUs that run low."""

from __future__ import annotations

import asyncio

from core import clock, db
from core.catalog.service import words
from core.db import Tx
from core.fulfilment import buying
from core.fulfilment import service as fulfilment
from core.hooks import telling
from core.hooks.views import StockView
from core.jobs import Lease, every, job, ring
from core.jobs.registry import Args
from core.messages import service as messages
from core.messages.events import LOW_STOCK
from core.shops import service as shops
from core.shops.service import Shop
from core.supply import purchases
from core.vault import low_stock, stock


@every(60, "fulfilment.low_stock")
async def tell_low_stock(lease: Lease) -> None:
    for shop in await shops.all_shops():
        await ring(*await db.transaction(tell_of, shop))


async def tell_of(tx: Tx, shop: Shop) -> list[int]:
    """One mail to each of the staff who look after the stock, about all SKUs that ran low since the last."""
    newly_low = await low_stock.newly_low(tx, shop.id)
    if not newly_low:
        return []
    jobs = await telling.tell_many(tx, [str(sku_id) for sku_id in newly_low], "stock_low")
    for keeper in await low_stock.keepers(tx, shop.id):
        unique = f"{keeper['id']}:{clock.now():%Y%m%d%H%M%S%f}"
        locale = keeper["locale"] or shop.locale
        jobs += await messages.queue(tx, shop.id, None, LOW_STOCK.key, keeper["email"], locale, unique)
    return jobs


# -- what plugins are shown -------------------------------------------------------------

SKU = """
SELECT sku.code, sku.low_stock, product.title, shop.code AS shop, shop.locale
FROM catalog_sku sku JOIN catalog_product product ON product.id = sku.product_id
JOIN shops_shop shop ON shop.id = sku.shop_id WHERE sku.id = $1
"""


@telling.shows("stock_low")
async def look(sku_id: str) -> telling.Views | None:
    row = await db.fetchrow(SKU, int(sku_id))
    if row is None:
        return None
    free = await stock.free_counts([int(sku_id)])
    title = words(row["title"], row["locale"])
    left = min(free[int(sku_id)], row["low_stock"] + 1)
    return {"stock": StockView(row["shop"], row["code"], title, left, row["low_stock"])}


# -- what is bought ---------------------------------------------------------------------

ASKED_AT_ONCE = 8


@job(fulfilment.BUY, tries=12, backoff_seconds=5, timeout_seconds=180, on_failed=buying.gave_up)
async def buy(args: Args, lease: Lease) -> None:
    await buying.go_on(args["purchase"], lease)


@every(2, "fulfilment.ask_suppliers")
async def ask_suppliers(lease: Lease) -> None:
    """What became of purchases that nobody is sure of."""
    at_once = asyncio.Semaphore(ASKED_AT_ONCE)

    async def one(purchase_id: int) -> None:
        async with at_once:
            await buying.go_on_apart(purchase_id)

    async with asyncio.TaskGroup() as asking:
        for purchase_id in await purchases.due():
            asking.create_task(one(purchase_id))


@every(60, "fulfilment.lost_purchases")
async def lost_purchases(lease: Lease) -> None:
    await ring(*await buying.lost())
