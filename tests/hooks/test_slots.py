"""Every place that plugins may fill is on a page; what they give is escaped, and what goes wrong is left out."""

import asyncio
import logging
import re
import time
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from markupsafe import Markup

from core import db
from core.app import create_app
from core.config import Config
from core.hooks import runtime as runtimes
from core.hooks import store
from core.hooks.manager import State
from core.ids import new_token, token_hash
from core.people import contact_proof
from core.web import slots
from core.web.slots import PLACES, Link
from tests import stocked

from ..web.conftest import served, staff_cookie
from .test_console import load_broken_plugins

GUIDE = (runtimes.ROOT / "docs" / "plugins.md").read_text()


@pytest.fixture(scope="module")
async def shop(database, redis_url, tmp_path_factory):
    environment = {
        "VOUCHSAFE_HOME": str(tmp_path_factory.mktemp("home")),
        "DATABASE_URL": database,
        "REDIS_URL": redis_url,
    }
    async with served(create_app(Config.from_env(environment), load_plugins=load_broken_plugins)) as address:
        yield address


@pytest.fixture
async def pages(shop):
    """The pages of a shop with one order, by address: of a visitor, of its buyer, of the owner."""
    await db.execute("DELETE FROM hooks_plugin")
    await db.execute("UPDATE hooks_revision SET revision = revision + 1")
    session = new_token()
    sku = await stocked.sku(3)
    placed = await stocked.order(sku, 1, stocked.buyer(session=session))
    link = await contact_proof.new_link(1, "buyer@example.com")
    await db.transaction(contact_proof.prove, 1, link, token_hash(session))
    product = await db.fetchrow("SELECT id, slug FROM catalog_product ORDER BY id DESC LIMIT 1")
    owner = await staff_cookie()

    async def get(path, cookie=None):
        async with httpx.AsyncClient(
            base_url=shop, headers={"accept-language": "en"}, cookies={"vs": cookie} if cookie else {}
        ) as browser:
            # asked like this for the first time, so that no page is one of the two seconds before
            answer = await browser.get(path, params={**dict(parse_qsl(urlsplit(path).query)), "look": new_token()})
        assert answer.status_code == 200, path
        return answer.text

    async def all_pages():
        visitor = ["/", f"/p/{product['slug']}", f"/checkout?sku={sku.code}"]
        buyer = [f"/o/{placed.ref}", "/lookup", "/account"]
        staff = ["", "/search?q=music", "/orders", f"/orders/{placed.ref}", f"/products/{product['id']}"]
        staff += [f"/plugins/{id}" for id in ("apps.fills", "apps.fills_badly")]
        return {
            **{path: await get(path) for path in visitor},
            **{path: await get(path, session) for path in buyer},
            **{path: await get(path, owner) for path in [f"/admin{path}" for path in staff]},
        }

    return all_pages


async def switched_on(*plugins):
    for plugin in plugins:
        await db.transaction(store.enable, plugin, True)
    await runtimes.current().refresh()
    return runtimes.current()


async def test_every_place_is_on_a_page_and_what_stands_there_is_escaped(pages):
    await switched_on("apps.fills")
    found = await pages()
    everything = "".join(found.values())
    for name in PLACES:
        assert f"[{name}]&lt;script&gt;" in everything, name
    assert "<script>alert(1)" not in everything
    assert '"><b>' not in everything
    assert "<!--slot:" not in everything
    assert runtimes.current().plugin("apps.fills").failures == {}


async def test_a_place_shows_its_subject_and_nothing_more(pages):
    await switched_on("apps.fills")
    found = await pages()
    product, checkout = (
        next(text for path, text in found.items() if path.startswith("/p/")),
        found_by(found, "/checkout"),
    )
    assert re.search(r"\[product\.more\].*?ProductShown\(slug=&#39;p\d+&#39;, title=", product)
    assert re.search(
        r"CheckoutShown\(sku_code=&#39;SKU-\d+&#39;, product_slug=&#39;p\d+&#39;, quantity=1, total=", checkout
    )
    order, ref = found_by(found, "/o/"), next(path for path in found if path.startswith("/o/"))[3:]
    shown = (
        f"OrderShown(ref=&#39;{ref}&#39;, payment_state=&#39;unpaid&#39;, fulfilment_state=&#39;reserved&#39;, total="
    )
    assert order.count(shown) == 2
    assert f"<td>cell of {ref}&lt;script&gt;" in found["/admin/orders"]
    assert "PluginShown(id=&#39;apps.fills&#39;)" in found["/admin/plugins/apps.fills"]
    assert "[admin.plugin]" not in found["/admin/plugins/apps.fills_badly"]


