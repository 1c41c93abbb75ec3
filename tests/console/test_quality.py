"""Codes set aside, codes for many buyers and bad codes, as staff see and decide them."""

import asyncio
import html
import re

import pytest

from core import db
from core.checkout.settle import settle
from core.fulfilment import replacement
from core.fulfilment.replacement import Reporter
from core.ids import new_token, token_hash
from tests import stocked
from tests.console import words

pytestmark = pytest.mark.usefixtures("address", "real")


async def batch_of(sku):
    return await db.fetchval("SELECT max(id) FROM vault_batch WHERE sku_id = $1", sku.id)


async def hold_of(sku):
    return await db.fetchval("SELECT max(hold_id) FROM vault_code WHERE sku_id = $1", sku.id)


async def sold(sku):
    token = new_token()
    placed = await stocked.order(sku, who=stocked.buyer(session=token))
    await settle("epay", stocked.paid(placed), "callback")
    code = await db.fetchval("SELECT id FROM vault_code WHERE sku_id = $1 AND state = 'delivered'", sku.id)
    return placed, code, token_hash(token)


async def test_a_batch_is_set_aside_and_put_back(staff):
    sku = await stocked.sku(3)
    placed, _code, _session = await sold(sku)
    page = await staff.post("/admin/stock/aside", 200, reason="<b>bad lot</b>", batch=str(await batch_of(sku)))
    assert "Set aside: 2." in words(page)
    assert f'href="/admin/orders/{placed.ref}"' in page
    assert "<b>bad lot</b>" not in page
    assert await stocked.codes_by_state(sku) == {"delivered": 1, "quarantined": 2}
    masks = re.findall(r"<code>(.+?)</code>", await staff.get(f"/admin/stock/aside?sku={sku.code}&why=suspect"))
    assert len(masks) == 2
    assert "Nothing fits" in words(await staff.get(f"/admin/stock/aside?sku={sku.code}&why=ending"))

    page = await staff.post(f"/admin/stock/aside/{await hold_of(sku)}", act="back")
    assert "2 codes are on sale again." in words(page)
    assert await stocked.codes_by_state(sku) == {"delivered": 1, "free": 2}


async def test_single_codes_are_set_aside(staff):
    sku = await stocked.sku(3)
    page = await staff.post("/admin/stock/aside", 200, reason="leaked", codes="\n".join(sku.codes[:2]))
    assert "Set aside: 2." in words(page)
    assert sku.codes[0] not in page
    assert await stocked.codes_by_state(sku) == {"free": 1, "quarantined": 2}


async def test_a_refused_hold_keeps_nothing_secret_on_the_page(staff):
    sku = await stocked.sku(1)
    page = await staff.post("/admin/stock/aside", 422, reason=" ", codes=sku.codes[0])
    assert sku.codes[0] not in page
    assert await stocked.codes_by_state(sku) == {"free": 1}


async def test_who_may_set_aside(sign_in):
    sku = await stocked.sku(1)
    for role, status in (("support", 403), ("readonly", 403), ("finance", 403)):
        staff = await sign_in(role)
        await staff.post("/admin/stock/aside", status, reason="no", batch=str(await batch_of(sku)))
    assert await stocked.codes_by_state(sku) == {"free": 1}
    clerk = await sign_in("stock")
    await clerk.post("/admin/stock/aside", 200, reason="yes", batch=str(await batch_of(sku)))
    assert await stocked.codes_by_state(sku) == {"quarantined": 1}


async def test_a_code_for_many_buyers(staff):
    sku = await stocked.sku(0)
    form = {"sku": str(sku.id), "name": "Licence", "text": "LICENCE-FOR-ALL-0001", "cap": "3"}
    page = await staff.post("/admin/stock/reusable", **form)
    assert "this code can be given 3 times" in words(page)
    assert "LICENCE-FOR-ALL-0001" not in page
    assert "••••0001" in page
    page = await staff.post("/admin/stock/reusable", 422, **form)
    assert "LICENCE-FOR-ALL-0001" not in page
    page = await staff.post(f"/admin/stock/reusable/{await batch_of(sku)}/cap", cap="5")
    assert await stocked.codes_by_state(sku) == {"free": 5}
    await staff.post("/admin/stock/reusable", 422, **{**form, "text": "OTHER-ONE-0002", "expires_on": "2020-01-01"})
    assert await stocked.codes_by_state(sku) == {"free": 5}


