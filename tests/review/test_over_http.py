"""The queue and the rules in front of people: buyers at the counter, staff in the console, plugins of the shop."""

import httpx
import pytest

from core import db
from core.admin import demo
from core.hooks import runtime, store
from core.shops import service as shops
from tests.console import everything, running, signed_in, words
from tests.storefront.buyer import Buyer, facts, heading

VELOCITY = {"contact_orders": 1, "contact_then": "review", "device_then": "off", "contacts_then": "off"}
SAID = "We cannot take this order. You have not been charged. Please ask the shop."


@pytest.fixture(scope="module")
async def address(database, redis_url, tmp_path_factory):
    async with running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        await demo.seed()
        await db.execute("UPDATE shops_shop SET settings = settings || '{\"open_orders_per_contact\": 100}'")
        shops.forget()
        await db.transaction(store.save, "risk.velocity", True, VELOCITY, {})
        await db.transaction(store.save, "risk.network", True, {}, {})
        await runtime.current().refresh()
        yield address


@pytest.fixture
async def buyer(address):
    async with httpx.AsyncClient(base_url=address, headers={"accept-language": "en", "origin": address}) as http:
        yield Buyer(http)


@pytest.fixture
async def staff(address):
    async with signed_in(address, "support") as person:
        yield person


async def held_order(buyer):
    """The second order of one contact within an hour, paid."""
    await buyer.place()
    return await buyer.bought()


async def test_a_held_order_is_paid_waits_and_is_delivered_when_a_person_lets_it_go(address, buyer, staff):
    order = await held_order(buyer)
    ref = order.removeprefix("/o/")
    page = (await buyer.get(order)).text
    assert heading(page) == "Paid. A person looks at your order"
    assert "risk" not in words(page).lower()
    assert (await facts(order))["fulfilment"] == "review"
    queue = words(await staff.get("/admin/review"))
    found = "Ask a person Orders of this contact in 60 minutes: 2, more than 1 · Velocity"
    assert "Held by risk rules" in queue and ref in queue and found in queue
    assert found in words(await staff.get(f"/admin/orders/{ref}"))
    async with signed_in(address, "owner", "zh-CN") as chinese:
        page = words(await chinese.get("/admin/review"))
        assert "转人工 此联系方式的订单：60 分钟内 2，超过 1 · 下单频率" in page
        item = await db.fetchval("SELECT id FROM review_item WHERE kind = 'risk' AND state = 'open'")
        await chinese.post(f"/admin/review/{item}/claim", next="/admin/review")
        before = await everything()
        assert "works on this now" in words(await staff.post(f"/admin/orders/{ref}/approve", status=409))
        assert "works on this now" in words(await staff.post(f"/admin/review/{item}/claim", status=409))
        assert await everything() == before
        holder = str(await db.fetchval("SELECT claimed_by FROM review_item WHERE id = $1", item))
        assert "It is yours now." in words(await staff.post(f"/admin/review/{item}/take-over", holder=holder))
    page = words(await staff.post(f"/admin/orders/{ref}/approve", note="an old friend", next="/admin/review"))
    assert "Let go: what is paid and in stock is delivered." in page and "Nothing waits for you" in page
    assert len(await buyer.reveal(order)) == 1
    decided = words(await staff.get("/admin/review?state=done"))
    assert f"Held by risk rules {ref}" in decided and "let go an old friend" in decided
    await staff.post(f"/admin/orders/{ref}/approve", status=409)


async def test_it_is_turned_down_with_a_reason_and_the_buyer_is_told(buyer, staff):
    order = await held_order(buyer)
    ref = order.removeprefix("/o/")
    before = await everything()
    page = words(await staff.post(f"/admin/orders/{ref}/refuse", status=409, way="hand", note=" "))
    assert "Say why" in page
    assert await everything() == before
    page = words(await staff.post(f"/admin/orders/{ref}/refuse", way="hand", note="a stolen card"))
    assert "Refused: nothing is delivered, and the buyer is told." in page
    assert "Risk: refused by a person" in page and "Order refused →" in page
    assert (await facts(order))["fulfilment"] == "void"
    assert "a stolen card" not in words((await buyer.get(order)).text)


