"""Every route, every role, own and foreign shop: what belongs to one shop does not exist in another.

All objects stand in the main shop; the second shop's people ask for them at their own host.
"""

import re
from collections.abc import AsyncIterator, Iterator
from html import unescape

import httpx
import pytest

from core import db
from core.api import shop_address
from core.app import create_app, handlers
from core.checkout.place import Placed, place
from core.checkout.settle import settle
from core.config import Config
from core.messages import compose
from core.partners import accounts as partners
from core.payments import service as payments
from core.people import rights, sessions
from core.pricing.quote import Item, quote
from core.shops import service as shops
from core.supply import answers
from core.vault import import_service as imports
from core.web import csrf
from server import with_plugins
from tests import plugged, stocked
from tests.console import everything

HOST = "second.test"
CANARY = "canary-5f2c"

# What a route without its own shop's object in its path stands for; every parameter must be named in one of the two.
NOT_OF_A_SHOP = {"plugin", "part", "event", "locale", "purpose", "look", "path", "name", "key", "request_id"}
OBJECTS = {
    "product_id": "SELECT product_id FROM catalog_sku WHERE id = $1",
    "sku_id": "SELECT $1::bigint",
    "guide_id": "SELECT id FROM catalog_guide WHERE name = 'canary-5f2c' AND $1 > 0",
    "category_id": "SELECT min(id) FROM catalog_category WHERE title::text LIKE '%canary%' AND $1 > 0",
    "batch_id": "SELECT min(id) FROM vault_batch WHERE sku_id = $1",
    "own-codes/batch_id": "SELECT batch_id FROM redemption_batch WHERE shop_id = 1 AND $1 > 0",
    "import_id": "SELECT id FROM vault_import WHERE sku_id = $1",
    "code_id": "SELECT min(id) FROM vault_code WHERE sku_id = $1 AND state = 'delivered'",
    "ref": "SELECT o.ref FROM orders_order o JOIN orders_line l ON l.order_id = o.id WHERE l.sku_id = $1",
    "messages/number": "SELECT id FROM messages_message WHERE key = 'canary' AND $1 > 0",
    "jobs/number": "SELECT min(id) FROM jobs_job WHERE $1 > 0",
    "alarm_id": "SELECT id FROM audit_alarm WHERE kind = 'canary' AND $1 > 0",
    "staff_id": "SELECT min(id) FROM people_staff WHERE shop_id = 1 AND $1 > 0",
    "passkey_id": "SELECT id FROM people_passkey WHERE $1 > 0",
    "key_id": "SELECT id FROM people_api_key WHERE $1 > 0",
    "export_id": "SELECT id FROM vault_export WHERE sku_id = $1",
    "hold_id": "SELECT id FROM vault_hold WHERE $1 > 0",
    "refund_id": "SELECT id FROM payments_refund WHERE $1 > 0",
    "item_id": "SELECT id FROM review_item WHERE key = 'canary' AND $1 > 0",
    "balance_id": "SELECT id FROM ledger_balance WHERE $1 > 0",
    "partner_id": "SELECT id FROM partners_partner WHERE $1 > 0",
    "line_id": "SELECT min(id) FROM orders_line WHERE sku_id = $1",
    "purchase_id": "SELECT id FROM supply_purchase WHERE ref = 'CANARY-1-1' AND $1 > 0",
    "answer_id": "SELECT id FROM supply_answer WHERE ref = 'CANARY-1-1' AND $1 > 0",
    "try_id": "SELECT id FROM redemption_try WHERE $1 > 0",
    "look_id": "SELECT min(id) FROM site_look WHERE shop_id = 1 AND $1 > 0",
    "page_id": "SELECT id FROM site_page WHERE slug = 'canary-page' AND $1 > 0",
    "i/slug": "SELECT slug FROM site_page WHERE slug = 'canary-page' AND $1 > 0",
    "file_id": "SELECT 1 WHERE $1 > 0",
    "run_id": "SELECT id FROM lists_run WHERE $1 > 0",
    "promotions.coupon/coupon_id": "SELECT id FROM promotions_coupon WHERE name = 'canary-5f2c' AND $1 > 0",
    "notifiers.webhook/endpoint_id": "SELECT id FROM notifiers_webhook_endpoint WHERE note = 'canary-5f2c' AND $1 > 0",
    "notifiers.webhook/delivery_id": "SELECT min(id) FROM notifiers_webhook_delivery WHERE $1 > 0",
    "risk.network/entry_id": "SELECT id FROM risk_network_entry WHERE note = 'canary-5f2c' AND $1 > 0",
    "apps.tickets/ticket_id": "SELECT id FROM apps_tickets_ticket WHERE about = 'canary-5f2c' AND $1 > 0",
    "apps.tickets/image_id": "SELECT max(id) FROM apps_tickets_image WHERE $1 > 0",
    "apps.tickets/reply_id": "SELECT id FROM apps_tickets_reply WHERE title = 'canary-5f2c' AND $1 > 0",
    "risk.network/list_id": "SELECT id FROM risk_network_list WHERE name = 'canary-5f2c' AND $1 > 0",
    "slug": "SELECT p.slug FROM catalog_product p JOIN catalog_sku s ON s.product_id = p.id WHERE s.id = $1",
    "c/slug": "SELECT min(slug) FROM catalog_category WHERE title::text LIKE '%canary%' AND $1 > 0",
}
# Where a form is checked before the object is looked for, a good one.
FORMS: dict[str, dict[str, str]] = {
    "/admin/orders/{ref:str}/codes": {"reason": "why"},
    "/admin/exports/{export_id:int}/file": {"password": "x" * 20},
    "/admin/categories/{category_id:int}": {"title_en": "X", "slug": "x"},
    "/admin/stock/reusable/{batch_id:int}/cap": {"cap": "5"},
    "/admin/review/{item_id:int}/take-over": {"holder": "1"},
    "/admin/stock/aside/{hold_id:int}": {"act": "back"},
    "/admin/orders/{ref:str}/lines/{line_id:int}/buy": {"offer": "1"},
    "/o/{ref:str}/report": {"code": "1", "why": "used"},
    "/admin/orders/{ref:str}/extend": {"minutes": "5"},
    "/admin/orders/{ref:str}/contact": {"contact": "new@example.com"},
    "/o/{ref:str}/worked": {"line": "1", "device": "ios", "worked": "yes"},
    "/o/{ref:str}/pay": {"method": "epay"},
}
# What says no in its own way: back to a list that says so, or the form again. That nothing changed is seen below.
POLITE = {
    "/admin/account/passkeys/{passkey_id:int}/remove": 303,
    "/admin/categories/{category_id:int}": 422,
    "/admin/categories/{category_id:int}/delete": 303,
    "/admin/exports/{export_id:int}/approve": 303,
    "/admin/exports/{export_id:int}/file": 303,
    "/admin/exports/{export_id:int}/refuse": 303,
    "/admin/orders/{ref:str}/codes": 303,
    "/admin/orders/{ref:str}/codes/{code_id:int}/good": 303,
    "/admin/orders/{ref:str}/codes/{code_id:int}/replace": 303,
    "/admin/orders/{ref:str}/lines/{line_id:int}/buy": 303,
    "/admin/orders/{ref:str}/lines/{line_id:int}/hand-over": 303,
    "/admin/stock/aside/{hold_id:int}": 303,
    "/admin/stock/reusable/{batch_id:int}/cap": 303,
    "/o/{ref:str}/report": 303,
    "/o/{ref:str}/worked": 303,
}
ONES_OWN = {
    "/admin/redeem/{try_id:int}",
    "/admin/lists/runs/{run_id:int}",
    "/admin/lists/runs/{run_id:int}/progress",
}
"""Seen by the person who did it alone."""