def found_by(found, start):
    return next(text for path, text in found.items() if path.startswith(start))


async def test_who_breaks_hangs_or_gives_something_else_is_left_out_and_counted(pages, caplog):
    caplog.set_level(logging.CRITICAL, "vouchsafe")
    plugins = await switched_on("apps.fills", "apps.fills_badly")
    found = await pages()
    assert "[home.top]" in found["/"] and "[home.bottom]" in found["/"] and "[shop.footer]" in found["/"]
    assert "elsewhere.example" not in found["/"]
    assert "only text" not in found_by(found, "/p/")
    assert "<!--slot:" not in "".join(found.values())
    last = {what: failures.last for what, failures in plugins.plugin("apps.fills_badly").failures.items()}
    assert last == {
        "slot home.top": "RuntimeError: no fragment today",
        "slot home.bottom": "TimeoutError: it took longer than 0.2 s",
        "slot shop.footer": "it tried to end the program (exit 3)",
        "slot shop.nav": "https://elsewhere.example is not a page of this shop",
        "slot product.before_price": "product.before_price takes a Fragment, not a str",
        "slot product.after_price": "catalog/_buy.html is not a template of its own",
        "slot product.more": "TemplateNotFound: apps.fills_badly/missing.html",
        "slot orders.nav": "it cancelled itself",
        "slot admin.top": "path of a Link is wrong: None",
        "slot admin.orders.column": "cells of a Column is wrong: None",
        "slot admin.order.timeline": "at of a TimelineRow is wrong: 'today'",
        "slot admin.plugin": "RuntimeError: no fragment today",
    }
    assert "no fragment today" in (await pages())["/admin/plugins/apps.fills_badly"]


async def test_time_in_which_the_process_was_busy_with_others_does_not_count():
    counted = []

    async def slow(visit, subject):
        await asyncio.sleep(0.05)
        return Link("There", "/there")

    async def hangs(visit, subject):
        await asyncio.Event().wait()

    def stall(times):
        """Others keep the loop for as long as a place may take, again and again."""
        time.sleep(slots.FILL_SECONDS * 1.2)
        if times:
            asyncio.get_running_loop().call_soon(stall, times - 1)

    async def shown(filler):
        place = slots.Waiting(
            PLACES["shop.nav"],
            None,
            [("x", filler)],
            lambda name, context: name,
            "1:0",
            lambda *what: counted.append(what),
        )
        asyncio.get_running_loop().call_soon(stall, 1)
        return await place.filled(None)

    assert await shown(slow) == {Markup("<!--slot:1:0-->"): "web/slots/shop.nav.html"} and counted == []
    assert await shown(hangs) == {Markup("<!--slot:1:0-->"): ""}
    assert [(what, str(error)) for _owner, what, error in counted] == [("slot shop.nav", "it took longer than 0.2 s")]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(slots.FILL_SECONDS):  # the control: a plain limit cuts the one that was not late
            asyncio.get_running_loop().call_soon(stall, 1)
            await slow(None, None)


async def test_without_plugins_there_is_no_mark_on_any_page(pages):
    await switched_on()
    found = await pages()
    assert not any("slot:" in text or "alert(1)" in text for text in found.values())


async def test_a_place_that_does_not_exist_sets_the_plugin_aside(pages, caplog):
    caplog.set_level(logging.CRITICAL, "vouchsafe")
    plugins = await switched_on("apps.fills_nothing", "apps.fills")
    one = plugins.plugin("apps.fills_nothing")
    assert (one.state, one.reason) == (State.FAILED, "there is no slot called home.middle")
    assert plugins.plugin("apps.fills").state is State.ACTIVE


def test_the_guide_lists_every_place_with_what_it_shows_and_takes():
    rows = re.findall(r"^\| `([a-z_.]+)` \| (\S+) \| `(\w+)` \| (.+) \|$", GUIDE, re.MULTILINE)
    assert rows == [
        (
            place.name,
            {None: "–", tuple: "`[OrderShown]`"}.get(place.subject) or f"`{place.subject.__name__}`",
            place.gives.__name__,
            place.where + (" (for everyone)" if place.everyone else ""),
        )
        for place in PLACES.values()
    ]
