"""What a plugin may bring beside hooks: pages, tables, jobs. On at once, gone at once, and never in anyone's way."""

import logging
from contextlib import asynccontextmanager

import httpx
import pytest

from core import db
from core.app import create_app
from core.config import Config
from core.hooks import runtime as runtimes
from core.hooks.manager import State
from core.hooks.runtime import Runtime
from core.jobs import registry
from core.jobs.runner import Runner
from core.jobs.sweeper import arm_periodic
from core.web import csrf

from ..web.conftest import served, staff_cookie
from .conftest import TESTS, Operator

WHOLE = TESTS / "plugins_whole"
NOTES = "/x/apps.notebook"
DESK = "/admin/x/apps.notebook"


@asynccontextmanager
async def whole_plugins(config):
    runtime = Runtime(folder=WHOLE, package="plugins_whole", environ={}, base_url=config.base_url)
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
def operator(site):
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
    rows = await db.fetch("SELECT id FROM jobs_job WHERE name = ANY($1) AND state = 'queued'", registry.names())
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
    rows = await db.fetch("SELECT name, key, state, error FROM jobs_job ORDER BY id")
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
