"""200 buyers at 50 at once on 50 codes, over HTTP: exactly 50 sold, none twice, nobody pays for nothing."""

import asyncio
import re
import secrets
from collections import Counter
from urllib.parse import urlsplit

import httpx
import pytest

from tests.faults.shop import SEED, SETTINGS, Books, notice
from tests.payments.real_shop import TLS, RealShop

SKU = "RACE"
CODES = [f"RACE-{number:04d}-CODE" for number in range(50)]
BUYERS, AT_ONCE = 200, 50
SOLD_OUT = "Sold out: the last ones were just taken. You have not been charged."


@pytest.fixture(scope="module")
def sql(engines, database):
    name = urlsplit(database).path[1:]
    engines.sql(SEED, name)
    return lambda statement: engines.sql(statement, name)


@pytest.fixture(scope="module")
def web(sql, start, tmp_path_factory):
    web = start("web", "--no-demo", **SETTINGS)
    RealShop(web.url, web.environ, sql).stock(SKU, CODES, tmp_path_factory.mktemp("codes"))
    return web


async def buy(url: str, turn: asyncio.Semaphore) -> str:
    """One buyer with a browser of their own: the code, or ``sold out`` as told by the shop."""
    headers = {"Origin": url, "Accept-Language": "en"}
    async with turn, httpx.AsyncClient(base_url=url, headers=headers, timeout=60, verify=TLS) as http:
        form = {
            "sku": SKU,
            "quantity": "1",
            "contact": f"{secrets.token_hex(8)}@example.com",
            "method": "epay:alipay",
            "key": secrets.token_hex(16),
        }
        placed = await http.post("/checkout", data=form)
        if placed.status_code == 409:
            assert SOLD_OUT in placed.text
            return "sold out"
        assert placed.status_code == 303, placed.text
        ref = placed.headers["location"].removeprefix("/o/")
        paid = await http.get(f"/pay/epay/notify?{notice(f'{ref}-1')}")
        assert paid.content == b"success"
        shown = await http.post(f"/o/{ref}/reveal", headers={"X-CSRF-Token": placed.headers["X-CSRF-Token"]})
        return re.findall(r'<output class="code">([^<]+)</output>', shown.text)[0]


async def test_exactly_fifty_are_sold_and_the_others_are_told(web, sql):
    turn = asyncio.Semaphore(AT_ONCE)
    got = Counter(await asyncio.gather(*(buy(web.url, turn) for _ in range(BUYERS))))
    assert got.pop("sold out") == BUYERS - len(CODES)
    assert got == Counter(CODES)
    assert sql("SELECT count(*) FROM orders_order") == "50"
    assert sql("SELECT count(*) FROM payments_event") == "50"
    assert Books(sql).problems() == []
