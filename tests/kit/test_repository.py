"""A plugin in a repository of its own: made by a command, installed by pip, switched on and set up in the console,
and sold from."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from core import db
from core.hooks import runtime as runtimes
from core.hooks import scaffold
from tests import console
from tests.storefront.buyer import Buyer, facts
from tests.supply.conftest import World

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"set_title_zh": "银行转账", "set_title_en": "Bank transfer"}
PIP = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Made, installed into a folder of its own, and found there by this Python."""
    made = scaffold.make_repository("suppliers", "acme", tmp_path_factory.mktemp("work") / "acme")
    site = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, *PIP, "--target", site, made.repository], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sys.path.append(str(site))
    importlib.invalidate_caches()
    yield made
    sys.path.remove(str(site))


@pytest.fixture(scope="module")
async def address(repository, database, redis_url, tmp_path_factory):
    private = {"VOUCHSAFE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8"}
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home"), **private) as address:
        await db.execute("UPDATE shops_shop SET test_mode = false")
        yield address


@pytest.fixture
async def supplier(repository):
    """The server its own tests came with."""
    spec = importlib.util.spec_from_file_location("acme_tests", repository.tests / "test_contract.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    async with module.Fake() as supplier:
        yield supplier


def state():
    return runtimes.current().plugin("suppliers.acme").state


async def test_it_is_found_switched_on_set_up_by_its_form_and_sells(address, supplier):
    assert state() == "disabled"
    async with console.signed_in(address) as staff:
        assert "suppliers.acme" in await staff.get("/admin/plugins")
        await staff.post("/admin/plugins/suppliers.acme/enable")
        assert state() == "needs_settings"
        settings = {"set_server": supplier.address, "secret_key": supplier.settings()["key"]}
        page = "/admin/plugins/suppliers.acme/settings"
        wrong = await staff.post(page, status=200, act="test", **{**settings, "secret_key": "another"})
        assert "The key is not known there." in console.words(wrong)
        tried = await staff.post(page, status=200, act="test", **settings)
        assert "It sells 1 things." in console.words(tried)
        await staff.post(page, act="save", **settings)
        assert state() == "active"

        await staff.post("/admin/plugins/payments.manual/enable")
        await staff.post(
            "/admin/plugins/payments.manual/settings", act="save", set_instructions_en="Send {amount}.", **NAMES
        )

        shop = World(supplier, supplier)
        sku = await shop.sku("card-10", supplier="acme")
        async with httpx.AsyncClient(base_url=address, headers={"origin": address, "accept-language": "en"}) as http:
            buyer = Buyer(http)
            order = await buyer.place(sku.code, method="manual")
            assert supplier.in_all() == 0
            await staff.post(f"/admin/orders/{order.removeprefix('/o/')}/confirm-paid", note="seen")
            await shop.work()
            assert (await facts(order))["fulfilment"] == "delivered"
            shown = await buyer.post(f"{order}/reveal")
    (sale,) = (one for sales in supplier.book.values() for one in sales)
    assert sale["codes"][0] in shown.text
    assert [len(sales) for sales in supplier.book.values()] == [1]
