"""What a plugin may bring beside hooks: pages, tables, jobs. On at once, gone at once, and never in anyone's way."""

import logging
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import pytest

from core import db
from core.app import create_app
from core.audit import service as audit
from core.config import Config
from core.hooks import runtime as runtimes
from core.hooks import store
from core.hooks.answers import Refusal
from core.hooks.folder import digest
from core.hooks.http import NotSent
from core.hooks.manager import State
from core.hooks.runtime import Runtime
from core.hooks.views import OrderView
from core.jobs import registry
from core.jobs.runner import Runner
from core.jobs.sweeper import arm_periodic
from core.money import Money
from core.shops import service as shops
from core.web import csrf
from tests.console import words

from ..web.conftest import served, staff_cookie
from .conftest import TESTS, Operator

WHOLE = TESTS / "plugins_whole"
NOTES = "/x/apps.notebook"
DESK = "/admin/x/apps.notebook"


@asynccontextmanager
async def whole_plugins(config):
    options = {"environ": {}, "base_url": config.base_url, "allowed_hosts": ["127.0.0.1"]}
    runtime = Runtime(folder=WHOLE, package="plugins_whole", **options)
    runtimes.use(runtime)
    async with runtime.following():
        yield runtime


@pytest.fixture(scope="module")
async def site(database, redis_url, tmp_path_factory):
    environment = {
        "VOUCHSAFE_HOME": str(tmp_path_factory.mktemp("home")),
        "DATABASE_URL": database,
        "REDIS_URL": redis_url,
    }
    app = create_app(Config.from_env(environment), load_plugins=whole_plugins, names=("hooks",))
    async with served(app) as address:
        yield address


@pytest.fixture
async def operator(site):
    await db.execute("DELETE FROM hooks_plugin")
    return Operator()


@pytest.fixture
async def notebook(operator):
    await operator.enables("apps.notebook")
    await runtimes.current().refresh()
    await db.execute("DELETE FROM apps_notebook_note")
    return runtimes.current().plugin("apps.notebook")


@pytest.fixture
async def browser(site):
    async with httpx.AsyncClient(base_url=site, headers={"accept-language": "en"}, timeout=10) as http:
        yield http


async def as_staff(browser, role):
    cookie = await staff_cookie(role)
    return {"cookie": f"vs={cookie}", "x-csrf-token": csrf.token_for(cookie), "sec-fetch-site": "same-origin"}


async def notes():
    return [row["text"] for row in await db.fetch("SELECT text FROM apps_notebook_note ORDER BY id")]


async def test_pages_stand_behind_the_guard_and_look_like_the_shop(notebook, browser):
    await db.execute("INSERT INTO apps_notebook_note (text) VALUES ('<one>')")
    page = await browser.get(NOTES)
    assert (page.status_code, "&lt;one&gt;" in page.text, "<title>Notes</title>" in page.text) == (200, True, True)
    assert (
        "default-src 'none'" in page.headers["content-security-policy"]
        or "script-src 'self'" in page.headers["content-security-policy"]
    )
    assert (await browser.get(f"{NOTES}/999999")).status_code == 404
    assert (await browser.get(f"{NOTES}?a=1&a=2")).status_code == 400
    stranger = await browser.get(DESK)
    assert (stranger.status_code, stranger.headers["location"].split("?")[0]) == (303, "/admin/sign-in")
    assert (await browser.post(f"/api/v1{NOTES}", json={"text": "x"})).status_code == 401


async def test_acts_of_a_plugin_are_rights_like_all_others(notebook, browser):
    support, owner = await as_staff(browser, "support"), await as_staff(browser, "owner")
    assert (await browser.get(DESK, headers=support)).status_code == 200
    assert (await browser.get(DESK, headers=await as_staff(browser, "finance"))).status_code == 403
    assert (await browser.post(DESK, headers=support, data={"text": "no"})).status_code == 403
    assert await notes() == []
    forged = await browser.post(DESK, headers={"cookie": owner["cookie"]}, data={"text": "no"})
    assert (forged.status_code, await notes()) == (403, [])
    assert (await browser.post(DESK, headers=owner, data={"text": "yes"})).status_code == 303
    assert await notes() == ["yes"]
    assert 'href="/admin/x/apps.notebook"' in (await browser.get(DESK, headers=support)).text


async def recorded():
    return [
        (row["act"], row["object"], row["detail"], row["ip"] is not None, len(row["request_id"]) > 8, row["shop_id"])
        for row in await db.fetch("SELECT * FROM audit_entry WHERE act LIKE 'apps.notebook.%' ORDER BY id")
    ]