MORE = """
UPDATE shops_shop SET test_mode = false;
INSERT INTO shops_shop (code, name, host, test_mode) VALUES ('second', 'Second', 'second.test', false);
INSERT INTO catalog_category (shop_id, slug, title) VALUES (1, 'things', '{"en": "canary-5f2c"}');
INSERT INTO catalog_guide (shop_id, name) VALUES (1, 'canary-5f2c');
INSERT INTO messages_message (shop_id, event, channel, recipient, locale, key, subject)
    VALUES (1, 'order.paid', 'email', 'canary-5f2c@example.com', 'en', 'canary', 'canary-5f2c');
INSERT INTO site_look (shop_id, theme, published_at) VALUES (1, 'market', now());
INSERT INTO site_page (shop_id, slug, title, body) VALUES (1, 'canary-page', '{"en": "canary-5f2c"}', '{"en": "x"}');
INSERT INTO audit_alarm (shop_id, kind, subject, reason) VALUES (1, 'canary', 'canary-5f2c', 'canary-5f2c');
INSERT INTO audit_entry (shop_id, actor, act, object) VALUES (1, 'system', 'order.paid', 'canary-5f2c');
INSERT INTO people_passkey (staff_id, credential_id, public_key, sign_count, name)
    SELECT min(id), 'canary-5f2c-canary', '', 0, 'canary-5f2c' FROM people_staff;
INSERT INTO people_api_key (shop_id, name, token_hash, shown, scopes, created_at)
    VALUES (1, 'canary-5f2c', sha256('x'), 'abcd', '{codes.verify}', now());
INSERT INTO vault_export (shop_id, sku_id, code_state, reason, codes, up_to, asked_by, asked_at, expires_at)
    SELECT 1, $1, 'free', 'canary-5f2c', 1, 1, min(id), now(), now() + interval '1 day' FROM people_staff;
INSERT INTO review_item (shop_id, kind, key, order_id, reason)
    SELECT 1, 'payment.extra', 'canary', min(order_id), 'canary-5f2c' FROM orders_line WHERE sku_id = $1;
INSERT INTO redemption_try (shop_id, act, caller, at, place) VALUES (1, 'verify', 'staff:1', now(), 'canary-5f2c');
INSERT INTO ledger_account (shop_id, code, currency) VALUES (1, 'customer:canary-5f2c', 'CNY');
INSERT INTO ledger_balance (shop_id, contact, currency, account_id)
    SELECT 1, 'canary-5f2c@example.com', 'CNY', max(id) FROM ledger_account;
INSERT INTO jobs_job (name) VALUES ('canary-5f2c');
INSERT INTO lists_run (shop_id, staff_id, whole, locale, list, act, query, created_at)
    SELECT 1, min(id), true, 'en', 'orders', 'cancel', 'canary-5f2c', now() FROM people_staff;
INSERT INTO supply_supplier (key) VALUES ('canary-5f2c');
INSERT INTO supply_offer (supplier, item, title, delivers, cost, currency, listed, seen_at, changed_at)
    VALUES ('canary-5f2c', 'canary-5f2c', 'canary-5f2c', 'codes', 1, 'CNY', true, now(), now());
INSERT INTO supply_purchase (shop_id, order_id, line_id, offer_id, supplier, ref, quantity, price_cap, currency)
    SELECT 1, min(l.order_id), min(l.id), min(o.id), 'canary-5f2c', 'CANARY-1-1', 1, 1, 'CNY'
    FROM orders_line l, supply_offer o WHERE l.sku_id = $1;
"""
OF_PLUGINS = """
INSERT INTO promotions_coupon (shop, name, kind, percent, currency)
    VALUES ('main', 'canary-5f2c', 'percent', 100, 'CNY');
INSERT INTO risk_network_entry (act, kind, value, note, created_at)
    VALUES ('block', 'contact', 'canary-5f2c@example.com', 'canary-5f2c', now());
INSERT INTO notifiers_webhook_endpoint (shop, url, note, events, salt)
    VALUES ('main', 'https://canary-5f2c.example', 'canary-5f2c', '{order.paid}', '0123456789abcdef');
INSERT INTO notifiers_webhook_delivery (endpoint_id, message, event, body, state)
    SELECT id, 'canary-5f2c', 'order.paid', '{"a": "canary-5f2c"}', 'sent' FROM notifiers_webhook_endpoint;
INSERT INTO apps_tickets_reply (shop, title, text) VALUES ('main', 'canary-5f2c', 'canary-5f2c');
INSERT INTO apps_tickets_ticket (shop, order_ref, about, reason, place, locale, opened_at, waiting_since)
    SELECT 'main', max(ref), 'canary-5f2c', 'other', 1, 'en', now(), now() FROM orders_order;
INSERT INTO apps_tickets_message (ticket_id, author, text, at)
    SELECT id, 'buyer', 'canary-5f2c', now() FROM apps_tickets_ticket;
INSERT INTO apps_tickets_image (message_id, place, type, body) SELECT id, 1, 'image/png', 'x' FROM apps_tickets_message;
INSERT INTO risk_network_list (name, kind) VALUES ('canary-5f2c', 'bad');
"""