async def test_who_is_on_the_block_list_is_refused_and_not_told_why(buyer, staff):
    await staff.post("/admin/x/risk.network/entries", act="block", value=buyer.contact, note="chargeback in May")
    before = await everything()
    answer = await buyer.post("/checkout", buyer.form())
    assert answer.status_code == 422
    page = words(answer.text)
    assert SAID in page and "list" not in page and "May" not in page
    changed = {name for name, rows in (await everything()).items() if before[name] != rows}
    assert changed == {"review_refused", "review_evidence"}
    page = words(await staff.get(f"/admin/review/refused?q={buyer.contact}"))
    assert buyer.contact in page and "Refuse The contact is on your block list. chargeback in May" in page
    found = await staff.http.post("/admin/x/risk.network/look", data={"contact": buyer.contact, "csrf": staff.csrf})
    assert f"Refused: {buyer.contact} · chargeback in May" in words(found.text)


async def test_a_buyer_is_blocked_from_the_page_of_an_order(address, buyer, staff):
    order = await buyer.bought()
    here = f"/admin/orders/{order.removeprefix('/o/')}"
    page = words(await staff.get(here))
    assert f"Block or trust What then, from the next order on? Whom {buyer.contact}" in page
    form = {"value": buyer.contact, "act": "block", "note": "rude", "next": here}
    answer = await staff.http.post("/admin/x/risk.network/entries", data={**form, "csrf": staff.csrf})
    assert answer.headers["location"] == here
    form["next"] = "https://elsewhere.example/admin/orders/V1"
    answer = await staff.http.post("/admin/x/risk.network/entries", data={**form, "csrf": staff.csrf})
    assert answer.headers["location"] == "/admin/x/risk.network"
    async with signed_in(address, "finance") as finance:
        assert "Block or trust" not in words(await finance.get(here))


async def test_only_note_writes_down_and_lets_go(buyer, staff):
    await staff.post("/admin/x/risk.network/entries", act="block", value=buyer.contact)
    await db.transaction(store.save, "risk.network", True, {"only_note": True}, {})
    await runtime.current().refresh()
    order = await buyer.bought()
    assert (await facts(order))["fulfilment"] == "delivered"
    page = words(await staff.get(f"/admin/orders/{order.removeprefix('/o/')}"))
    assert "What risk rules saw Only noted The contact is on your block list." in page
    assert "Only note is on" in words(await staff.get("/admin/x/risk.network"))
    await db.transaction(store.save, "risk.network", True, {}, {})
    await runtime.current().refresh()


async def test_lists_are_brought_in_from_files_and_what_cannot_be_read_is_said(address, staff):
    page = "/admin/x/risk.network"

    async def sends(**form):
        file = {"file": ("list.txt", form.pop("file"), "text/plain")} if "file" in form else {}
        return await staff.http.post(f"{page}/lists", data={**form, "csrf": staff.csrf}, files=file)

    answer = await sends(name="machines", kind="hosting", file=b"203.0.113.0/24\n198.51.100.0/24\nnonsense\n")
    assert answer.status_code == 303
    assert "machines Hosting networks 2 left out: 1" in words(await staff.get(page))
    for form in (
        {"name": "", "kind": "hosting", "file": b"1.2.3.4"},
        {"name": "x", "kind": "other", "file": b"1.2.3.4"},
        {"name": "x", "kind": "hosting", "url": "ftp://x.example/list"},
        {"name": "x", "kind": "hosting"},
    ):
        assert (await sends(**form)).status_code == 422
    for form in ({"value": "thief"}, {"value": ""}, {"value": "a@b.cd", "act": "hug"}):
        await staff.post(f"{page}/entries", status=422, **{"act": "block", **form})
    assert await db.fetchval("SELECT count(*) FROM risk_network_list") == 1
    async with signed_in(address, "readonly") as reader:
        await reader.get(page, status=403)
        await reader.post(f"{page}/entries", status=403, act="block", value="a@b.cd")


async def test_the_lines_are_set_and_what_each_rule_did_is_shown(address, staff):
    page = words(await staff.get("/admin/review/rules"))
    assert "Velocity risk.velocity" in page and "Networks and block list risk.network" in page
    assert await db.fetchval("SELECT count(*) FROM review_evidence") > 0
    async with signed_in(address, "manager") as manager:
        for review, refuse in (("0", "100"), ("60", "59"), ("x", "1"), ("1001", "1001")):
            await manager.post("/admin/review/rules", status=422, risk_review=review, risk_refuse=refuse)
        assert (await shops.main_shop()).settings.risk_refuse == 100
        assert "Saved." in words(await manager.post("/admin/review/rules", risk_review="40", risk_refuse="80"))
    shops.forget()
    settings = (await shops.main_shop()).settings
    assert (settings.risk_review, settings.risk_refuse) == (40, 80)
    await staff.post("/admin/review/rules", status=403, risk_review="1", risk_refuse="1")
