"""kill -9 right after the money was taken from a balance: the order it paid for is delivered, and paid for once."""

import signal
from urllib.parse import urlsplit

import httpx
import pytest

from core import db
from core.ids import token_hash
from core.ledger import customers
from core.money import Money
from core.people import contact_proof
from tests.faults.shop import SEED, SETTINGS, Browser
from tests.payments.real_shop import PRICE, RealShop
from tests.storefront.buyer import until

SKU = "PURSE"
CODES = [f"PURSE-{number:04d}-CODE" for number in range(3)]
HELD = PRICE + 500


async def _put_in(tx: db.Tx, contact: str) -> None:
    money = Money(HELD, "CNY")
    await customers.put_in(tx, 1, contact, money, kind="balance_in", source="t:crash", against="cash")


@pytest.fixture(scope="module")
def web(engines, database, start, tmp_path_factory):
    name = urlsplit(database).path[1:]
    engines.sql(SEED + "INSERT INTO hooks_plugin (id, enabled) VALUES ('payments.balance', true)", name)
    web = start("web", "--no-demo", **SETTINGS)
    RealShop(web.url, web.environ, lambda statement: engines.sql(statement, name)).stock(
        SKU, CODES, tmp_path_factory.mktemp("codes")
    )
    return web


async def test_money_that_was_taken_buys_although_the_process_was_killed(pool, web, start):
    with Browser() as browser:
        browser.open_counter(web.url, SKU)
        ref = browser.send(web.url)
        await db.transaction(_put_in, browser.contact)
        session = token_hash(browser.http.cookies["vs"])
        token = await contact_proof.new_link(1, browser.contact)
        assert await db.transaction(contact_proof.prove, 1, token, session) == browser.contact
        doomed = start("web", "--no-demo", VOUCHSAFE_CRASH_AT="purse.taken", **SETTINGS)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            pay = {"method": "balance", "csrf": browser.form["csrf"]}
            browser.http.post(f"{doomed.url}/o/{ref}/pay", data=pay, headers={"Origin": doomed.url})
        assert doomed.process.wait(10) == -signal.SIGKILL

    async def state() -> tuple[str, str]:
        row = await db.fetchrow("SELECT payment_state, fulfilment_state FROM orders_order WHERE ref = $1", ref)
        return tuple(row)

    async def held() -> list[int]:
        return [balance.money.amount for balance in await customers.of_contact(1, browser.contact)]

    assert (await state(), await held()) == (("unpaid", "reserved"), [500])
    start("worker", **SETTINGS)

    async def settled() -> bool:
        return await state() != ("unpaid", "reserved")

    await until(settled, 30)
    assert (await state(), await held()) == (("paid", "delivered"), [500])
    assert await customers.out_of_step() == []
    assert await db.fetchval("SELECT sum(amount) FROM payments_event") == PRICE