@pytest.fixture(scope="module")
async def objects(address: str) -> dict[str, object]:
    """One of everything in the main shop: parameter to value."""
    sku = await stocked.sku(5)
    await db.execute("UPDATE catalog_product SET title = jsonb_build_object('en', $1::text) WHERE shop_id = 1", CANARY)
    placed = await stocked.order(sku, who=stocked.buyer(f"{CANARY}@example.com"))
    await settle("epay", stocked.paid(placed), "callback")
    for statement in MORE.strip().split(";\n"):
        await db.execute(statement.rstrip(";"), *([sku.id] if "$1" in statement else []))
    await _rest(sku.id)
    await plugged.all_on()
    for statement in OF_PLUGINS.strip().split(";\n"):
        await db.execute(statement.rstrip(";"))
    await imports.stage(1, _upload(), f"{CANARY}.txt", sku.id)
    shops.forget()
    found = {name: await db.fetchval(query, sku.id) for name, query in OBJECTS.items()}
    assert [name for name, value in found.items() if value is None] == []
    return found


async def _upload() -> AsyncIterator[bytes]:
    yield f"{CANARY}-1\n{CANARY}-2\n".encode()


async def _rest(sku_id: int) -> None:
    """What needs the ids of what was made before."""
    await db.execute(
        "INSERT INTO payments_refund (shop_id, ref, order_id, payment_id, amount, currency, way, state, two_persons,"
        " note, asked_by) SELECT 1, 'RCANARY', l.order_id, e.id, 1, 'CNY', 'hand', 'asked', true, 'canary-5f2c',"
        " min(s.id) FROM orders_line l JOIN payments_attempt a ON a.order_id = l.order_id"
        " JOIN payments_event e ON e.attempt_id = a.id, people_staff s WHERE l.sku_id = $1 GROUP BY l.order_id, e.id",
        sku_id,
    )
    await db.execute(
        "INSERT INTO redemption_batch (batch_id, shop_id, group_size, on_paper, wanted)"
        " SELECT min(id), 1, 4, true, 5 FROM vault_batch WHERE sku_id = $1",
        sku_id,
    )
    await db.execute(
        "INSERT INTO vault_hold (shop_id, batch_id, reason, held_at)"
        " SELECT 1, min(id), 'canary-5f2c', now() FROM vault_batch WHERE sku_id = $1",
        sku_id,
    )
    purchase = await db.fetchrow("SELECT * FROM supply_purchase WHERE ref = 'CANARY-1-1'")
    await answers.keeper(purchase, "purchase")(b"canary-5f2c")
    await partners.make(1, CANARY, 0, "", await stocked.staff_member())


