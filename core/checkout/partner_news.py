"""What partners are told without asking: an order is delivered or cancelled, a price or a stock has changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core import db
from core.catalog.browse import FREE
from core.checkout.channel import Channel, PartnerUnavailable, SaleState
from core.checkout.selling import GOING_BACK, TELL_SALE, Counter, state_of, tell
from core.config import Config
from core.db import Tx
from core.hooks import runtime
from core.hooks.http import HttpError
from core.jobs import NewJob, Retry, enqueue_many
from core.partners import accounts
from core.shops import service as shops

TELL_STAND = "checkout.tell_stand"
ENOUGH = 21
"""Above so many in stock, partners are not told of each sale."""

OVER = f"""
SELECT bought.order_id, o.payment_state, o.fulfilment_state, false AS going_back
FROM partners_order bought JOIN orders_order o ON o.id = bought.order_id
WHERE bought.callback_url <> '' AND bought.told = 'waiting'
  AND (o.fulfilment_state = 'delivered'
       OR ((o.fulfilment_state = 'void' OR o.payment_state = 'refunded') AND NOT {GOING_BACK}))
  AND NOT EXISTS (SELECT 1 FROM jobs_job
                  WHERE key IN ($1 || bought.order_id || ':delivered', $1 || bought.order_id || ':cancelled')) LIMIT 200
"""  # noqa: S608 - put together from constants

# Only for shops with a partner that wants to hear of it.
MOVED = f"""
WITH listener AS (
    SELECT id, shop_id FROM partners_partner WHERE notify_url <> '' AND stopped_at IS NULL
), now_so AS (
    SELECT one.id, one.shop_id,
           concat_ws(' ', one.price, one.currency, one.listed AND product.state = 'listed', {FREE.format(most="$1")})
               AS stand
    FROM catalog_sku one JOIN catalog_product product ON product.id = one.product_id
    WHERE one.shop_id IN (SELECT shop_id FROM listener)
), kept AS (
    INSERT INTO partners_stand AS known (sku_id, stand) SELECT id, stand FROM now_so
    ON CONFLICT (sku_id) DO UPDATE SET stand = excluded.stand WHERE known.stand <> excluded.stand
    RETURNING sku_id
)
SELECT listener.id AS partner, array_agg(now_so.id ORDER BY now_so.id) AS skus
FROM kept JOIN now_so ON now_so.id = kept.sku_id JOIN listener ON listener.shop_id = now_so.shop_id
GROUP BY listener.id
"""  # noqa: S608 - put together from constants

TOLD_OF = """
SELECT bought.channel, bought.callback_url, bought.told, bought.partner_id, o.shop_id
FROM partners_order bought JOIN orders_order o ON o.id = bought.order_id WHERE bought.order_id = $1
"""


async def orders_to_tell(tx: Tx) -> list[int]:
    """Orders that ended some time after they were sold: delivered by a person, or paid back."""
    return [await tell(tx, row["order_id"], state_of(row)) for row in await tx.fetch(OVER, f"{TELL_SALE}:")]


async def stands_to_tell(tx: Tx) -> list[int]:
    """SKUs whose price or stock is not what partners last heard."""
    rows = await tx.fetch(MOVED, ENOUGH)
    return await enqueue_many(
        tx, [NewJob(TELL_STAND, {"partner": row["partner"], "skus": row["skus"]}) for row in rows]
    )


async def tell_sale(order_id: int) -> None:
    """:raises Retry: the partner, or the channel, cannot hear now."""
    row = await db.fetchrow(TOLD_OF, order_id)
    if row is None or row["told"] != "waiting":
        return
    shop = await shops.by_id(row["shop_id"])
    partner = await accounts.by_id(shop.id, row["partner_id"])
    counter = Counter(shop, row["channel"], Config.from_env().base_url)
    sale = await counter.sale(partner, order_id) if partner else None
    if partner is None or sale is None or sale.state is SaleState.WAITING:
        return
    goods = await counter.goods(partner, sale) if sale.state is SaleState.DELIVERED else ()
    with _later():
        await _channel(row["channel"]).tell_sale(partner, sale, goods, row["callback_url"])
    await db.execute("UPDATE partners_order SET told = $2 WHERE order_id = $1", order_id, sale.state)


async def tell_stand(partner_id: int, sku_ids: list[int]) -> None:
    """:raises Retry: the partner cannot hear now."""
    row = await db.fetchrow("SELECT shop_id FROM partners_partner WHERE id = $1", partner_id)
    partner = await accounts.by_id(row["shop_id"], partner_id) if row else None
    if partner is None or partner.stopped or not partner.notify_url:
        return
    rows = await db.fetch("SELECT id, product_id FROM catalog_sku WHERE id = ANY($1) ORDER BY id", sku_ids)
    changed = tuple((row["product_id"], row["id"]) for row in rows)
    with _later():
        for channel in runtime.current().channels_in(partner.shop_id).values():
            await channel.tell_stand(partner, changed, partner.notify_url)


def _channel(key: str) -> Channel:
    channel = runtime.current().channels.get(key)
    if not isinstance(channel, Channel):
        raise Retry(f"the plugin of the channel {key} is switched off")
    return channel


@contextmanager
def _later() -> Iterator[None]:
    try:
        yield
    except (HttpError, PartnerUnavailable) as error:
        raise Retry(str(error)) from None
