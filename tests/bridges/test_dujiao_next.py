"""The selling end of Dujiao-Next at a real shop: partners in the console, a partner's calls, and what is forged."""

import hashlib
import hmac
import json
import re
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from core import db
from core.hooks.http import AllowedHosts, PluginHttp
from tests import stocked
from tests.console import ON_THEIR_OWN, Staff, everything, signed_in, words
from tests.stocked import Sku

ROOT = "/api/v1/upstream"
DOOR = "/channel/dujiao_next"


@dataclass
class Program:
    """A partner's program: signs as the published interface says, and never asks for the same second twice."""

    http: httpx.AsyncClient
    id: int
    key: str
    secret: str
    stamp: int = 0

    async def ask(self, method: str, path: str, said: Any = None, **other: Any) -> httpx.Response:
        self.stamp += 1
        body = other.pop("body", json.dumps(said).encode() if said is not None else b"")
        return await self.send(method, path, body, self.signed(method, path, body, **other), other.get("params"))

    def signed(self, method: str, path: str, body: bytes, *, now: int | None = None, **other: Any) -> dict[str, str]:
        stamp = str(now if now is not None else int(time.time()) - 30 + self.stamp % 60)
        whole = f"{other.get('before', '')}{ROOT}{path}"
        text = f"{method}\n{whole}\n{stamp}\n{hashlib.md5(other.get('signed_body', body)).hexdigest()}"
        return {
            "Dujiao-Next-Api-Key": other.get("key", self.key),
            "Dujiao-Next-Timestamp": stamp,
            "Dujiao-Next-Signature": hmac.new(
                other.get("secret", self.secret).encode(), text.encode(), hashlib.sha256
            ).hexdigest(),
        }

    async def send(
        self, method: str, path: str, body: bytes, headers: dict[str, str], params: Any = None
    ) -> httpx.Response:
        return await self.http.request(
            method, f"{DOOR}{ROOT}{path}", content=body or None, headers=headers, params=params
        )


@pytest.fixture(scope="module")
async def shop(address: str) -> AsyncIterator[Staff]:
    async with signed_in(address) as staff:
        await staff.post("/admin/plugins/bridges.dujiao_next/enable")
        yield staff


async def partner(staff: Staff, name: str, money: str = "1000", discount: str = "0") -> Program:
    """Made, and given money, as staff does it."""
    page = await staff.post("/admin/partners", status=200, name=name, discount=discount)
    key, secret = re.search(r"vp_[0-9a-f]{24}", page), re.search(r'<code class="long">([\w-]{43})</code>', page)
    assert key and secret
    partner_id = int(re.search(r"/admin/partners/(\d+)\"", page)[1])  # type: ignore[index]
    if money:
        form = {"way": "in", "why": "cash", "reason": "paid in", "key": f"key-{name}-0001", "amount": money}
        assert "The balance was changed." in words(await staff.post(f"/admin/partners/{partner_id}/balance", **form))
    return Program(staff.http, partner_id, key[0], secret[1])


async def buy(program: Program, sku: Sku, reference: str, quantity: int = 1, **more: Any) -> httpx.Response:
    said = {"sku_id": sku.id, "quantity": quantity, "downstream_order_no": reference, **more}
    return await program.ask("POST", "/orders", said)


async def alarms() -> list[str]:
    return [row["kind"] for row in await db.fetch("SELECT kind FROM audit_alarm ORDER BY id")]


# -- a partner's day --------------------------------------------------------------------