@pytest.fixture(scope="module")
def routes(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, dict]]:
    environ = {"VOUCHSAFE_HOME": str(tmp_path_factory.mktemp("home")), "DATABASE_URL": database, "REDIS_URL": redis_url}
    app = create_app(Config.from_env(environ), load_plugins=with_plugins)
    return [
        (method, path, dict(handler.opt))
        for path, handler in [*handlers(app), *plugged.routes()]
        for method in sorted(handler.http_methods)
        if not path.startswith(("/api", "/static"))
    ]


def values(path: str) -> list[str]:
    return re.findall(r"\{(\w+):\w+\}", path)


def name_of(path: str, value: str) -> str:
    folders = [part for part in path.split("/") if part]
    return next((name for name in (f"{folder}/{value}" for folder in folders) if name in OBJECTS), value)


def filled(path: str, objects: dict[str, object]) -> str:
    return re.sub(r"\{(\w+):\w+\}", lambda match: str(objects.get(name_of(path, match[1]), "x")), path)


def with_object(routes: list[tuple[str, str, dict]]) -> Iterator[tuple[str, str, dict]]:
    for method, path, opt in routes:
        if any(value not in NOT_OF_A_SHOP for value in values(path)) and opt["who"] != "gateway":
            yield method, path, opt


def test_every_value_in_an_address_says_whose_it_is(routes):
    for _method, path, _opt in routes:
        for value in values(path):
            assert value in NOT_OF_A_SHOP or name_of(path, value) in OBJECTS, path


