"""Guards of plugins at the checkout: the buyer reads the reason, and nothing is stored or reserved."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from core import db
from core.hooks import runtime, store
from tests.storefront.buyer import Buyer

CAPPED = "There were too many orders in a short time."


@pytest.fixture
async def one_order_an_hour(shop: str) -> AsyncIterator[None]:
    await db.transaction(store.save, "risk.caps", True, {"per_contact": 1}, {})
    await db.transaction(store.enable, "risk.caps", True)
    await runtime.current().refresh()
    assert runtime.current().plugin("risk.caps").state == "active"
    yield
    await db.transaction(store.enable, "risk.caps", False)
    await runtime.current().refresh()


async def held() -> tuple[int, int]:
    row = await db.fetchrow(
        "SELECT (SELECT count(*) FROM orders_order), (SELECT count(*) FROM vault_code WHERE state = 'reserved')"
    )
    assert row is not None
    return row[0], row[1]


async def test_a_buyer_beyond_the_cap_is_told_and_nothing_is_kept(
    buyer: Buyer, stock: Callable[[], Awaitable[None]], one_order_an_hour: None
) -> None:
    await buyer.place()
    before = await held()
    answer = await buyer.post("/checkout", buyer.form())
    assert answer.status_code == 422
    assert CAPPED in answer.text
    assert await held() == before


async def test_the_second_click_of_the_last_allowed_order_gives_that_order(
    buyer: Buyer, stock: Callable[[], Awaitable[None]], one_order_an_hour: None
) -> None:
    form = buyer.form()
    first = await buyer.post("/checkout", form)
    before = await held()
    second = await buyer.post("/checkout", form)
    assert (second.status_code, second.headers["location"]) == (303, first.headers["location"])
    assert await held() == before


async def test_anothers_key_does_not_get_past_a_guard(
    new_buyer: Callable[[], Buyer], stock: Callable[[], Awaitable[None]], one_order_an_hour: None
) -> None:
    one, other = new_buyer(), new_buyer()
    form = one.form()
    await one.post("/checkout", form)
    await other.place()
    answer = await other.post("/checkout", {**form, "contact": other.contact})
    assert answer.status_code == 422
    assert CAPPED in answer.text
