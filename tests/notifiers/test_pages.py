"""The pages of the inbox and of webhooks in a whole shop: who sees what, what is shown once, what is refused."""

import re
from html import unescape

import httpx
import pytest

from core import db
from core.hooks import runtime, store
from core.ids import new_token
from core.orders.facts import order_view
from tests import console, stocked
from tests.console import signed_in

HOOKS = "/admin/x/notifiers.webhook"
INBOX = "/x/notifiers.inbox"
STAFF_INBOX = "/admin/x/notifiers.inbox"
PLUGINS = ("notifiers.inbox", "notifiers.webhook")


@pytest.fixture(scope="module")
async def address(database, redis_url, tmp_path_factory):
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        for plugin in PLUGINS:
            await db.transaction(store.enable, plugin, True)
        await runtime.current().refresh()
        yield address


@pytest.fixture
async def owner(address):
    async with signed_in(address) as staff:
        yield staff


def browser(address, session=None):
    headers = {"accept-language": "en", "origin": address}
    return httpx.AsyncClient(base_url=address, headers=headers, cookies={"vs": session} if session else {})


async def tell(plugin, fact, **views):
    await runtime.current().tell(fact, plugin, views)


# -- webhooks ---------------------------------------------------------------------------


async def added(staff, url="https://hooks.example.com/in", **form):
    page = await staff.post(HOOKS, 200, url=url, events="order.paid", **form)
    return re.search(r'id="secret">(whsec_[^<]+)<', page)[1], await db.fetchval(
        "SELECT max(id) FROM notifiers_webhook_endpoint"
    )


async def test_a_secret_is_shown_once_and_lies_in_no_table(owner):
    secret, number = await added(owner)
    for path in (HOOKS, f"{HOOKS}/{number}"):
        assert secret not in await owner.get(path)
    rows = await db.fetch("SELECT row_to_json(e)::text AS row FROM notifiers_webhook_endpoint e")
    assert not any(secret.removeprefix("whsec_") in row["row"] for row in rows)
    page = await owner.post(f"{HOOKS}/{number}/secret", 200)
    renewed = re.search(r'id="secret">(whsec_[^<]+)<', page)[1]
    assert renewed != secret and "for one day" in page


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"url": "http://127.0.0.1:9/", "events": "order.paid"}, "This is a private address."),
        ({"url": "http://10.0.0.1/", "events": "order.paid"}, "This is a private address."),
        ({"url": "http://localhost/", "events": "order.paid"}, "This is a private address."),
        ({"url": "ftp://a.example/", "events": "order.paid"}, "Write an address such as"),
        ({"url": "https://a.example/"}, "Choose at least one."),
        ({"url": "https://a.example/", "events": "order.lost"}, "Choose at least one."),
    ],
)
async def test_what_cannot_work_is_refused_and_nothing_is_kept(owner, form, words):
    before = await db.fetchval("SELECT count(*) FROM notifiers_webhook_endpoint")
    assert words in unescape(await owner.post(HOOKS, 422, **form))
    assert await db.fetchval("SELECT count(*) FROM notifiers_webhook_endpoint") == before


async def test_another_address_asks_who_it_is_as_a_new_one_does(owner):
    _secret, number = await added(owner)
    await db.execute("UPDATE people_session SET confirmed_at = NULL WHERE kind = 'staff'")
    await owner.post(f"{HOOKS}/{number}", 403, url="https://thief.example.com/", events="order.paid")
    url = await db.fetchval("SELECT url FROM notifiers_webhook_endpoint WHERE id = $1", number)
    assert url == "https://hooks.example.com/in"


async def test_changing_switching_testing_and_deleting(owner):
    _secret, number = await added(owner, note="Warehouse <1>")
    here = f"{HOOKS}/{number}"
    page = await owner.post(here, url="https://other.example.com/", events="order.closed", note="<b>Stock</b>")
    assert "&lt;b&gt;Stock&lt;/b&gt;" in page and "<b>Stock</b>" not in page
    page = await owner.post(f"{here}/test")
    delivery = await db.fetchval("SELECT max(id) FROM notifiers_webhook_delivery")
    assert f"{HOOKS}/delivery/{delivery}" in page
    shown = await owner.get(f"{HOOKS}/delivery/{delivery}")
    assert "webhook.test" in shown and "Not tried yet." in shown
    assert await db.fetchval("SELECT args FROM jobs_job WHERE name = 'notifiers.webhook.send'") == {
        "delivery": delivery
    }
    assert "waits to be sent already" in await owner.post(f"{HOOKS}/delivery/{delivery}/replay")
    await owner.post(f"{here}/off")
    assert "Switch it on first." in await owner.post(f"{here}/test")
    await owner.post(f"{here}/on")
    await owner.post(f"{here}/delete")
    await owner.get(here, 404)
    assert await db.fetchval("SELECT count(*) FROM notifiers_webhook_delivery WHERE id = $1", delivery) == 0