async def test_a_partner_looks_buys_and_gets_its_goods(shop, address):
    sku = await stocked.sku(3, most=5)
    program = await partner(shop, "reseller", "100", "10")
    said = (await program.ask("POST", "/ping")).json()
    assert said == {
        "ok": True,
        "site_name": "Vouchsafe",
        "protocol_version": "1.0",
        "user_id": program.id,
        "balance": "100.00",
        "currency": "CNY",
        "member_level": None,
    }
    assert (await program.ask("GET", "/categories")).json() == {"ok": True, "categories": []}
    listed = (await program.ask("GET", "/products", params={"page": "1", "page_size": "100"})).json()
    (product,) = [one for one in listed["items"] if one["skus"][0]["id"] == sku.id]
    assert product["skus"] == [
        {
            "id": sku.id,
            "sku_code": sku.code,
            "spec_values": {"en": "One"},
            "price_amount": "17.91",
            "original_price": "19.90",
            "member_price": "17.91",
            "stock_status": "low_stock",
            "stock_quantity": 3,
            "min_quantity": 1,
            "max_quantity": 5,
            "is_active": True,
        }
    ]
    assert (await program.ask("GET", f"/products/{product['id']}", before=DOOR)).json()["product"] == product

    taken = (await buy(program, sku, "A-1", 2)).json()
    assert (taken["ok"], taken["status"], taken["amount"], taken["currency"]) == (True, "delivered", "35.82", "CNY")
    assert (await buy(program, sku, "A-1", 2)).json() == taken
    order = (await program.ask("GET", f"/orders/{taken['order_id']}")).json()
    goods = order["fulfillment"].pop("payload").split("\n")
    assert len(goods) == 2 and set(goods) <= set(sku.codes)
    assert order["fulfillment"] == {
        "type": "auto",
        "status": "delivered",
        "delivery_data": None,
        "delivered_at": order["fulfillment"]["delivered_at"],
    }
    found = await program.ask("GET", "/orders", params={"downstream_order_no": "A-1"})
    assert found.json()["order_id"] == taken["order_id"]
    assert (await program.ask("POST", "/ping")).json()["balance"] == "64.18"
    cancelled = await program.ask("POST", f"/orders/{taken['order_id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["error_code"]) == (409, "cancel_not_allowed")
    assert "partner:reseller" in words(await shop.get(f"/admin/orders/{taken['order_no']}"))
    page = words(await shop.get(f"/admin/partners/{program.id}"))
    assert "A-1" in page and "¥64.18" in page and "Paid from balance" in page


async def test_a_clear_no_changes_nothing(shop):
    sku = await stocked.sku(2, most=5)
    program = await partner(shop, "unlucky", "30")
    before = await everything()
    listener = {"callback_url": "http://169.254.169.254/latest"}
    for expected, answer in (
        ((409, "insufficient_stock"), await buy(program, sku, "A-1", 3)),
        ((402, "insufficient_balance"), await buy(program, sku, "A-2", 2)),
        ((400, "bad_request"), await buy(program, sku, "A-3", 6)),
        ((400, "bad_request"), await buy(program, sku, "A-4", 0)),
        ((400, "bad_request"), await buy(program, sku, "A-5", manual_form_data={"uid": "1"})),
        ((400, "invalid_callback_url"), await buy(program, sku, "A-6", **listener)),
        ((400, "sku_unavailable"), await buy(program, Sku(10**9, "", []), "A-7")),
        ((400, "bad_request"), await program.ask("POST", "/orders", body=b"[1]")),
        ((404, "product_not_found"), await program.ask("GET", "/products/99999999999999999999")),
        ((404, "order_not_found"), await program.ask("GET", "/orders/1000000")),
        ((404, "order_not_found"), await program.ask("GET", "/orders", params={"downstream_order_no": "A\0"})),
        ((404, "not_found"), await program.ask("GET", "/wallet")),
    ):
        assert (answer.status_code, answer.json()["ok"], answer.json()["error_code"]) == (
            expected[0],
            False,
            expected[1],
        )
    assert unseen(await everything()) == unseen(before)


SEEN = ("bridges_dujiao_next_seen", "audit_alarm")


def unseen(rows: dict[str, str]) -> dict[str, str]:
    return {table: rows[table] for table in rows.keys() - {*SEEN, *ON_THEIR_OWN}}


async def test_an_answer_that_no_database_keeps_is_a_mistake_of_the_caller(shop):
    sku = await stocked.sku(2, most=5)
    program = await partner(shop, "odd", "30")
    asked = [{"key": "uid", "label": {"en": "Player id"}}]
    await db.execute(
        "UPDATE catalog_product SET buyer_fields = $1 FROM catalog_sku s WHERE s.id = $2"
        " AND catalog_product.id = s.product_id",
        asked,
        sku.id,
    )
    for number, sign in enumerate(("\0", "\ud800")):
        answer = await buy(program, sku, f"A-{number}", manual_form_data={"uid": f"12{sign}34"})
        assert (answer.status_code, answer.json()["error_code"]) == (400, "bad_request")


async def test_what_is_forged_changes_nothing_and_leaves_an_alarm(shop):
    sku = await stocked.sku(20)
    program, other = await partner(shop, "honest"), await partner(shop, "dishonest")
    theirs = (await buy(other, sku, "B-1")).json()["order_id"]
    body = json.dumps({"sku_id": sku.id, "quantity": 1, "downstream_order_no": "F-1"}).encode()
    true = program.signed("POST", "/orders", body)
    assert (await program.send("POST", "/orders", body, true)).status_code == 200
    now, sign = int(time.time()), program.signed
    without = {name: {key: text for key, text in true.items() if key != name} for name in true}
    altered = body.replace(b'"quantity": 1', b'"quantity": 9')
    before, alarmed = await everything(), len(await alarms())
    forged = {
        "no signature at all": (body, {}, "missing_auth_headers"),
        "no key": (body, without["Dujiao-Next-Api-Key"], "missing_auth_headers"),
        "no time": (body, without["Dujiao-Next-Timestamp"], "missing_auth_headers"),
        "a time that is none": (body, {**true, "Dujiao-Next-Timestamp": "soon"}, "invalid_timestamp"),
        "an old call": (body, sign("POST", "/orders", body, now=now - 61), "timestamp_expired"),
        "a call of tomorrow": (body, sign("POST", "/orders", body, now=now + 70), "timestamp_expired"),
        "nobody's key": (body, sign("POST", "/orders", body, key="vp_0"), "invalid_api_key"),
        "another partner's secret": (body, sign("POST", "/orders", body, secret=other.secret), "invalid_signature"),
        "an empty secret": (body, sign("POST", "/orders", body, secret=""), "invalid_signature"),
        "an altered body": (altered, sign("POST", "/orders", altered, signed_body=body), "invalid_signature"),
        "another path": (body, sign("POST", "/ping", body), "invalid_signature"),
        "another method": (body, sign("GET", "/orders", body), "invalid_signature"),
        "the same again": (body, true, "replayed"),
        "no ASCII": (body, {**true, "Dujiao-Next-Signature": "ü" * 64}, "invalid_signature"),
    }
    for what, (sent, headers, code) in forged.items():
        raw = {name: text.encode("latin-1") for name, text in headers.items()}
        answer = await program.send("POST", "/orders", sent, raw)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["error_code"]) == (401, code), what
    assert (await alarms())[alarmed:] == ["channel.forged"] * len(forged)
    answer = await program.ask("GET", f"/orders/{theirs}")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "order_not_found")
    assert (await alarms())[alarmed + len(forged) :] == ["channel.foreign_order"]
    assert unseen(await everything()) == unseen(before)


