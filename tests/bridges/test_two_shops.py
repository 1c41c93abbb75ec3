"""Two running shops trade: B sells what A has, at prices that follow, and a buyer of B gets a code that A delivered."""

import hashlib
import hmac
import json
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from core.audit.person import Person
from core.ids import token_hash
from core.supply import importing
from core.supply.price_rule import PriceRule
from core.supply.skus import Draft
from core.web import csrf
from tests.conftest import TEMPLATE, Child, Start, TestEngines
from tests.console import words
from tests.payments.real_shop import Buyer, RealShop

CODES = ["A-CODE-0001", "A-CODE-0002"]
PLUGIN = "bridges.dujiao_next"
KEPT = ("orders_order", "orders_line", "vault_code", "ledger_entry", "supply_purchase", "review_item")


@dataclass
class Shop(RealShop):
    """A running shop with its owner signed in."""

    owner: httpx.Client | None = None
    cookie: str = ""

    def sign_in(self) -> None:
        self.cookie = secrets.token_urlsafe(32)
        self.sql(
            "WITH staff AS (INSERT INTO people_staff (shop_id, email, role) VALUES (1, 'o@example.com', 'owner')"
            " RETURNING id) INSERT INTO people_session (id_hash, kind, staff_id, expires_at, confirmed_at)"
            f" SELECT '\\x{token_hash(self.cookie).hex()}', 'staff', id, now() + interval '1 hour', now() FROM staff"
        )
        self.sql("UPDATE shops_shop SET test_mode = false")
        self.owner = self.client()
        self.owner.cookies.set("vs", self.cookie, domain="127.0.0.1")
        self.owner.headers.update({"Origin": self.url, "Accept-Language": "en"})

    def act(self, path: str, status: int = 303, **form: str) -> str:
        assert self.owner is not None
        answer = self.owner.post(self.url + path, data={**form, "csrf": csrf.token_for(self.cookie)})
        assert answer.status_code == status, words(answer.text)
        return answer.text

    def is_sold_out(self, slug: str) -> bool:
        return "Sold out" in words(self.gateways.get(f"{self.url}/p/{slug}", headers={"Accept-Language": "en"}).text)


@pytest.fixture(scope="module")
def shops(engines: TestEngines, database: str, start: Start) -> Iterator[tuple[Shop, Shop]]:
    """A with a database of its own, B on the module's; each a web process and a worker."""
    other = f"{urlsplit(database).path.removeprefix('/')}_a"
    engines.sql(f"CREATE DATABASE {other} TEMPLATE {TEMPLATE}")
    children: list[Child] = []
    with ExitStack() as opened, ThreadPoolExecutor(4) as at_once:

        def run(url: str, number: int) -> Shop:
            home = Path(tempfile.mkdtemp(prefix="vouchsafe-trade-"))
            opened.callback(shutil.rmtree, home, ignore_errors=True)
            environ = {
                "VOUCHSAFE_HOME": str(home),
                "DATABASE_URL": url,
                "REDIS_URL": f"{engines.redis_url}?db={number}",
                "VOUCHSAFE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
            }
            web = start("web", "--no-demo", **environ)
            worker = at_once.submit(start, "worker", VOUCHSAFE_BASE_URL=web.url, **environ)
            name = urlsplit(url).path.removeprefix("/")
            shop = Shop(web.url, web.environ, lambda statement: engines.sql(statement, name), opened)
            shop.sign_in()
            children.extend([web, worker.result()])
            return shop

        a, b = at_once.map(run, (engines.url_of(other), database), (14, 15))
        yield a, b
        list(at_once.map(Child.stop, children))
    gone = f"datname = '{other}' AND usename = user"
    engines.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE " + gone)
    engines.sql(f"DROP DATABASE {other}")


def make_partner(a: Shop, b: Shop) -> tuple[str, str]:
    a.act(f"/admin/plugins/{PLUGIN}/enable")
    page = a.act("/admin/partners", 200, name="Shop B", discount="10", notify_url=f"{b.url}/supply/dujiao_next/notify")
    key, secret = re.search(r"vp_[0-9a-f]{24}", page), re.search(r'<code class="long">([\w-]{43})</code>', page)
    assert key and secret
    money = {"way": "in", "why": "cash", "reason": "prepaid", "key": secrets.token_hex(8), "amount": "100"}
    a.act("/admin/partners/1/balance", **money)
    return key[0], secret[1]


def connect(b: Shop, a: Shop, key: str, secret: str) -> None:
    b.act("/admin/plugins/payments.manual/enable")
    b.act("/admin/plugins/payments.manual/settings", set_instructions_en="Pay at the door.", act="save")
    b.act(f"/admin/plugins/{PLUGIN}/enable")
    there = {"set_address": f"{a.url}/channel/dujiao_next", "set_api_key": key, "secret_api_secret": secret}
    b.act(f"/admin/plugins/{PLUGIN}/settings", act="save", set_sync_seconds="60", set_selling="on", **there)


