"""The real shop buys from Fulu's gateway, which is a process of its own: a card, and a top-up that Fulu calls about."""

from urllib.parse import urlsplit

import httpx
import pytest

from core import db
from core.api.testing import in_process
from core.audit.person import Person
from core.supply import skus
from core.supply.skus import Draft
from core.vault import keys
from plugins.suppliers.fulu.tests.fake import APP_KEY, APP_SECRET, BAD_PHONE, CARD, PHONE, TOP_UP
from tests import stocked
from tests.conftest import ROOT
from tests.faults.shop import SETTINGS, Books, Browser, notice, tell
from tests.payments.real_shop import RealShop

PRICE = 6000
KEY = "22" * 32
SEED = """
UPDATE shops_shop SET test_mode = false;
INSERT INTO hooks_plugin (id, enabled) VALUES ('payments.epay', true), ('suppliers.fulu', true);
"""


@pytest.fixture(scope="module")
def fulu():
    with in_process(ROOT / "plugins/suppliers/fulu/tests/fake.py") as gateway:
        yield gateway


@pytest.fixture(scope="module")
async def shop(engines, database, start, fulu, pool):
    def sql(statement):
        return engines.sql(statement, urlsplit(database).path[1:])

    sql(SEED)
    keys.use(keys.MasterKey(bytes.fromhex(KEY)))
    environ = {
        **SETTINGS,
        "VOUCHSAFE_MASTER_KEY": KEY,
        "VOUCHSAFE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
        "VOUCHSAFE_SUPPLIERS_FULU_APP_KEY": APP_KEY,
        "VOUCHSAFE_SUPPLIERS_FULU_APP_SECRET": APP_SECRET,
        "VOUCHSAFE_SUPPLIERS_FULU_PLATFORM": "other",
        "VOUCHSAFE_SUPPLIERS_FULU_ADDRESS": f"{fulu.address}/api/getway",
    }
    web = start("web", "--no-demo", **environ)
    start("worker", **environ)
    shop = RealShop(web.url, web.environ, sql)
    shop.until(lambda: sql("SELECT count(*) FROM supply_offer WHERE listed") == "3")
    return shop


async def sold_by_fulu(item):
    what = await stocked.sku(0, price=PRICE)
    editor = Person(1, await stocked.staff_member())
    offer = await db.fetchval("SELECT id FROM supply_offer WHERE item = $1", item)
    await db.transaction(skus.link, editor, what.id, offer)
    await skus.save(editor, what.id, Draft("supplier"))
    return what


@pytest.fixture
def browser():
    with Browser() as browser:
        yield browser


def bought(shop, browser, what, **answers):
    browser.open_counter(shop.url, what.code)
    browser.form |= {f"field_{name}": text for name, text in answers.items()}
    ref = browser.send(shop.url)
    assert tell(shop.url, notice(f"{ref}-1", f"{PRICE / 100:.2f}")).text == "success"
    return ref


def delivered(shop, ref):
    return Books(shop.sql).order(ref)[:2] == ("paid", "delivered")


def orders_at(fulu, ref):
    return [one for one in fulu.client.post("/_orders").json() if one["customer_order_no"].startswith(ref)]


async def test_a_card_is_bought_and_shown(shop, fulu, browser):
    fulu.client.post("/_change", json={"at_once": True}).raise_for_status()
    what = await sold_by_fulu(CARD)
    ref = bought(shop, browser, what)
    shop.until(lambda: delivered(shop, ref))
    (code,) = browser.reveal(shop.url, ref)
    assert "CD100000000001" in code and "PW000001" in code
    assert [one["product_id"] for one in orders_at(fulu, ref)] == [int(CARD)]
    cost = "SELECT sum(amount) FROM ledger_entry e JOIN orders_order o ON o.id = e.order_id WHERE kind = 'purchase'"
    assert shop.sql(f"{cost} AND ref = '{ref}'") == "4850"
    assert Books(shop.sql).problems() == []


async def test_a_top_up_ends_when_fulu_calls_and_a_failed_one_waits_for_a_person(shop, fulu, browser):
    fulu.client.post("/_change", json={"at_once": False}).raise_for_status()
    what = await sold_by_fulu(TOP_UP)
    good = bought(shop, browser, what, account_charge_account=PHONE)
    bad = bought(shop, browser, what, account_charge_account=BAD_PHONE)
    shop.until(lambda: len(orders_at(fulu, good)) == len(orders_at(fulu, bad)) == 1)
    assert orders_at(fulu, good)[0]["charge_account"] == PHONE
    for call in fulu.client.post("/_finish").json():
        forged = httpx.post(
            f"{shop.url}/supply/fulu/notify", content=call.replace("success", "succeed").encode() + b" "
        )
        true = httpx.post(f"{shop.url}/supply/fulu/notify", content=call.encode())
        assert (true.status_code, true.text) == (200, "success"), forged.text
    shop.until(lambda: delivered(shop, good))
    shop.until(lambda: Books(shop.sql).order(bad)[:2] == ("paid", "review"))
    assert len(orders_at(fulu, good)) == len(orders_at(fulu, bad)) == 1
