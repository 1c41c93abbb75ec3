"""The demo shop comes and goes in one act, and never takes anything of the merchant's with it."""

from typing import Any

from core import db
from core.admin import demo
from tests.storefront.buyer import MUSIC, Buyer


async def shelf() -> dict[str, int]:
    row = await db.fetchrow(
        """
        SELECT (SELECT count(*) FROM catalog_product WHERE state = 'listed') AS products,
               (SELECT count(*) FROM catalog_sku WHERE listed) AS skus,
               (SELECT count(*) FROM catalog_category) AS categories,
               (SELECT count(*) FROM catalog_media) AS pictures,
               (SELECT count(*) FROM vault_code WHERE state = 'free') AS free
        """
    )
    assert row is not None
    return dict(row)


FULL = {"products": 3, "skus": 6, "categories": 3, "pictures": 3, "free": 60}
EMPTY = {"products": 0, "skus": 0, "categories": 0, "pictures": 0, "free": 0}


async def test_comes_and_goes(shop: str) -> None:
    assert not await demo.is_first_start()
    assert await shelf() == FULL
    await demo.seed()
    assert await shelf() == FULL
    await demo.remove()
    assert await shelf() == EMPTY
    assert await db.fetchval("SELECT count(*) FROM vault_batch") == 0
    assert not await demo.is_first_start()
    await demo.seed()
    assert await shelf() == FULL


async def test_what_was_sold_stays_in_the_books(buyer: Buyer, stock: Any) -> None:
    order = await buyer.bought()
    await demo.remove()
    kept = await shelf()
    assert (kept["products"], kept["skus"], kept["free"]) == (0, 0, 0)
    assert len(await buyer.reveal(order)) == 1
    assert (await buyer.get("/p/starlight-music?gone=1")).status_code == 404
    assert (await buyer.get(f"/checkout?sku={MUSIC}")).status_code == 404
    await demo.seed()
    assert (await shelf())["free"] == 60
    assert (await buyer.get("/p/starlight-music?back=1")).status_code == 200


async def test_a_product_of_the_merchant_is_left_alone(shop: str) -> None:
    await db.execute("UPDATE catalog_product SET demo = false, title = $1 WHERE slug = 'nimbus-drive'", {"en": "Mine"})
    await db.execute("UPDATE catalog_sku SET demo = false WHERE code = 'DEMO-NIMBUS-200'")
    await db.execute(
        "UPDATE vault_batch SET demo = false WHERE sku_id = (SELECT id FROM catalog_sku WHERE code = 'DEMO-NIMBUS-200')"
    )
    await demo.remove()
    await demo.seed()
    await demo.remove()
    assert await db.fetchval("SELECT title ->> 'en' FROM catalog_product WHERE slug = 'nimbus-drive'") == "Mine"
    assert (await shelf())["free"] == 10
