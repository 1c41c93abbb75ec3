"""A real worker beside the real shop makes what was ordered in the console."""

import asyncio

import pytest

from core import db
from core.redemption.issue import PIECE
from tests.console import signed_in, words


@pytest.fixture(scope="module")
async def shop(server, worker, pool):
    await db.execute("UPDATE shops_shop SET test_mode = false")
    return server.url


async def test_the_worker_makes_the_codes_while_the_page_tells_how_far_it_is(shop):
    product = await db.fetchval(
        "INSERT INTO catalog_product (shop_id, slug, title, state) VALUES (1, 'card', '{\"en\": \"Card\"}', 'listed')"
        " RETURNING id"
    )
    await db.execute(
        "INSERT INTO catalog_sku (shop_id, product_id, code, title, price, currency)"
        " VALUES (1, $1, 'CARD', '{\"en\": \"One\"}', 100, 'CNY')",
        product,
    )
    wanted = 2 * PIECE + 1
    async with signed_in(shop) as staff:
        form = {"sku": "CARD", "name": "Many", "count": str(wanted), "use": "sale", "group": "4"}
        answer = await staff.http.post("/admin/own-codes", data={**form, "csrf": staff.csrf})
        assert answer.status_code == 303, words(answer.text)
        page = answer.headers["location"]
        async with asyncio.timeout(60):
            while not (part := await staff.http.get(f"{page}/progress")).headers.get("hx-redirect"):
                assert part.status_code == 200
                assert "Making codes" in words(part.text)
                await asyncio.sleep(0.05)
        assert part.headers["hx-redirect"] == page
        assert f"Codes made {wanted:,}" in words(await staff.get(page))
        assert await db.fetchval("SELECT count(*) FROM vault_code WHERE state = 'free'") == wanted
        assert await db.fetchval("SELECT count(*) FROM redemption_voucher WHERE balance = 1") == wanted
        await staff.post(f"/admin/stock/batches/{page.rpartition('/')[2]}/undo")
        assert await db.fetchval("SELECT count(*) FROM redemption_voucher") == 0