async def test_what_staff_does_on_its_pages_is_in_the_audit_log_or_did_not_happen(notebook, browser, caplog):
    caplog.set_level(logging.CRITICAL)
    owner = await as_staff(browser, "owner")
    before = await recorded()
    for text in ("breaks off", "undeclared", "x" * 3000):
        assert (await browser.post(DESK, headers=owner, data={"text": text})).status_code == 500
    assert (await notes(), await recorded()) == ([], before)
    assert (
        notebook.failures["page write"].last
        == "ValueError: apps.notebook.wrote: the detail is longer than 2000 characters"
    )
    assert (await browser.post(DESK, headers=owner, data={"text": "kept"})).status_code == 303
    shop = (await shops.main_shop()).id
    assert (await notes(), (await recorded())[len(before) :]) == (
        ["kept"],
        [("apps.notebook.wrote", "x:apps.notebook:note", {"length": 4, "starts": "kept"}, True, True, shop)],
    )
    assert str(audit.title("apps.notebook.wrote")) == "Wrote a note"


async def test_a_page_that_breaks_is_counted_and_hurts_nobody(notebook, browser, caplog):
    caplog.set_level(logging.CRITICAL)
    for how, status in (("exits", 500), ("raises", 500), ("says_no", 409)):
        assert (await browser.get(f"{NOTES}/breaks/{how}")).status_code == status
    assert (notebook.failures["page breaks"].count, notebook.failures["page breaks"].last) == (
        2,
        "ZeroDivisionError: raises",
    )
    assert (await browser.get(NOTES)).status_code == 200


async def test_switched_off_its_pages_are_gone_at_once(notebook, browser, operator):
    assert (await browser.get(NOTES)).status_code == 200
    await operator.disables("apps.notebook")  # by another process: nothing was said to this one
    for path in (NOTES, DESK, f"/api/v1{NOTES}"):
        assert (await browser.get(path, headers=await as_staff(browser, "owner"))).status_code == 404
    await operator.enables("apps.notebook")
    assert (await browser.get(NOTES)).status_code == 200


async def run_jobs():
    runner = Runner(4)
    await arm_periodic()
    names = [name for name in registry.names() if name.startswith("apps.")]
    rows = await db.fetch("SELECT id FROM jobs_job WHERE name = ANY($1) AND state = 'queued'", names)
    for task in [await runner.start(row["id"]) for row in rows]:
        await task


async def test_a_job_runs_when_its_transaction_commits_and_is_tried_again_when_it_breaks(notebook, browser, caplog):
    caplog.set_level(logging.CRITICAL)
    await db.execute("DELETE FROM jobs_job")
    context = notebook.context

    async def work(tx, text, breaks):
        await tx.enqueue("shout", {"text": text}, key=text)
        if breaks:
            raise LookupError

    await context.db.transaction(work, "one", False)
    await context.db.transaction(work, "one", False)
    with pytest.raises(LookupError):
        await context.db.transaction(work, "two", True)
    await context.db.transaction(work, "breaks", False)
    await run_jobs()
    assert sorted(await notes()) == ["ONE", "tick"]
    rows = await db.fetch("SELECT name, key, state, error FROM jobs_job WHERE name LIKE 'apps.%' ORDER BY id")
    assert [tuple(row.values()) for row in rows] == [
        ("apps.notebook.shout", "apps.notebook:one", "done", ""),
        ("apps.notebook.shout", "apps.notebook:breaks", "queued", "ZeroDivisionError: loud"),
        ("apps.notebook.tick", "every:apps.notebook.tick", "queued", ""),
    ]
    assert notebook.failures["job shout"].count == 1


async def test_jobs_of_a_plugin_that_is_off_wait(notebook, operator):
    await db.execute("DELETE FROM jobs_job")

    async def work(tx):
        await tx.enqueue("shout", {"text": "later"})

    await notebook.context.db.transaction(work)
    await operator.disables("apps.notebook")
    await runtimes.current().refresh()
    await run_jobs()
    assert await notes() == []
    await operator.enables("apps.notebook")
    await runtimes.current().refresh()
    await run_jobs()
    assert "LATER" in await notes()
    assert runtimes.current().plugin("apps.notebook").state is State.ACTIVE


# -- each shop its own ------------------------------------------------------------------

PAID = {
    "test": False,
    "contact_kind": "email",
    "contact": "",
    "locale": "en",
    "total": Money(1990, "CNY"),
    "payment_state": "paid",
    "fulfilment_state": "delivered",
    "lines": (),
    "placed_at": datetime(2026, 11, 22, tzinfo=UTC),
    "expires_at": datetime(2026, 11, 22, tzinfo=UTC),
    "paid_at": None,
    "delivered_at": None,
}


@pytest.fixture
async def second_shop(site):
    await db.execute("DELETE FROM shops_shop WHERE code = 'second'")
    added = "INSERT INTO shops_shop (code, name, host) VALUES ('second', 'Second', 'second.test') RETURNING id"
    second = await db.fetchval(added)
    shops.forget()
    yield second
    await db.execute("DELETE FROM shops_shop WHERE code = 'second'")
    shops.forget()