async def take_over(b: Shop) -> str:
    """B's staff makes a product of A's offer; gives the address of its page."""
    offer_id = int(b.sql("SELECT id FROM supply_offer"))
    rule = PriceRule(follows=True, markup=2000)
    wish = importing.Wish(Draft("supplier", rule=rule), "en", "CNY", state="listed")
    made = await importing.make_products(Person(1, 1), [offer_id], wish)
    assert made.left_out == []
    return b.sql("SELECT slug FROM catalog_product")


def sell(b: Shop, code: str) -> tuple[Buyer, str]:
    """A buyer of B orders, and B's staff says that the money came."""
    buyer = Buyer(b, b.client())
    ref = buyer.place(code, "manual")
    b.act(f"/admin/orders/{ref}/confirm-paid", note="cash")
    return buyer, ref


def as_soon_as(b: Shop, met: Callable[[], bool]) -> float:
    begun = time.monotonic()
    b.until(met)
    return time.monotonic() - begun


def call_of(key: str, secret: str, ref: str, *, late: int = 0, to_sign: bytes | None = None) -> tuple[bytes, dict]:
    """What A would say of an order of B: delivered, with a code that A never had."""
    goods = {"type": "auto", "status": "delivered", "payload": "NOT-A-CODE"}
    said = {"order_id": 1, "downstream_order_no": ref, "status": "delivered", "fulfillment": goods}
    body, stamp = json.dumps(said).encode(), str(int(time.time()) - late)
    digest = hashlib.md5(to_sign or body).hexdigest()
    text = f"POST\n/api/v1/upstream/callback\n{stamp}\n{digest}"
    signature = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    names = ("Api-Key", "Timestamp", "Signature")
    return body, {f"Dujiao-Next-{name}": value for name, value in zip(names, (key, stamp, signature), strict=True)}


def forge(b: Shop, key: str, secret: str, ref: str) -> None:
    """Calls that are not from A leave an alarm; one of A that comes again changes as little."""
    before = {table: b.sql(f"SELECT count(*), max(xmin::text::bigint) FROM {table}") for table in KEPT}
    true = call_of(key, secret, ref)
    forged = [
        (true[0], {}),
        call_of("vp_another", secret, ref),
        call_of(key, "another", ref),
        call_of(key, secret, ref, late=70),
        call_of(key, secret, ref, to_sign=b"{}"),
        (true[0] + b" ", true[1]),
    ]
    for (body, headers), expected in [(true, 200), (true, 200), *((one, 401) for one in forged)]:
        answer = b.gateways.post(f"{b.url}/supply/dujiao_next/notify", content=body, headers=headers)
        assert (answer.status_code, answer.json()["ok"]) == (expected, expected == 200)
    assert b.alarms() == ["supply.forged"] * len(forged)
    assert {table: b.sql(f"SELECT count(*), max(xmin::text::bigint) FROM {table}") for table in KEPT} == before


async def test_two_shops_trade(shops, pool, tmp_path):
    a, b = shops
    a.stock("A-MONTH", CODES, tmp_path)
    key, secret = make_partner(a, b)
    connect(b, a, key, secret)

    b.until(lambda: b.sql("SELECT cost, stock FROM supply_offer") == "1791|2")
    slug = await take_over(b)
    code, price = b.sql("SELECT code, price FROM catalog_sku").split("|")
    assert price == "2150"  # 17.91 and a fifth, in whole fen

    buyer, ref = sell(b, code)
    took = as_soon_as(b, lambda: b.order(ref)["fulfilment"] == "delivered")
    print(f"\nfrom paid to delivered: {took:.2f} s")
    assert b.order(ref)["codes"] == 1 and b.order(ref)["review"] == []
    (got,) = buyer.reveal(ref)
    assert got in CODES
    assert a.sql("SELECT count(*) FROM vault_code WHERE state = 'delivered'") == "1"
    assert a.sql("SELECT amount FROM ledger_balance") == str(10_000 - 1791)
    assert b.sql("SELECT cost, state FROM supply_purchase") == "1791|done"
    b.until(lambda: a.sql("SELECT told FROM partners_order") == "delivered")

    a.sql("UPDATE catalog_sku SET price = 2490")
    b.until(lambda: b.sql("SELECT price, available FROM catalog_sku") == "2690|1")

    assert not b.is_sold_out(slug)
    buyer, ref = sell(b, code)
    b.until(lambda: b.order(ref)["fulfilment"] == "delivered")
    (last,) = buyer.reveal(ref)
    assert {got, last} == set(CODES)
    b.until(lambda: b.is_sold_out(slug))
    assert (a.alarms(), b.alarms()) == ([], [])

    forge(b, key, secret, b.sql("SELECT min(ref) FROM supply_purchase"))