async def cookie_of(shop_id: int, role: str) -> str:
    staff_id = await db.fetchval(
        "INSERT INTO people_staff (shop_id, email, role) VALUES ($1, $2, $3)"
        " ON CONFLICT (shop_id, email) DO UPDATE SET role = $3 RETURNING id",
        shop_id,
        f"{role}@second.test",
        role,
    )

    async def begin(tx: db.Tx) -> str:
        return await sessions.create(tx, "staff", staff_id=staff_id)

    return await db.transaction(begin)


def at(host: str, cookie: str) -> dict[str, str]:
    origin = f"http://{host}"
    return {"host": host, "origin": origin, "cookie": f"vs={cookie}", "x-csrf-token": csrf.token_for(cookie)}


async def second_shop() -> int:
    return await db.fetchval("SELECT id FROM shops_shop WHERE code = 'second'")


async def ask(http: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], form: dict) -> httpx.Response:
    form = {**form, "csrf": headers["x-csrf-token"]}
    return await http.request(method, path, headers=headers, data=None if method == "GET" else form)


async def test_objects_of_another_shop_are_not_there(address, objects, routes):
    """Every role of the second shop, and a buyer there, with the main shop's ids."""
    shop_id = await second_shop()
    callers = {role: await cookie_of(shop_id, role) for role in rights.ROLES}
    callers["buyer"] = await db.transaction(sessions.create, "buyer")
    before = await everything()
    seen = 0
    wrong = []
    async with httpx.AsyncClient(base_url=address, timeout=20) as http:
        for method, path, opt in with_object(routes):
            await db.execute("DELETE FROM web_limit")
            for role, cookie in callers.items():
                answer = await ask(http, method, filled(path, objects), at(HOST, cookie), FORMS.get(path, {}))
                staff = opt["who"].startswith("staff:")
                expected = (303,) if staff and role == "buyer" else (403, 404, 409, POLITE.get(path, 404))
                if answer.status_code not in expected or CANARY in unescape(answer.text):
                    wrong.append((role, method, path, answer.status_code, CANARY in answer.text))
                seen += 1
    assert wrong == []
    assert seen > 300
    after = await everything()
    alarms = ("audit_alarm", "orders_stranger")  # asking for the codes of a stranger's order is noticed
    assert {**after, **{name: before[name] for name in alarms}} == before


async def test_the_same_addresses_lead_somewhere_in_their_own_shop(address, objects, routes):
    """So that a page that is not there above is not simply a wrong address."""
    cookie = await cookie_of(1, "owner")
    host = address.removeprefix("http://")
    found = {}
    async with httpx.AsyncClient(base_url=address, timeout=20) as http:
        for method, path, opt in with_object(routes):
            if method == "GET" and opt["who"].startswith("staff:"):
                found[path] = (await ask(http, method, filled(path, objects), at(host, cookie), {})).status_code
    assert {path: status for path, status in found.items() if status != 200}.keys() == ONES_OWN


