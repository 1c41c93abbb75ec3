"""Before the shop opens, what is in the way of it, and the day it does."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import asyncpg
import dns.asyncresolver
import dns.message
import dns.rcode
import dns.rrset
import httpx
import pytest

from core import clock, db
from core.admin import demo, mail_domain, opening, outside, outside_words, packs, setup
from core.admin.jobs import LOOK_OUTSIDE
from core.checkout.settle import settle
from core.config import Config
from core.hooks import runtime, store
from core.ledger import bookkeeping
from core.ledger import service as ledger
from core.people import api_keys
from core.shops import service as shops
from tests import stocked
from tests.console import audited, everything, newest_audit, words

TRANSFER = {
    "title_en": "Bank transfer",
    "title_zh": "银行转账",
    "instructions_en": "Send {amount} for {order}.",
    "instructions_zh": "{order} 请转 {amount}。",
}


@pytest.fixture(autouse=True)
async def closed(address):
    """A shop that is being set up, with nothing in it."""
    await db.execute(
        "ALTER TABLE ledger_entry DISABLE TRIGGER USER;"
        " TRUNCATE ledger_entry, vault_batch, vault_code, orders_order, catalog_product, web_limit CASCADE;"
        " ALTER TABLE ledger_entry ENABLE TRIGGER USER"
    )
    await db.execute("UPDATE shops_shop SET test_mode = true, currency = 'CNY', settings = '{\"coming_soon\": true}'")
    await switch_payment(False)
    shops.forget()


async def switch_payment(on):
    await db.transaction(store.save, "payments.manual", on, TRANSFER, {})
    await db.transaction(store.enable, "payments.manual", on)
    await runtime.current().refresh()


async def paid(what, **more):
    placed = await stocked.order(what, **more)
    await settle("epay", stocked.paid(placed), "callback")
    return placed


async def shop():
    shops.forget()
    return await shops.main_shop()


# -- coming soon ------------------------------------------------------------------------


async def test_strangers_wait_and_staff_looks_around(address, staff):
    await demo.seed()
    async with httpx.AsyncClient(base_url=address, headers={"accept-language": "en", "origin": address}) as stranger:
        for path in ("/", "/p/starlight-music", "/c/games", "/checkout?sku=DEMO-MUSIC-1M", "/sitemap.xml"):
            answer = await stranger.get(path)
            assert answer.status_code == 200 and '<meta name="robots" content="noindex">' in answer.text, path
            assert "Coming soon" in answer.text and "Starlight" not in answer.text
        before = await everything()
        answer = await stranger.post("/checkout", data={"sku": "DEMO-MUSIC-1M", "quantity": "1"})
        assert answer.status_code == 403 and await everything() == before
        for path, status in (("/healthz", 200), ("/readyz", 200), ("/lookup", 200), ("/o/VNOSUCH", 404)):
            assert (await stranger.get(path)).status_code == status, path
        assert (await stranger.post("/pay/nosuch/notify")).status_code == 404
        style = await stranger.get("/look/0-market-0123456789abcdef.css")
        assert style.headers["content-type"].startswith("text/css")
        home = words(await staff.get("/"))
        assert "Starlight Music" in home and "Visitors see “Coming soon”." in home
        await staff.post("/admin/settings/visitors", coming_soon="off")
        assert "Starlight" in (await stranger.get("/")).text
        await staff.post("/admin/settings/visitors", coming_soon="on")
        assert "Coming soon" in (await stranger.get("/c/games")).text


# -- test orders ------------------------------------------------------------------------


async def test_test_orders_go_with_all_that_hangs_on_them_and_nothing_else(staff):
    what = await stocked.sku(10)
    real = await paid(what)
    await paid(what, test=True)
    await stocked.order(what, test=True)
    await demo.seed("cards")
    tables = ("ledger_entry", "orders_line", "payments_event", "orders_event")
    of_real = [
        await db.fetchval(f"SELECT count(*) FROM {table} WHERE order_id = $1", real.order_id) for table in tables
    ]
    assert (await stocked.codes_by_state(what)) == {"free": 7, "delivered": 2, "reserved": 1}

    await staff.post("/admin/go-live/clean")
    assert [row["ref"] for row in await db.fetch("SELECT ref FROM orders_order")] == [real.ref]
    assert [await db.fetchval(f"SELECT count(*) FROM {table}") for table in tables] == of_real
    assert (await stocked.codes_by_state(what)) == {"free": 8, "delivered": 1, "void": 1}
    assert await db.fetchval("SELECT count(*) FROM catalog_product WHERE demo") == 0
    assert (await stocked.states(real)) == ("paid", "delivered")


async def test_codes_spent_on_tests_leave_the_stock_in_the_books_too(staff):
    what = await stocked.sku(10)
    await db.execute("UPDATE vault_batch SET unit_cost = 800, counts = '{\"imported\": 10}' WHERE sku_id = $1", what.id)
    await bookkeeping.keep(clock.now() + timedelta(minutes=1))
    for _each in range(2):
        await paid(what, test=True)
    await staff.post("/admin/go-live/clean")
    assert (await stocked.codes_by_state(what)) == {"free": 8, "void": 2}
    assert await ledger.balances(1, ["stock", "cost"], "CNY") == {"stock": 8 * 800, "cost": 2 * 800}


async def test_a_delivered_code_is_held_by_the_database_unless_test_orders_are_taken_out(address):
    what = await stocked.sku(3)
    real, tried = await paid(what), await paid(what, test=True)
    take = "DELETE FROM vault_code WHERE line_id IN (SELECT id FROM orders_line WHERE order_id = $1)"

    async def taking_out(tx, order_id):
        await tx.execute("SELECT set_config('vouchsafe.taking_out_trials', 'yes', true)")
        await tx.execute(take, order_id)

    with pytest.raises(asyncpg.CheckViolationError):
        await db.transaction(taking_out, real.order_id)
    with pytest.raises(asyncpg.CheckViolationError):
        await db.execute(take, tried.order_id)
    assert await stocked.codes_by_state(what) == {"free": 1, "delivered": 2}
    await db.transaction(taking_out, tried.order_id)
    assert await stocked.codes_by_state(what) == {"free": 1, "delivered": 1}


# -- opening ----------------------------------------------------------------------------


async def test_it_opens_when_nothing_is_in_the_way(staff, address):
    await db.execute("DELETE FROM jobs_worker")
    await demo.seed()
    page = words(await staff.get("/admin/go-live"))
    for blocked in ("Nothing to sell", "No way to be paid", "No worker is up"):
        assert blocked in page
    for warned in ("No mail goes out", "No second factor on your account", "There is no fresh backup"):
        assert warned in page
    assert "Open the shop now" not in page
    before = await everything()
    await staff.post("/admin/go-live", status=409, clean="on")
    assert await everything() == before and (await shop()).test_mode

    what = await stocked.sku(2)
    await paid(what, test=True)
    await switch_payment(True)
    await db.execute("INSERT INTO jobs_worker (name) VALUES ('here')")
    page = words(await staff.get("/admin/go-live"))
    assert "In the way" not in page and "1 test orders with their codes, and 3 demo products" in page
    mark = await newest_audit()
    assert "Your shop is open." in words(await staff.post("/admin/go-live", clean="on"))
    async with httpx.AsyncClient(base_url=address, headers={"accept-language": "en"}) as stranger:
        assert "Coming soon" not in (await stranger.get("/")).text
    now = await shop()
    assert (now.test_mode, now.settings.coming_soon) == (False, False)
    assert await audited(mark) == [("shop.trials_removed", "shop:1"), ("shop.opened", "shop:1")]
    assert await db.fetchval("SELECT count(*) FROM orders_order") == 0
    assert await stocked.codes_by_state(what) == {"free": 1, "void": 1}


# -- health -----------------------------------------------------------------------------


async def test_health_says_what_is_wrong_why_and_where_to_mend_it(staff, address):
    await db.execute("DELETE FROM jobs_worker")
    page = await staff.get("/admin/health")
    text = words(page)
    assert "Worker · no worker has shown itself for a minute" in text
    assert 'href="/admin/setup/messages"' in page and "Buyers find their orders again by mail." in text
    assert f"you came by {address}, which is the shop's own" in text and "you are seen as 127.0.0.1" in text
    through = (await staff.http.get("/admin/health", headers={"x-forwarded-for": "203.0.113.9"})).text
    assert "127.0.0.1 passes visitors on but is not trusted" in words(through)
    await db.execute("UPDATE shops_shop SET settings = '{}'")
    shops.forget()
    assert "anybody can take codes without paying" in words(await staff.get("/admin/health"))


# -- the set-up -------------------------------------------------------------------------


async def test_the_steps_can_be_skipped_and_stand_where_they_were(staff):
    await db.execute("UPDATE shops_shop SET settings = '{\"setup_step\": 2}'")
    shops.forget()
    for step in (2, 3, 4):
        assert f"Step {step} of 5 waits." in words(await staff.get("/admin"))
        await staff.post("/admin/setup/skip", step=str(step))
    await staff.post("/admin/setup/skip", step="2")
    assert (await shop()).settings.setup_step == 5
    await staff.post("/admin/setup/end")
    assert (await shop()).settings.setup_step == 0 and "of 5 waits" not in words(await staff.get("/admin"))
    await staff.post("/admin/checklist/hide")
    assert "Your way to the first sale" not in words(await staff.get("/admin"))
    await staff.post("/admin/checklist/show")
    assert "Your way to the first sale" in words(await staff.get("/admin"))


FACTS = {"name": "Moon", "currency": "EUR", "locale": "en", "timezone": "Europe/Berlin"}


async def test_the_shop_is_named_and_gets_its_demo_goods(staff):
    for pack, goods in packs.PACKS.items():
        await staff.post("/admin/setup/shop", **FACTS, pack=pack, demo="on")
        rows = await db.fetch("SELECT slug FROM catalog_product WHERE demo ORDER BY position")
        assert [row["slug"] for row in rows] == [product.slug for product in goods.products]
        assert await setup.pack_there(1) == pack
        currencies = await db.fetch("SELECT DISTINCT currency FROM catalog_sku")
        assert [row["currency"] for row in currencies] == ["EUR"]
    now = await shop()
    assert (now.name, now.currency, now.locale, now.timezone) == ("Moon", "EUR", "en", "Europe/Berlin")
    await staff.post("/admin/setup/shop", **FACTS, pack="cards")
    assert await db.fetchval("SELECT count(*) FROM catalog_product") == 0
    before = await everything()
    for wrong in ({"name": " "}, {"timezone": "Moon/Tycho"}, {"locale": "xx"}, {"currency": "euro"}, {"pack": "x"}):
        await staff.post("/admin/setup/shop", status=422, **{**FACTS, **wrong})
    await stocked.sku(1)
    before = await everything()
    await staff.post("/admin/setup/shop", status=422, **{**FACTS, "currency": "USD"})
    assert await everything() == before


# -- seen from outside ------------------------------------------------------------------


@asynccontextmanager
async def in_front(address, way):
    """A proxy before the shop. ``way`` passes on what the shop answers to a request, or something of its own."""

    async def serve(reader, writer):
        try:
            asked = await reader.readuntil(b"\r\n\r\n")
            inner = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
            inner[1].write(asked.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            await way(asked, inner[0], writer)
            inner[1].close()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def through(asked, shop, visitor):
    while part := await shop.read(65536):
        visitor.write(part)
        await visitor.drain()


async def buffering(asked, shop, visitor):
    visitor.write(await shop.read(-1))
    await visitor.drain()


async def sends_on(asked, shop, visitor):
    visitor.write(b"HTTP/1.1 301 Moved\r\nLocation: https://www.shop.example/pay\r\nContent-Length: 0\r\n\r\n")
    await visitor.drain()


async def checks_for_bots(asked, shop, visitor):
    visitor.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nAre you 1")
    await visitor.drain()


async def breaks_streams(asked, shop, visitor):
    if b"/stream " in asked:
        visitor.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
    else:
        visitor.write(await shop.read(-1))
    await visitor.drain()


class Zone(asyncio.DatagramProtocol):
    """A name server that knows the TXT records of a few names."""

    def __init__(self, records):
        self.records = records

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, sender):
        asked = dns.message.from_wire(data)
        answer = dns.message.make_response(asked)
        name = asked.question[0].name.to_text(omit_final_dot=True)
        texts = [json.dumps(text) for text in self.records.get(name, [])]
        if texts:
            answer.answer.append(dns.rrset.from_text(asked.question[0].name, 60, "IN", "TXT", *texts))
        elif name not in self.records:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(answer.to_wire(), sender)


@asynccontextmanager
async def name_server(records):
    transport, _zone = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Zone(records), local_addr=("127.0.0.1", 0)
    )
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], transport.get_extra_info("sockname")[1]
    try:
        yield resolver
    finally:
        transport.close()
        await asyncio.sleep(0)


def at(address):
    return Config.from_env({"VOUCHSAFE_HOME": "/nonexistent", "VOUCHSAFE_BASE_URL": address})


async def said_of(address):
    return str((await outside_words.checks(address))[0].text)


async def outcomes():
    return {row["name"]: row["outcome"] for row in await db.fetch("SELECT name, outcome FROM admin_outside")}


async def test_the_shop_is_called_by_its_own_address(address, staff):
    await db.execute("DELETE FROM admin_outside")
    assert "not looked at yet" in words(await staff.get("/admin/health"))
    ways = {
        through: ("reached", "live"),
        buffering: ("reached", "buffered"),
        breaks_streams: ("reached", "broken"),
        sends_on: ("redirected", "skipped"),
        checks_for_bots: ("other", "skipped"),
    }
    for way, expected in ways.items():
        async with in_front(address, way) as proxy:
            await outside.look(at(proxy))
        found = await outcomes()
        assert (found["callback"], found["stream"]) == expected, way
        assert (await outside.is_fresh(proxy)) is (expected[0] == "reached")
        assert not await outside.is_fresh("https://moved.example")
        assert await db.fetchval("SELECT count(*) FROM admin_call WHERE expires_at < now()") == 0
    assert "not looked at yet" in words(await staff.get("/admin/health"))
    assert await said_of(proxy) == f"something else answers at {proxy}, with 403"
    await outside.look(at("http://127.0.0.1:9"))
    assert (await outcomes())["callback"] == "unreachable"
    assert "could not be reached from here" in await said_of("http://127.0.0.1:9")


async def test_a_call_is_answered_once_and_to_nobody_else(address):
    key, answer = await outside._new_call()
    async with httpx.AsyncClient(base_url=address) as caller:
        assert (await caller.post(f"{outside.PATH}/{'x' * 43}")).status_code == 404
        assert (await caller.get(f"{outside.PATH}/{'x' * 43}/stream")).status_code == 404
        came = [await caller.post(f"{outside.PATH}/{key}") for _twice in range(2)]
    assert [one.status_code for one in came] == [200, 404] and came[0].text == answer
    key, _answer = await outside._new_call()
    await db.execute("UPDATE admin_call SET expires_at = now() - interval '1 second'")
    assert await outside.answer_to(key) is None


SPF, DMARC = "v=spf1 include:mail.example -all", "v=DMARC1; p=reject"


@pytest.mark.parametrize(
    ("records", "outcome"),
    [
        ({"shop.example": ["site=1", SPF], "_dmarc.shop.example": [DMARC]}, "fine"),
        ({"news.shop.example": [SPF], "_dmarc.shop.example": [DMARC]}, "fine"),
        ({"shop.example": [], "_dmarc.shop.example": []}, "neither"),
        ({}, "neither"),
        ({"shop.example": [SPF]}, "no_dmarc"),
        ({"_dmarc.shop.example": [DMARC]}, "no_spf"),
        ({"shop.example": [SPF, SPF + " "]}, "spf_twice"),
        ({"shop.example": ["v=spf1 +all"], "_dmarc.shop.example": [DMARC]}, "spf_open"),
    ],
)
async def test_what_the_dns_says_about_the_sender(records, outcome):
    domain = next((name for name in records if "news" in name), "shop.example")
    async with name_server(records) as resolver:
        assert (await mail_domain.judge(domain, resolver))[0] == outcome


async def test_a_sender_is_asked_about_when_mails_go_out(address, staff):
    values = {"host": "mail.example.com", "from_address": "shop@shop.example"}
    await db.transaction(store.save, "notifiers.smtp", True, values, {})
    await db.transaction(store.enable, "notifiers.smtp", True)
    await runtime.current().refresh()
    try:
        async with name_server({"shop.example": [SPF]}) as resolver:
            await outside.look(at("http://127.0.0.1:9"), resolver)
        assert (await outcomes())["dns"] == "no_dmarc"
        page = words(await staff.get("/admin/health"))
        assert "Add a TXT record _dmarc.shop.example with" in page
        resolver.lifetime = 0.2
        assert (await mail_domain.judge("shop.example", resolver))[0] == "away"
    finally:
        await db.transaction(store.enable, "notifiers.smtp", False)
        await runtime.current().refresh()


async def test_looking_now_is_a_job_and_the_page_waits_for_nothing(staff):
    await db.execute("DELETE FROM jobs_job")
    await staff.post("/admin/health/outside")
    assert [row["name"] for row in await db.fetch("SELECT name FROM jobs_job")] == [LOOK_OUTSIDE]


async def test_a_monitor_reads_the_checks_with_a_key_of_the_main_shop(address, staff):
    staff_id = await stocked.staff_member()
    right = await api_keys.make(1, "Monitor", ["health.read"], None, staff_id)
    wrong = await api_keys.make(1, "Till", ["codes.verify"], None, staff_id)
    async with httpx.AsyncClient(base_url=address, headers={"accept-language": "en"}) as monitor:
        said = {}
        for token in (right, wrong, "", "vs_" + "x" * 43):
            headers = {"authorization": f"Bearer {token}"} if token else {}
            said[token] = await monitor.get("/api/v1/health", headers=headers)
        assert [answer.status_code for answer in said.values()] == [503, 403, 401, 401]
        seen = said[right].json()
        assert seen["state"] == "fail" and {one["state"] for one in seen["checks"]} <= {"ok", "warn", "fail"}
        assert {"database", "worker", "callback", "stream", "dns"} <= {one["name"] for one in seen["checks"]}
        assert "checks" not in said[wrong].text and "00" * 32 not in said[right].text
        assert (await monitor.get("/healthz")).text == "ok\n"


async def test_a_shop_with_a_name_of_its_own_is_judged_by_that_name(address):
    """``address`` is at home, where nobody else can come; the name is not."""
    main = await shops.main_shop()
    own = replace(main, host="kol.example.com")
    at_home = Config.from_env({"VOUCHSAFE_BASE_URL": address})
    safe = Config.from_env({"VOUCHSAFE_BASE_URL": "https://shop.example.com"})
    for shop, config, points in (
        (main, at_home, ["Nobody else can come"]),
        (own, at_home, ["The address is not safe"]),
        (own, safe, []),
    ):
        found = await opening.readiness(shop, config, None)
        assert [str(one.title) for one in (*found.blocks, *found.warnings) if one.key == "address"] == points