async def test_a_plugin_that_is_off_in_one_shop_does_nothing_there(notebook, operator, second_shop, browser, order):
    plugins = runtimes.current()
    await operator.enables("apps.dealer")
    await plugins.refresh()
    owner = await as_staff(browser, "owner")
    assert "It is on in these shops:" in (await browser.get("/admin/plugins/apps.dealer", headers=owner)).text
    for plugin in ("apps.dealer", "apps.notebook"):
        answer = await browser.post(f"/admin/plugins/{plugin}/shops", headers=owner, data={"shop_1": "on"})
        assert answer.status_code == 303
    ways = (plugins.payment_methods_in, plugins.notifiers_in, plugins.promotions_in, plugins.risk_rules_in)
    assert [list(way(1)) for way in ways] == [["dealer"]] * 4
    assert [list(way(second_shop)) for way in ways] == [[]] * 4
    assert list(plugins.payment_methods) == ["dealer"]  # payments that were begun go on
    assert (await browser.get(NOTES)).status_code == 200
    assert (await browser.get(NOTES, headers={"host": "second.test"})).status_code == 404
    assert [one.name for one in plugins.page_features(1)] == ["apps.notebook"]
    assert plugins.page_features(second_shop) == []
    await plugins.ask("check_order", second_shop, order=order)
    with pytest.raises(Refusal, match="not here"):
        await plugins.ask("check_order", 1, order=order)
    heard = plugins.plugin("apps.dealer").plugin.heard
    heard.clear()
    for shop in ("main", "second"):
        await plugins.tell("order_paid", "apps.dealer", {"order": OrderView(ref=f"V-{shop}", shop=shop, **PAID)})
    assert heard == ["V-main"]
    answer = await browser.post(
        "/admin/plugins/apps.notebook/shops", headers=owner, data={"shop_1": "on", f"shop_{second_shop}": "on"}
    )
    assert (await browser.get(NOTES, headers={"host": "second.test"})).status_code == 200


# -- settings of another version --------------------------------------------------------


async def test_settings_of_an_earlier_version_are_brought_to_this_one_and_kept_when_that_fails(operator, browser):
    plugins, page = runtimes.current(), "/admin/plugins/apps.dealer"
    owner = await as_staff(browser, "owner")
    old = {"road": "high road"}
    await db.transaction(store.save, "apps.dealer", True, old, {"word": "s3cr3t"}, 2)
    await plugins.refresh()
    settings = plugins.plugin("apps.dealer").context.settings
    assert (settings.street, settings.key.reveal()) == ("High Road", "s3cr3t")
    assert await db.fetchval("SELECT settings FROM hooks_plugin WHERE id = 'apps.dealer'") == old
    shown = (await browser.get(page, headers=owner)).text
    assert 'value="High Road"' in shown and "Saved. Leave empty to keep it." in shown

    saved = await browser.post(f"{page}/settings", headers=owner, data={"act": "save", "set_street": "Low Road"})
    assert saved.status_code == 303
    row = await db.fetchrow("SELECT settings, version FROM hooks_plugin WHERE id = 'apps.dealer'")
    assert tuple(row.values()) == ({"street": "Low Road"}, 3)
    assert plugins.plugin("apps.dealer").context.settings.key.reveal() == "s3cr3t"

    for version, reason in (
        (1, "Its settings of before cannot be brought to this version: LookupError: nobody remembers"),
        (4, "Its settings are of version 4; it knows them up to 3."),
    ):
        await db.transaction(store.save, "apps.dealer", True, {"street": "Old"}, {}, version)
        await plugins.refresh()
        stuck = plugins.plugin("apps.dealer")
        assert (stuck.state, str(stuck.reason)) == (State.NEEDS_SETTINGS, reason)
        assert 'value="Old"' in (await browser.get(page, headers=owner)).text
        stored = "SELECT settings FROM hooks_plugin WHERE id = 'apps.dealer'"
        assert await db.fetchval(stored) == {"street": "Old"}


# -- what its page tells ----------------------------------------------------------------


async def test_the_page_of_a_plugin_tells_where_it_is_from_and_which_servers_are_silent(notebook, operator, browser):
    await operator.enables("apps.dealer")
    plugins = runtimes.current()
    await plugins.refresh()
    owner = await as_staff(browser, "owner")
    dealer = plugins.plugin("apps.dealer")
    for _try in range(6):
        with pytest.raises(NotSent):
            await dealer.context.http.get("http://127.0.0.1:1/")
    page = words((await browser.get("/admin/plugins/apps.dealer", headers=owner)).text)
    assert "Came with the shop" in page and str(WHOLE / "apps" / "dealer") in page
    assert digest(dealer.folder) in page and "Its files were changed" not in page
    assert "127.0.0.1:1 5" in page
    dealer.digest = "of other files"
    assert "Its files were changed since it was loaded." in words(
        (await browser.get("/admin/plugins/apps.dealer", headers=owner)).text
    )