async def test_pages_of_one_shop_say_nothing_of_another(address, objects, routes):
    shop_id = await second_shop()
    pages = [(path, opt["who"]) for method, path, opt in routes if method == "GET" and not values(path)]
    leaks, main_only = [], 0
    async with httpx.AsyncClient(base_url=address, timeout=20) as http:
        for role in ("owner", "manager"):
            headers = at(HOST, await cookie_of(shop_id, role))
            for path, who in pages:
                answer = await http.get(path, headers=headers)
                right = rights.RIGHTS.get(who.removeprefix("staff:"))
                if CANARY in unescape(answer.text):
                    leaks.append((role, path))
                if right is not None and right.whole_server:
                    assert answer.status_code == 403, (role, path)
                    main_only += 1
    assert leaks == []
    assert main_only >= 8


async def test_staff_of_one_shop_is_nobody_in_another(address, objects, routes):
    shop_id = await second_shop()
    host = address.removeprefix("http://")
    before = await everything()
    async with httpx.AsyncClient(base_url=address, timeout=20) as http:
        for cookie, elsewhere in ((await cookie_of(shop_id, "owner"), host), (await cookie_of(1, "owner"), HOST)):
            home = host if elsewhere == HOST else HOST
            assert (await http.get("/admin/account", headers=at(home, cookie))).status_code == 200
            before = await everything()
            for method, path, opt in routes:
                if opt["who"].startswith("staff:"):
                    answer = await ask(http, method, filled(path, objects), at(elsewhere, cookie), {})
                    assert answer.status_code == 303, (method, path, answer.status_code)
                    assert answer.headers["location"].startswith("/admin/sign-in"), path
            assert await everything() == before


@pytest.fixture
async def of_the_second(address: str, objects: dict[str, object]) -> Placed:
    """An order of the second shop."""
    shop = next(shop for shop in await shops.all_shops() if shop.host == HOST)
    sku = await stocked.sku(1, shop_id=shop.id)
    priced = await quote(shop.id, [Item(sku.code, 1)])
    return await place(shop, priced, {}, stocked.buyer(), stocked.chosen(), "key")


async def test_links_of_a_shop_lead_to_its_own_host(address, of_the_second):
    """Where its mails lead, where its buyers come back to, and what its staff is given."""
    own = f"http://{HOST}{address[address.rindex(':') :]}"
    await settle("epay", stocked.paid(of_the_second), "callback")
    message = await db.fetchrow("SELECT * FROM messages_message WHERE order_id = $1", of_the_second.order_id)
    mail = await compose.outgoing(message, 1, address)
    assert f"{own}/o/{of_the_second.ref}?k=" in mail.text
    assert address not in mail.text + mail.html
    attempt = (await payments.load_attempt(of_the_second.attempt_ref, address)).view
    assert attempt.return_url == f"{own}/pay/epay/return?order={of_the_second.ref}"
    assert attempt.notify_url == f"{address}/pay/epay/notify"

    headers = at(own.removeprefix("http://"), await cookie_of(await second_shop(), "owner"))
    async with httpx.AsyncClient(base_url=address, timeout=20) as http:
        invited = await ask(
            http, "POST", "/admin/staff", headers, {"email": "new@second.test", "name": "", "role": "stock"}
        )
        assert f"{own}/admin/welcome/invite?token=" in invited.text
        preview = await http.get("/admin/messages/texts/order_delivered/en", headers=headers)
        assert f"{own}/o/" in preview.text
    for answer in (invited, preview):
        assert address not in answer.text
    assert await shop_address("second", address) == own
    assert await shop_address("main", address) == address


async def test_a_shop_without_a_name_of_its_own_is_at_the_address_of_the_server():
    assert shops.address(None, "https://shop.test") == "https://shop.test"
    assert shops.address("kol.test", "https://shop.test") == "https://kol.test"
    assert shops.address("kol.test", "http://127.0.0.1:8000") == "http://kol.test:8000"
    assert shops.address("kol.test:81", "http://127.0.0.1:8000") == "http://kol.test:81"
