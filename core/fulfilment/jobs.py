"""What the clock sets going around stock: the merchant hears of SKUs that run low."""

from __future__ import annotations

from core import clock, db
from core.db import Tx
from core.jobs import Lease, every, ring
from core.messages import service as messages
from core.messages.events import LOW_STOCK
from core.shops import service as shops
from core.shops.service import Shop
from core.vault import low_stock


@every(60, "fulfilment.low_stock")
async def tell_low_stock(lease: Lease) -> None:
    for shop in await shops.all_shops():
        await ring(*await db.transaction(tell_of, shop))


async def tell_of(tx: Tx, shop: Shop) -> list[int]:
    """One mail to each of the staff who look after the stock, about all SKUs that ran low since the last."""
    if not await low_stock.newly_low(tx, shop.id):
        return []
    jobs = []
    for keeper in await low_stock.keepers(tx, shop.id):
        unique = f"{keeper['id']}:{clock.now():%Y%m%d%H%M%S%f}"
        locale = keeper["locale"] or shop.locale
        jobs += await messages.queue(tx, shop.id, None, LOW_STOCK.key, keeper["email"], locale, unique)
    return jobs
