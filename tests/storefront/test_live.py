"""The live order page: a stream that says that something changed, and the question it leads to."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from tests.storefront.buyer import CODE, Buyer, until
from tests.storefront.conftest import NewBuyer

ASKED_BY_HTMX = {"hx-request": "true", "hx-request-type": "partial"}


async def events_until(lines: Any, wanted: str) -> list[str]:
    seen = []
    async with asyncio.timeout(20):
        async for line in lines:
            if line:
                seen.append(line)
            if line == wanted:
                break
    return seen


async def test_a_payment_is_heard_at_once(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    async with buyer.http.stream("GET", f"{order}/events") as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        assert stream.headers["x-accel-buffering"] == "no"
        lines = stream.aiter_lines()
        assert await events_until(lines, "event: open")
        await buyer.pay(order)
        heard = await events_until(lines, f"data: {order.removeprefix('/o/')}")
    assert heard[-2:] == ["event: changed", f"data: {order.removeprefix('/o/')}"]
    assert not CODE.search("\n".join(heard))


async def test_nobody_else_can_listen(new_buyer: NewBuyer, stock: Any) -> None:
    owner, other = new_buyer(), new_buyer()
    order = await owner.place()
    await other.place()
    assert (await other.get(f"{order}/events")).status_code == 404


async def test_an_unchanged_page_is_not_sent_again(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    page = (await buyer.get(order)).text
    seen = page.partition(f'hx-get="{order}?seen=')[2].partition('"')[0]
    assert (await buyer.get(f"{order}?seen={seen}", **ASKED_BY_HTMX)).status_code == 204
    await buyer.pay(order)
    answer = await buyer.get(f"{order}?seen={seen}", **ASKED_BY_HTMX)
    assert answer.status_code == 200
    assert answer.text.startswith('<div id="order" class="order order-delivered">')
    assert "hx-sse" not in answer.text


async def test_one_browser_holds_few_streams(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()

    async def status() -> int:
        async with buyer.http.stream("GET", f"{order}/events") as stream:
            return stream.status_code

    async with AsyncExitStack() as opened:
        kept = []
        for _ in range(4):
            stream = await opened.enter_async_context(buyer.http.stream("GET", f"{order}/events"))
            kept.append(stream.aiter_lines())
            assert await events_until(kept[-1], "event: open")
        assert await status() == 429

    async def free_again() -> bool:
        return await status() == 200

    await until(free_again)
