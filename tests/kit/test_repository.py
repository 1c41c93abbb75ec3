"""The tutorial, command by command: a plugin in a repository of its own is made, tried, installed by pip, switched on
and set up in the console, and sold from."""

import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from core import db
from core.hooks import runtime as runtimes
from tests import console
from tests.storefront.buyer import Buyer, facts
from tests.supply.conftest import World

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"set_title_zh": "银行转账", "set_title_en": "Bank transfer"}
TUTORIAL = ROOT / "docs" / "plugins" / "tutorial.md"
QUIETLY = ["-q", "--upgrade", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
CODE = ["vouchsafe_suppliers_acme/plugin.toml", "vouchsafe_suppliers_acme/__init__.py", "tests/test_contract.py"]
SAID: dict[str, str] = {}


def run(line, where, site):
    """A command of the tutorial, as it stands; what pip installs goes into a folder of this test."""
    program, *arguments = shlex.split(line)
    if program == "cd":
        return where / arguments[0]
    known = {"vouchsafe": [ROOT / "server.py"], "pip": ["-m", "pip"]}[program]
    if program == "pip":
        arguments += ["--target", site, *QUIETLY]
    # an editable install is a line in a .pth file, which Python reads only in its own folders
    path = os.pathsep.join((str(where), str(site)))
    environment = {**os.environ, "PYTHONPATH": path, "VOUCHSAFE_HOME": str(site / "home")}
    command = [sys.executable, *known, *arguments]
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    SAID[line] = done.stdout
    return where


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Every command of the tutorial, one after the other."""
    where, site = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("site")
    for block in re.findall(r"^```sh\n(.*?)```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            where = run(line, where, site)
    sys.path.append(str(site))
    importlib.invalidate_caches()
    yield where
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
    spec = importlib.util.spec_from_file_location("acme_tests", repository / "tests" / "test_contract.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    async with module.Fake() as supplier:
        yield supplier


@pytest.mark.parametrize("path", ["pyproject.toml", *CODE])
def test_the_tutorial_shows_the_files_as_they_are(repository, path):
    shown = re.findall(rf"<!-- part of: {re.escape(path)} -->\n```\w+\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    assert shown
    assert squeezed("".join(shown)) == squeezed((repository / path).read_text())


def squeezed(text):
    """Without empty lines: a block has none at its ends."""
    return [line for line in text.splitlines() if line.strip()]


def test_every_block_of_the_tutorial_is_one_of_these(repository):
    text = TUTORIAL.read_text()
    parts = sum(text.count(f"<!-- part of: {path} -->") for path in ("pyproject.toml", *CODE))
    assert len(re.findall(r"^```\w", text, re.MULTILINE)) == parts + len(re.findall(r"^```sh$", text, re.MULTILINE))
    assert SAID["vouchsafe check-plugin ."].startswith("suppliers.acme: polished\n")


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