async def test_a_reported_code_is_replaced_from_the_queue(staff):
    sku = await stocked.sku(3)
    placed, code, session = await sold(sku)
    await replacement.report(placed.ref, code, "used", "<i>taken</i>", Reporter(session, None, "test"))
    page = await staff.get("/admin/review")
    action = f"/admin/orders/{placed.ref}/codes/{code}/replace"
    assert f'action="{action}"' in page
    page = await staff.get(f"/admin/orders/{placed.ref}")
    assert "It was used already" in words(page)
    assert "<i>taken</i>" not in page
    assert html.escape("<i>taken</i>") in page
    page = await staff.post(action, note="used")
    assert "Replaced: the order has the new code" in words(page)
    assert "Bad, replaced" in words(page)
    assert "instead of" in words(page)
    assert await stocked.codes_by_state(sku) == {"delivered": 2, "free": 1}
    assert "replaced already" in words(await staff.post(action, note="again"))
    assert await stocked.codes_by_state(sku) == {"delivered": 2, "free": 1}


async def test_who_may_replace(sign_in):
    sku = await stocked.sku(2)
    placed, code, _session = await sold(sku)
    for role in ("stock", "finance", "readonly"):
        staff = await sign_in(role)
        await staff.post(f"/admin/orders/{placed.ref}/codes/{code}/replace", 403, note="no")
        await staff.post(f"/admin/orders/{placed.ref}/codes/{code}/good", 403, note="no")
    assert await stocked.codes_by_state(sku) == {"delivered": 1, "free": 1}
    support = await sign_in("support")
    await support.post(f"/admin/orders/{placed.ref}/codes/{code}/replace", note="yes")
    assert await stocked.codes_by_state(sku) == {"delivered": 2}


async def test_without_stock_it_says_so_and_waits(staff):
    sku = await stocked.sku(1)
    placed, code, _session = await sold(sku)
    page = await staff.post(f"/admin/orders/{placed.ref}/codes/{code}/replace", note="bad")
    assert "No other code is in stock." in words(page)
    assert "A code does not work" in words(page)
    page = await staff.post(f"/admin/orders/{placed.ref}/codes/{code}/good", note="it works")
    assert "Closed: the code is good." in words(page)
    assert await db.fetchval("SELECT resolution FROM review_item WHERE order_id = $1", placed.order_id) == "good"


async def offered(staff, product, values):
    """Whether the form of a new SKU begins with these; a door remembers the shop for a second."""
    async with asyncio.timeout(10):
        while True:
            page = await staff.get(f"/admin/products/{product}")
            new = page[page.index(f'action="/admin/products/{product}/skus"') :]
            if all(re.search(f'name="{name}"[^>]* value="{value}"', new) for name, value in values.items()):
                return True
            await asyncio.sleep(0.05)


async def test_the_thresholds_of_a_sku(staff):
    sku = await stocked.sku(3)
    assert sku.code not in await staff.get("/admin")
    await staff.post(
        "/admin/settings/selling",
        reservation_minutes="15", open_orders_per_contact="1000", open_orders_per_address="1000", show_stock="band",
        low_stock="7", min_days_left="9",
    )  # fmt: skip
    product = await db.fetchval("SELECT product_id FROM catalog_sku WHERE id = $1", sku.id)
    assert await offered(staff, product, {"low_stock": "7", "min_days_left": "9"})
    await staff.post(
        f"/admin/products/{product}/skus/{sku.id}",
        code=sku.code, title_en="One", price="19.90", low_stock="3", min_days_left="4", version="1", listed="on",
    )  # fmt: skip
    row = await db.fetchrow("SELECT low_stock, min_days_left FROM catalog_sku WHERE id = $1", sku.id)
    assert tuple(row) == (3, 4)
    assert f"sku={sku.code}" in await staff.get("/admin")
