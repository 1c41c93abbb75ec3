"""A buyer says that a code does not work, and gets another one."""

import re
from typing import Any

from core import db
from core.fulfilment import replacement
from tests.storefront.buyer import CODE, Buyer, counts
from tests.storefront.conftest import NewBuyer


async def first_code(order: str) -> int:
    return int(
        await db.fetchval(
            "SELECT min(code.id) FROM vault_code code JOIN orders_line line ON line.id = code.line_id"
            " JOIN orders_order o ON o.id = line.order_id WHERE o.ref = $1 AND code.state = 'delivered'",
            order.removeprefix("/o/"),
        )
    )


async def questions() -> int:
    return int(await db.fetchval("SELECT count(*) FROM review_item WHERE kind = 'bad_code'"))


async def test_a_bad_code_is_reported_once_and_its_successor_shown(buyer: Buyer, stock: Any) -> None:
    order = await buyer.bought()
    old = (await buyer.reveal(order))[0]
    code = await first_code(order)
    assert "Does a code not work?" in (await buyer.get(order)).text
    before = await questions()
    report = {"code": str(code), "why": "used", "note": "The site says: taken"}
    assert (await buyer.post(f"{order}/report", report)).headers["location"] == order
    assert "Thank you." in (await buyer.get(order)).text
    page = (await buyer.get(order)).text
    assert "You reported it" in page
    assert "Does a code not work?" not in page
    await buyer.post(f"{order}/report", report)
    assert "You have told us about this code already." in (await buyer.get(order)).text
    assert await questions() == before + 1

    staff = await db.fetchval(
        "INSERT INTO people_staff (shop_id, email, role) VALUES (1, 'helper@example.com', 'support') RETURNING id"
    )
    await replacement.give_another(1, order.removeprefix("/o/"), code, "used", staff)
    page = (await buyer.get(order)).text
    assert "Did not work, replaced" in page
    assert "The new code for the one that did not work" in page
    assert not CODE.search(page)
    shown = await buyer.reveal(order)
    assert len(shown) == 1
    assert shown != [old]
    text = (await buyer.post(f"{order}/codes.txt")).text
    assert CODE.findall(text) == shown


async def test_nobody_else_reports_it(buyer: Buyer, new_buyer: NewBuyer, stock: Any) -> None:
    order = await buyer.bought()
    code = await first_code(order)
    stranger = new_buyer()
    await stranger.bought()
    before = await questions()
    await stranger.post(f"{order}/report", {"code": str(code), "why": "used"})
    bad = await buyer.post(f"{order}/report", {"code": "not a number", "why": "used"})
    assert bad.status_code == 422
    await buyer.post(f"{order}/report", {"code": str(code), "why": "because"})
    assert await questions() == before
    assert await db.fetchval("SELECT reported_at FROM vault_code WHERE id = $1", code) is None


async def test_an_unpaid_order_has_no_such_form(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    before = await counts()
    page = (await buyer.get(order)).text
    assert not re.search(r'action="[^"]*/report"', page)
    assert await counts() == before