async def test_who_may_not_see_webhooks_and_who_is_in_another_shop(address, owner):
    _secret, number = await added(owner)
    async with signed_in(address, "support") as support:
        for path in (HOOKS, f"{HOOKS}/{number}"):
            await support.get(path, 403)
        await support.post(f"{HOOKS}/{number}/delete", 403)
    await db.execute("UPDATE notifiers_webhook_endpoint SET shop = 'other' WHERE id = $1", number)
    assert f"{HOOKS}/{number}" not in await owner.get(HOOKS)
    await owner.get(f"{HOOKS}/{number}", 404)
    for act in ("", "/on", "/off", "/secret", "/delete", "/test"):
        form = {"url": "https://a.example/", "events": "order.paid"} if not act else {}
        await owner.post(f"{HOOKS}/{number}{act}", 404, **form)
    assert await db.fetchval("SELECT state FROM notifiers_webhook_endpoint WHERE id = $1", number) == "on"


async def test_an_endpoint_that_was_given_up_shows_on_the_dashboard(owner):
    _secret, number = await added(owner, note="Gone away")
    await db.execute("UPDATE notifiers_webhook_endpoint SET state = 'given_up' WHERE id = $1", number)
    page = console.words(await owner.get("/admin"))
    assert "not well Webhook switched off Gone away" in page
    await owner.post(f"{HOOKS}/{number}/delete")
    assert "Gone away" not in await owner.get("/admin")


# -- the inbox of buyers ----------------------------------------------------------------


async def delivered(session):
    placed = await stocked.order(await stocked.sku(1), 1, stocked.buyer(session=session))
    await tell("notifiers.inbox", "order_delivered", order=await order_view(placed.ref))
    return placed.ref


async def test_buyers_read_news_of_their_own_orders_and_of_no_others(address):
    mine, others = new_token(), new_token()
    ref, foreign = await delivered(mine), await delivered(others)
    async with browser(address, mine) as buyer:
        orders = (await buyer.get("/lookup")).text
        assert re.search(rf'href="{INBOX}".*?<span class="count">1</span>', orders, re.DOTALL)
        page = (await buyer.get(INBOX)).text
        assert f"Order {ref} is ready" in page and foreign not in page
        form = {"up_to": re.search(r'name="up_to" value="(\d+)"', page)[1], "csrf": _csrf(page)}
        assert (await buyer.post(f"{INBOX}/read", data=form)).status_code == 303
        assert '<span class="count">' not in (await buyer.get("/lookup")).text
    async with browser(address, others) as other:
        assert '<span class="count">1</span>' in (await other.get("/lookup")).text


async def test_nobody_in_particular_sees_no_messages_and_can_read_none(address):
    await delivered(new_token())
    async with browser(address) as stranger:
        page = (await stranger.get(INBOX)).text
        assert "We do not know you in this browser" in page and "is ready" not in page
        assert INBOX not in (await stranger.get("/lookup")).text
        unread = await db.fetchval("SELECT count(*) FROM notifiers_inbox_message WHERE read_at IS NULL")
        assert (await stranger.post(f"{INBOX}/read", data={"up_to": "999999"})).status_code in (303, 401, 403)
        assert await db.fetchval("SELECT count(*) FROM notifiers_inbox_message WHERE read_at IS NULL") == unread


def _csrf(page):
    return re.search(r'name="csrf" value="([^"]+)"', page)[1]


# -- the inbox of staff -----------------------------------------------------------------


async def test_the_bell_counts_what_this_person_may_act_upon_and_has_not_read(address, owner):
    await db.execute(
        "INSERT INTO notifiers_inbox_message (shop, reader, kind, key, data) VALUES"
        " ('main', 'staff', 'review', 'r1', '{\"reason\": \"paid, but <gone>\"}'),"
        " ('main', 'staff', 'job', 'j1', '{\"job\": 1, \"name\": \"messages.send\", \"error\": \"no host\"}'),"
        " ('other', 'staff', 'review', 'r2', '{\"reason\": \"elsewhere\"}')"
    )
    page = await owner.get(STAFF_INBOX)
    assert re.search(rf'href="{STAFF_INBOX}".*?<span class="count">2</span>', page, re.DOTALL)
    assert "paid, but &lt;gone&gt;" in page and "elsewhere" not in page
    async with signed_in(address, "support") as support:
        shown = await support.get(STAFF_INBOX)
        assert "paid, but" in shown and "messages.send" not in shown
        assert '<span class="count">1</span>' in shown
        await owner.post(f"{STAFF_INBOX}/read", up_to=re.search(r'name="up_to" value="(\d+)"', page)[1])
        assert '<span class="count">' not in await owner.get("/admin")
        assert '<span class="count">1</span>' in await support.get("/admin/orders")
