"""The gateways' doors: what they let in, what they answer, what they leave behind."""

import asyncio
import html
import re
from typing import Any

import httpx
import pytest

from core import db
from tests.storefront.buyer import Buyer, alarms, counts, facts


async def callback(buyer: Buyer, order: str, outcome: str = "paid") -> dict[str, str]:
    """The signed fields the test gateway would report with."""
    link = re.search(r'href="[^"]*(/pay/sandbox/notify[^"]*)"', (await buyer.get(order)).text)
    assert link
    gateway = (await buyer.http.get(html.unescape(link[1]))).text
    forms = re.findall(r'<form method="post" action="[^"]+">(.*?)</form>', gateway, re.DOTALL)
    fields = next(fields for fields in forms if f'id="{outcome}"' in fields)
    return {name: html.unescape(value) for name, value in re.findall(r'name="([^"]+)" value="([^"]*)"', fields)}


async def knock(client: httpx.AsyncClient, fields: dict[str, str]) -> httpx.Response:
    """A gateway has no cookies and comes from nowhere."""
    async with httpx.AsyncClient(base_url=client.base_url) as gateway:
        return await gateway.post("/pay/sandbox/notify", data=fields)


async def test_a_true_callback_delivers(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    answer = await knock(buyer.http, await callback(buyer, order))
    assert answer.status_code == 200
    held = await facts(order)
    assert (held["payment"], held["fulfilment"], held["delivered"]) == ("paid", "delivered", 1)


async def test_the_same_callback_fifty_times_at_once(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    fields = await callback(buyer, order)
    before = await counts()
    answers = await asyncio.gather(*(knock(buyer.http, fields) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    held = await facts(order)
    assert (held["paid"], held["delivered"]) == (1500, 1)
    assert (await counts())["events"] == before["events"] + 1


@pytest.mark.parametrize("change", ["a field", "the signature", "no signature", "nothing at all"])
async def test_a_forged_callback_leaves_an_alarm_and_nothing_else(buyer: Buyer, stock: Any, change: str) -> None:
    order = await buyer.place()
    fields = await callback(buyer, order)
    sign = next(name for name in fields if "sign" in name)
    if change == "a field":
        name = next(name for name in fields if name != sign)
        fields[name] += "1"
    elif change == "the signature":
        fields[sign] = "0" * len(fields[sign])
    elif change == "no signature":
        del fields[sign]
    else:
        fields = {}
    before, held, seen = await counts(), await facts(order), len(await alarms())
    answer = await knock(buyer.http, fields)
    assert answer.status_code == 400
    assert await counts() == before
    assert await facts(order) == held
    assert (await alarms())[seen:] == ["payment.forged"]


async def test_a_method_that_cannot_call_back_is_always_forged(client: httpx.AsyncClient) -> None:
    seen = len(await alarms())
    assert (await client.post("/pay/manual/notify", data={"paid": "yes"})).status_code == 400
    assert (await alarms())[seen:] == ["payment.forged"]


@pytest.mark.parametrize("path", ["/pay/nope/notify", "/pay/sandbox%00/notify", "/pay/../notify"])
async def test_an_unknown_method_has_no_door(client: httpx.AsyncClient, path: str) -> None:
    seen = len(await alarms())
    assert (await client.post(path)).status_code == 404
    assert len(await alarms()) == seen


async def test_a_callback_above_64_kb_is_not_read(client: httpx.AsyncClient) -> None:
    before, seen = await counts(), len(await alarms())
    assert (await client.post("/pay/sandbox/notify", content=b"x" * 70_000)).status_code == 413
    assert await counts() == before
    assert len(await alarms()) == seen


async def test_coming_back_only_shows_the_order(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    before = await facts(order)
    ref = order.removeprefix("/o/")
    answer = await buyer.get(f"/pay/sandbox/return?order={ref}&trade_status=TRADE_SUCCESS&money=15.00")
    assert (answer.status_code, answer.headers["location"]) == (303, order)
    assert await facts(order) == before
    soon = await db.fetchval("SELECT next_query_at <= now() FROM payments_attempt WHERE ref = $1", f"{ref}-1")
    assert soon


async def test_coming_back_by_a_form_of_the_gateway(client: httpx.AsyncClient) -> None:
    answer = await client.post("/pay/sandbox/return?order=V123", headers={"origin": "https://gateway.example"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/o/V123")


async def test_a_stranger_cannot_make_us_ask_the_gateway(buyer: Buyer, client: httpx.AsyncClient, stock: Any) -> None:
    order = await buyer.place()
    await client.get(f"/pay/sandbox/return?order={order.removeprefix('/o/')}")
    soon = await db.fetchval(
        "SELECT next_query_at <= now() FROM payments_attempt WHERE ref = $1", f"{order.removeprefix('/o/')}-1"
    )
    assert not soon


@pytest.mark.parametrize("order", ["", "//evil.example", "https://evil.example", "V1%0d%0aSet-Cookie:x=1", "x" * 500])
async def test_coming_back_leads_nowhere_else(client: httpx.AsyncClient, order: str) -> None:
    answer = await client.get(f"/pay/sandbox/return?order={order}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/lookup")


async def test_a_flood_of_forgeries_does_not_fill_the_alarms_nor_shut_out_a_true_one(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    true = await callback(buyer, order)
    await db.execute("UPDATE web_limit SET hits = 10000 WHERE bucket LIKE 'forged:%'")
    await knock(buyer.http, {"sign": "first"})
    await db.execute("UPDATE web_limit SET hits = 10000 WHERE bucket LIKE 'forged:%'")
    before = await alarms()
    refused = await knock(buyer.http, {"sign": "one more"})
    assert refused.status_code == 400
    assert await alarms() == before
    assert (await knock(buyer.http, true)).status_code == 200
    assert (await facts(order))["delivered"] == 1
    await db.execute("DELETE FROM web_limit WHERE bucket LIKE 'forged:%'")
