"""Finding orders again gives nobody anything for a contact alone."""

import re
from typing import Any

import pytest

from core import db
from tests.storefront.buyer import CODE, Buyer
from tests.storefront.conftest import NewBuyer
from tests.windows import one_window


async def asked_for(contact: str) -> list[dict[str, Any]]:
    rows = await db.fetch(
        "SELECT args FROM jobs_job WHERE name = 'orders.mail_links' AND args ->> 'contact' = $1", contact
    )
    return [row["args"] for row in rows]


@pytest.fixture(autouse=True)
async def nobody_asked_yet(shop: str) -> None:
    await db.execute("DELETE FROM web_limit")


async def test_hit_and_miss_look_the_same(new_buyer: NewBuyer, stock: Any) -> None:
    owner, other = new_buyer(), new_buyer()
    order = await owner.bought()
    known = await other.post("/lookup", {"contact": owner.contact, "ref": order.removeprefix("/o/")})
    unknown = await other.post("/lookup", {"contact": "nobody@example.com", "ref": "V000000000000"})
    assert known.status_code == unknown.status_code == 200

    def same(page: str, contact: str) -> str:
        return re.sub(r'value="[0-9a-f]{64}"', "", page.replace(contact, ""))

    assert same(known.text, owner.contact) == same(unknown.text, "nobody@example.com")
    assert not CODE.search(known.text)
    assert order not in known.text
    assert order not in (await other.get("/lookup")).text
    for contact, ref in ((owner.contact, order.removeprefix("/o/")), ("nobody@example.com", "V000000000000")):
        assert await asked_for(contact) == [{"shop_id": 1, "contact": contact, "ref": ref, "locale": "en"}]


async def test_a_phone_number_is_explained(buyer: Buyer) -> None:
    answer = await buyer.post("/lookup", {"contact": "+86 138 0013 8000"})
    assert answer.status_code == 200
    assert "We cannot write to a phone number yet" in answer.text
    assert await asked_for("+8613800138000") == []


@pytest.mark.parametrize("contact", ["", "me", "' OR 1=1 --", "<script>alert(1)</script>", "a@b"])
async def test_nonsense_is_told(buyer: Buyer, contact: str) -> None:
    answer = await buyer.post("/lookup", {"contact": contact})
    assert answer.status_code == 422
    assert "<script>alert" not in answer.text
    assert await asked_for(contact) == []


async def test_this_device_knows_its_orders(new_buyer: NewBuyer, stock: Any) -> None:
    buyer, other = new_buyer(), new_buyer()
    first, second = await buyer.bought(), await buyer.place()
    page = (await buyer.get("/lookup")).text
    assert re.findall(r'class="order-row" href="(/o/[^"]+)"', page) == [second, first]
    assert "order-row" not in (await other.get("/lookup")).text


async def test_asking_too_often_is_stopped(buyer: Buyer) -> None:
    with one_window():
        answers = [(await buyer.post("/lookup", {"contact": f"x{n}@example.com"})).status_code for n in range(12)]
    assert answers == [200] * 10 + [429] * 2
    assert await asked_for("x11@example.com") == []
