"""A stranger's plugin is broken in nine ways while the shop runs: it stays up each time and says what is wrong."""

import logging
import sys
from contextlib import asynccontextmanager
from html import unescape

import httpx
import pytest

from core import db
from core.admin import demo
from core.app import create_app
from core.config import Config
from core.hooks import discovery, store
from core.hooks import runtime as runtimes
from core.hooks.manager import State
from core.hooks.runtime import Runtime
from core.jobs import registry
from core.jobs.runner import Runner
from core.shops import service as shops
from core.vault import keyring
from tests.console import signed_in, words
from tests.served import own_port, serving
from tests.storefront.buyer import Buyer, facts

MANIFEST = """
id = "{id}"
kind = "apps"
version = "1.0.0"
api = {api}
core = ">=0.1,<1"
[title]
en = "Stranger {id}"
[summary]
en = "Does something."
"""
CLASS = """
import asyncio
from core.api import Plugin, PluginSettings, hookimpl, setting
class Settings(PluginSettings):
    size: str = setting("Size", default="big")
class Stranger(Plugin):
    Settings = Settings
"""
END = "\nplugin = Stranger()\n"
GUARD = "    @hookimpl\n    async def check_order(self, ctx, order):\n        "
CLASH = """
from core.api import ddl_migration
ID = "2026-11-22T00:00:00:000000"
SQL = "CREATE TABLE apps_clash_one (id bigint); CREATE TABLE orders_order (id bigint);"
forwards = ddl_migration("apps.clash", ID, "first", SQL)
"""

# id: its code, where the reason is shown from the start, and the reason
WAYS = {
    "apps.exits": ("raise SystemExit(3)", "it tried to end the program (exit 3)"),
    "apps.newer": (CLASS + END, "It needs plugin api 2; this shop has 1."),
    "apps.typo": (
        CLASS + "    @hookimpl\n    async def check_ordr(self, ctx): ..." + END,
        "there is no hook called check_ordr",
    ),
    "apps.clash": (CLASS + END, 'relation "orders_order" already exists'),
    "apps.unknown_field": (CLASS + END, "These settings are missing or wrong: colour"),
    "apps.hangs": (CLASS + GUARD + "await asyncio.sleep(3600)" + END, "TimeoutError: it took longer than 0.3 s"),
    "apps.guard": (CLASS + GUARD + "raise ZeroDivisionError('guarding')" + END, "ZeroDivisionError: guarding"),
    "apps.currencies": (
        CLASS
        + "    @hookimpl\n    def register_payment_methods(self, ctx): return [Method()]"
        + "\nfrom core.api import PaymentMethod"
        + "\nclass Method(PaymentMethod):\n    key, title = 'cannot-tell', {'en': 'Odd'}"
        + "\n    def currencies(self): raise ZeroDivisionError('currencies')"
        + END,
        "ZeroDivisionError: currencies",
    ),
    "apps.fact": (
        CLASS + "    @hookimpl\n    async def order_paid(self, ctx, order):\n        1 / 0" + END,
        "ZeroDivisionError: division by zero",
    ),
}
PACKAGES = ("apps.exits", "apps.newer")
REFUSES = ("apps.hangs", "apps.guard")


@asynccontextmanager
async def with_strangers(config):
    plugins = Runtime(
        merchants_folder=config.home / "plugins",
        packages=discovery.packages,
        base_url=config.base_url,
        environ={},
        ask_seconds=0.3,
    )
    runtimes.use(plugins)
    async with keyring.following(config), plugins.following():
        yield plugins


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
async def shop(database, redis_url, home):
    with own_port() as (listener, address):
        environ = {
            "VOUCHSAFE_HOME": str(home),
            "VOUCHSAFE_BASE_URL": address,
            "DATABASE_URL": database,
            "REDIS_URL": redis_url,
            "VOUCHSAFE_MASTER_KEY": "00" * 32,
        }
        async with serving(create_app(Config.from_env(environ), load_plugins=with_strangers), listener):
            shops.forget()
            await demo.seed()
            yield address
        shops.forget()


def put_in_place(home, site, id):
    """Into the merchant's folder, or as an installed package with an entry point."""
    if id in PACKAGES:
        folder = site / id.replace(".", "_")
        about = site / f"{folder.name}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {folder.name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[{discovery.GROUP}]\n{id} = {folder.name}\n")
    else:
        folder = home / "plugins" / id.replace(".", "/")
    folder.mkdir(parents=True)
    (folder / "plugin.toml").write_text(MANIFEST.format(id=id, api=2 if id == "apps.newer" else 1))
    (folder / "__init__.py").write_text(WAYS[id][0])
    if id == "apps.clash":
        (folder / "piccolo_migrations").mkdir()
        (folder / "piccolo_migrations" / "apps_clash_first.py").write_text(CLASH)


async def run_jobs():
    registry.import_core()
    runner = Runner(4)
    rows = await db.fetch("SELECT id FROM jobs_job WHERE name = ANY($1) AND state = 'queued'", registry.names())
    for task in [await runner.start(row["id"]) for row in rows]:
        await task


async def test_each_way_to_break_is_shown_and_the_shop_goes_on_selling(shop, home, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)
    monkeypatch.syspath_prepend(str(tmp_path))
    headers = {"accept-language": "en", "origin": shop}
    async with signed_in(shop) as owner, httpx.AsyncClient(base_url=shop, headers=headers, timeout=20) as http:
        buyer = Buyer(http)
        for id, (_code, reason) in WAYS.items():
            put_in_place(home, tmp_path, id)
            page = f"/admin/plugins/{id}"
            assert f"Stranger {id}" in await owner.get("/admin/plugins"), id
            if id == "apps.unknown_field":
                await db.transaction(store.save, id, False, {"colour": "red"}, {})
            await owner.post(f"{page}/enable")

            answer = await buyer.post("/checkout", buyer.form())
            assert answer.status_code == (422 if id in REFUSES else 303), id
            if id not in REFUSES:
                order = answer.headers["location"]
                await buyer.pay(order)
                assert (await facts(order))["fulfilment"] == "delivered", id
                await run_jobs()
            assert reason in unescape(words(await owner.get(page))), id
            assert (await http.get("/")).status_code == 200, id
            await owner.post(f"{page}/disable")
            assert runtimes.current().plugin(id).state is State.DISABLED
        order = await buyer.bought()
        assert (await facts(order))["fulfilment"] == "delivered"
    assert await db.fetchval("SELECT to_regclass('apps_clash_one')::text") is None
    assert not [name for name in sys.modules if name.endswith(("apps_exits", "plugins.apps.exits"))]