async def test_a_partner_that_is_stopped_or_has_new_keys(shop):
    program = await partner(shop, "stopped")
    await shop.post(f"/admin/partners/{program.id}/stop")
    answer = await program.ask("POST", "/ping")
    assert (answer.status_code, answer.json()["error_code"]) == (403, "user_disabled")
    await shop.post(f"/admin/partners/{program.id}/let-in")
    assert (await program.ask("POST", "/ping")).status_code == 200
    page = await shop.post(f"/admin/partners/{program.id}/keys", status=200)
    assert program.key not in page and program.secret not in page
    assert (await program.ask("POST", "/ping")).json()["error_code"] == "invalid_api_key"
    assert "vp_" in await shop.get(f"/admin/partners/{program.id}")


async def test_a_secret_is_shown_once_and_stored_sealed(shop):
    program = await partner(shop, "secret")
    for page in ("/admin/partners", f"/admin/partners/{program.id}", "/admin/audit"):
        assert program.secret not in await shop.get(page)
    stored = await db.fetchval("SELECT secret_sealed FROM partners_partner WHERE id = $1", program.id)
    assert program.secret.encode() not in stored


async def test_what_staff_enters_is_looked_at(shop):
    before = await everything()
    for form, said in (
        ({"name": "x", "discount": "100"}, "from 0 to 99.99"),
        ({"name": "x", "discount": "a"}, "percentage"),
        ({"name": "x", "notify_url": "ftp://x"}, "Write an address"),
        ({"name": ""}, "name"),
        ({"name": "secret"}, "a partner of that name already"),
    ):
        assert said in words(await shop.post("/admin/partners", status=422, **form))
    assert unseen(await everything()) == unseen(before)


def test_addresses_that_can_be_called():
    out = PluginHttp("bridges.dujiao_next")
    for url in ("https://shop.example.com/callback", "http://93.184.216.34:8080/x"):
        assert out.may_reach(url), url
    for url in (
        "http://127.0.0.1/x",
        "http://localhost:8000/x",
        "http://shop.localhost/x",
        "http://10.0.0.7/x",
        "http://[::1]/x",
        "http://[::ffff:10.0.0.7]/x",
        "ftp://shop.example.com/x",
        "http://user@shop.example.com/x",
        "https:///x",
        "http://intranet/x",
        "http://[x",
        "nonsense",
    ):
        assert not out.may_reach(url), url
    assert PluginHttp("x", allowed=AllowedHosts(["127.0.0.0/8"])).may_reach("http://127.0.0.1:8000/x")


async def test_a_sale_killed_before_its_answer_is_the_same_order_when_asked_again(shop, start):
    doomed = start("web", "--no-demo", VOUCHSAFE_CRASH_AT="selling.sold", VOUCHSAFE_MASTER_KEY="00" * 32)
    program, sku = await partner(shop, "Killed", money="50"), await stocked.sku(2, price=1990)
    async with httpx.AsyncClient(base_url=doomed.url, timeout=30) as http:
        with pytest.raises(httpx.TransportError):
            await buy(replace(program, http=http), sku, "K-1")
    assert doomed.process.wait(10) == -signal.SIGKILL
    program.stamp += 1
    answers = [(await buy(program, sku, "K-1")).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert await stocked.codes_by_state(sku) == {"free": 1, "delivered": 1}
    assert (await program.ask("POST", "/ping")).json()["balance"] == "30.10"
