"""The shop from outside: suppliers call it, staff decide at its console, a buyer sees what happens."""

import asyncio
import shutil

import httpx
import pytest

from core import db
from core.api.testing import Fault
from core.hooks import runtime, store
from core.shops import service as shops
from core.supply import answers, sync
from tests import console, stocked
from tests.console import Staff, signed_in, words
from tests.supply.conftest import STANDS, World
from tests.supply.warehouse import Warehouse


@pytest.fixture(scope="module")
async def address(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory):
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(STANDS, home / "plugins")
    allowed = {"VOUCHSAFE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8"}
    async with console.running(database, redis_url, home, **allowed) as address:
        yield address


@pytest.fixture
async def shop(address: str):
    async with Warehouse() as warehouse:
        settings = {"address": warehouse.address}
        await db.transaction(store.save, "suppliers.warehouse", True, settings, {})
        await db.execute("UPDATE shops_shop SET test_mode = false")
        await runtime.current().refresh()
        yield World(warehouse, warehouse)
        assert warehouse.sold_once


@pytest.fixture
async def staff(address: str):
    async with signed_in(address) as person:
        yield person


async def alarms(kind: str) -> int:
    return await db.fetchval("SELECT count(*) FROM audit_alarm WHERE kind = $1", kind)


async def test_a_call_delivers_once_whatever_comes_again(shop: World, address: str):
    shop.warehouse.offer("steam")
    sku = await shop.sku("steam")
    placed = await shop.paid(sku)
    shop.warehouse.works_on_it = True
    await shop.work()
    assert await shop.purchases(placed) == [("-1-1", "waiting")]
    door = f"{address}/supply/warehouse/notify"
    ref = f"{placed.ref}-1-1"
    told = {"ref": ref, **shop.warehouse.told[ref]}
    for _time in range(3):
        assert (await shop.warehouse.tell(door, told)).status == 200
    assert await stocked.states(placed) == ("paid", "delivered")
    assert len(await shop.masks(placed)) == 1
    late = {"ref": ref, "state": "failed", "text": "sorry"}
    assert (await shop.warehouse.tell(door, late)).status == 200
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await alarms("supply.odd_purchase") == 1


async def booked(placed) -> list[int]:
    rows = await db.fetch("SELECT amount FROM ledger_entry WHERE order_id = $1 AND kind = 'purchase'", placed.order_id)
    return [row["amount"] for row in rows]


async def worked_on(shop: World, cost: int | None):
    """An order whose goods are on their way, and what the supplier would call with."""
    shop.warehouse.offer("steam")
    placed = await shop.paid(await shop.sku("steam"))
    shop.warehouse.works_on_it = True
    await shop.work()
    ref = f"{placed.ref}-1-1"
    return placed, {"ref": ref, **shop.warehouse.told[ref], "cost": cost}


async def delivered_by_a_call_without_cost(shop: World, address: str):
    placed, told = await worked_on(shop, cost=None)
    for _time in range(2):
        assert (await shop.warehouse.tell(f"{address}/supply/warehouse/notify", told)).status == 200
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await booked(placed) == []
    return placed


async def test_goods_that_a_call_brings_without_their_cost_are_booked_once_the_supplier_tells(
    shop: World, address: str
):
    placed = await delivered_by_a_call_without_cost(shop, address)
    shop.warehouse.works_on_it = False
    shop.warehouse.fails("/bought", Fault.ERROR)
    for expected in ([], [1000], [1000]):
        await shop.ask_all()
        assert await booked(placed) == expected
    assert await shop.questions(placed) == []
    assert len(await shop.masks(placed)) == 1


async def test_a_cost_that_nobody_tells_is_a_question_until_it_is_told(shop: World, address: str):
    placed = await delivered_by_a_call_without_cost(shop, address)
    shop.warehouse.works_on_it = False
    shop.warehouse.fails("/bought", Fault.ERROR, times=None)
    for _again in range(4):
        await shop.ask_all()
    assert await shop.questions(placed) == ["purchase_odd"]
    shop.warehouse.heals()
    await shop.ask_all()
    assert await booked(placed) == [1000]
    assert await shop.questions(placed) == []


async def test_a_call_that_cannot_be_written_down_is_taken_and_changes_nothing(shop: World, address: str):
    placed, told = await worked_on(shop, cost=-500)
    assert (await shop.warehouse.tell(f"{address}/supply/warehouse/notify", told)).status == 200
    assert await shop.purchases(placed) == [("-1-1", "waiting")]


async def test_a_forged_call_or_one_about_nothing_changes_nothing(shop: World, address: str):
    shop.warehouse.offer("steam")
    sku = await shop.sku("steam")
    unsent, waiting = await shop.paid(sku), None
    door = f"{address}/supply/warehouse/notify"
    made_up = {"state": "done", "codes": [{"code": "MADE-UP-1"}]}
    before = await db.fetchval("SELECT count(*) FROM vault_code")
    assert (await shop.warehouse.tell(door, {"ref": f"{unsent.ref}-1-1", **made_up})).status == 400
    assert (await shop.warehouse.tell(door, {"ref": "NOBODYS-1-1", **made_up})).status == 400
    assert await alarms("supply.unknown") == 2
    shop.warehouse.works_on_it = True
    await shop.work()
    waiting = f"{unsent.ref}-1-1"
    forged = await shop.warehouse.tell(door, {"ref": waiting, **made_up}, secret=b"another")
    assert forged.status == 400
    assert await alarms("supply.forged") == 1
    assert await shop.purchases(unsent) == [("-1-1", "waiting")]
    assert await db.fetchval("SELECT count(*) FROM vault_code") == before
    async with httpx.AsyncClient() as http:
        assert (await http.post(f"{address}/supply/nobody/notify")).status_code == 404


async def test_a_call_about_offers_lets_the_shop_look_again(shop: World, address: str):
    offer = shop.warehouse.offer("steam", stock=4)
    sku = await shop.sku("steam")
    slug = await db.fetchval(
        "SELECT slug FROM catalog_product p JOIN catalog_sku s ON s.product_id = p.id WHERE s.id = $1", sku.id
    )
    async with httpx.AsyncClient(base_url=address, headers={"accept-language": "en"}) as http:

        async def page() -> str:
            return words((await http.get(f"/p/{slug}")).text)

        assert "Sold out" not in await page()
        offer["stock"] = 0
        assert (await shop.warehouse.tell(f"{address}/supply/warehouse/notify", {"items": ["steam"]})).status == 200
        job = await db.fetchrow("SELECT args FROM jobs_job WHERE name = $1 ORDER BY id DESC LIMIT 1", sync.SYNC)
        assert job["args"] == {"supplier": "warehouse", "items": ["steam"], "whole": False}
        await sync.look("warehouse", ("steam",), whole=False)
        while "Sold out" not in await page():
            await asyncio.sleep(0.02)


async def in_doubt(shop: World, *, sold: bool):
    shop.warehouse.fails("/buy", Fault.CUT, acts=sold)
    shop.warehouse.fails("/bought", Fault.ERROR, times=None)
    sku = await shop.sku("steam")
    placed = await shop.paid(sku)
    await shop.work()
    for _again in range(4):
        await shop.ask_all()
    assert await shop.questions(placed) == ["purchase_unknown"]
    return placed, await shop.newest(placed)


async def test_a_person_looked_and_it_was_sold(shop: World, staff: Staff):
    shop.warehouse.offer("steam")
    placed, number = await in_doubt(shop, sold=True)
    ref = f"{placed.ref}-1-1"
    assert ref in words(await staff.get("/admin/purchases?state=unknown"))
    assert "It may have been sold" in words(await staff.get(f"/admin/purchases/{number}"))
    assert "Enter 1 codes" in words(await staff.post(f"/admin/purchases/{number}/sold", codes="A-1\nB-2"))
    code = shop.warehouse.told[ref]["codes"][0]["code"]
    shown = words(await staff.post(f"/admin/purchases/{number}/sold", codes=code, cost="10.00"))
    assert "Bought" in shown
    assert code not in shown
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await shop.questions(placed) == []
    assert shop.warehouse.sales == [ref]
    assert "decided already" in words(await staff.post(f"/admin/purchases/{number}/not-sold"))


async def test_a_person_looked_and_it_was_not_sold(shop: World, staff: Staff):
    shop.warehouse.offer("steam")
    placed, number = await in_doubt(shop, sold=False)
    shop.warehouse.heals()
    offer = await shop.offer_id("steam")
    await staff.post(f"/admin/purchases/{number}/not-sold", offer=str(offer))
    assert await shop.purchases(placed) == [("-1-1", "failed"), ("-1-2", "created")]
    assert await shop.questions(placed) == []
    await shop.work()
    assert shop.warehouse.sales == [f"{placed.ref}-1-2"]
    assert await stocked.states(placed) == ("paid", "delivered")


async def test_what_happened_to_a_purchase_is_told_in_chinese_too(shop: World, address: str):
    shop.warehouse.offer("steam")
    sku = await shop.sku("steam")
    shop.warehouse.fails("/buy", Fault.CUT, acts=False)
    unknown = await shop.paid(sku)
    await shop.work()
    for _again in range(4):
        await shop.ask_all()
    shop.warehouse.next_codes = [[{"code": "ODD-1"}, {"code": "ODD-2"}]]
    odd = await shop.paid(sku)
    await shop.work()
    async with signed_in(address, language="zh-CN") as staff:
        page = words(await staff.get(f"/admin/purchases/{await shop.newest(unknown)}"))
        order = words(await staff.get(f"/admin/orders/{unknown.ref}"))
        assert "供应商发的货与采购不符" in words(await staff.get(f"/admin/purchases/{await shop.newest(odd)}"))
    assert "最近的问题 供应商查无此单" in page
    assert "最高限价" in page and "原因" in page
    assert "原因 供应商查无此单" in order
    for raw in ("the supplier does not know", " cap ", " reason "):
        assert raw not in page + order


async def test_a_person_hands_goods_over(shop: World, staff: Staff):
    from core.audit.person import Person
    from core.supply import skus
    from core.supply.skus import Draft

    made = await stocked.sku(0)
    await skus.save(Person(1, await stocked.staff_member()), made.id, Draft("hand"))
    placed = await shop.order(made)
    await shop.pay(placed)
    assert await stocked.states(placed) == ("paid", "preparing")
    assert await shop.questions(placed) == ["by_hand"]
    line = await db.fetchval("SELECT id FROM orders_line WHERE order_id = $1", placed.order_id)
    page = words(await staff.get(f"/admin/orders/{placed.ref}"))
    assert "Hand it over yourself" in page
    path = f"/admin/orders/{placed.ref}/lines/{line}/hand-over"
    await staff.post(path, codes="MADE-BY-A-PERSON\nsecond line\n", note="as agreed")
    assert await stocked.states(placed) == ("paid", "delivered")
    assert len(await shop.masks(placed)) == 2
    assert await shop.questions(placed) == []
    assert "does not wait" in words(await staff.post(path, codes="AGAIN"))
    other = await shop.order(made)
    await shop.pay(other)
    other_line = await db.fetchval("SELECT id FROM orders_line WHERE order_id = $1", other.order_id)
    path = f"/admin/orders/{other.ref}/lines/{other_line}/hand-over"
    assert "had one of these codes before" in words(await staff.post(path, codes="MADE-BY-A-PERSON"))
    assert await stocked.states(other) == ("paid", "preparing")
    await staff.post(path)
    assert await stocked.states(other) == ("paid", "delivered")
    assert await shop.masks(other) == []


async def test_the_pages_of_suppliers(shop: World, staff: Staff):
    shop.warehouse.offer("<b>evil</b>", cost=700, category="Games")
    shop.warehouse.offer("plain", cost=1000)
    await staff.post("/admin/supply/warehouse/sync")
    await sync.look("warehouse", (), whole=True)
    listed = await staff.get("/admin/supply")
    assert "Warehouse" in words(listed)
    page = await staff.get("/admin/supply/warehouse?q=evil")
    assert "<b>evil</b>" not in page
    assert "Card <b>evil</b>" in words(page)
    offer = await shop.offer_id("<b>evil</b>")
    made = words(await staff.post("/admin/supply/warehouse/import", ids=str(offer), markup="50", state="listed"))
    assert "1 products made" in made
    sku_id, code, price = await db.fetchrow(
        "SELECT sku.id, sku.code, sku.price FROM supply_link JOIN catalog_sku sku ON sku.id = sku_id"
        " WHERE offer_id = $1",
        offer,
    )
    assert price == 1050
    plain = await shop.offer_id("plain")
    linked = words(await staff.post("/admin/supply/warehouse/link", offer=str(plain), sku=code))
    assert "Linked" in linked
    path = f"/admin/supply/skus/{sku_id}"
    form = {"source": "supplier", "routing": "order", "below_margin": "alarm", "price_follows": "on", "markup": "100"}
    await staff.post(path, **form, jump="30", fixed="0.50")
    before = await db.fetch("SELECT offer_id, position FROM supply_link WHERE sku_id = $1 ORDER BY 1", sku_id)
    for odd in ("²", "-1", "1.5", "", "99999999999999999999"):
        page = await staff.post(f"{path}/order", **{f"place_{offer}": odd, f"place_{plain}": "1"})
        assert "Please enter a whole number." in words(page)
    now = await db.fetch("SELECT offer_id, position FROM supply_link WHERE sku_id = $1 ORDER BY 1", sku_id)
    assert now == before
    await staff.post(f"{path}/order", **{f"place_{offer}": "2", f"place_{plain}": "1"})
    assert await db.fetchval("SELECT price FROM catalog_sku WHERE id = $1", sku_id) == 2050
    assert "percentage" in words(await staff.post(path, 422, **{**form, "markup": "much"}))
    await staff.post(f"{path}/pause")
    assert await db.fetchval("SELECT available FROM catalog_sku WHERE id = $1", sku_id) == 0
    await staff.post(f"{path}/accept")
    await staff.post(f"{path}/unlink", offer=str(offer))
    assert words(await staff.get(path)).count("Card plain") >= 1


async def test_codes_in_answers_count_among_those_of_the_day(shop: World, staff: Staff):
    shop.warehouse.offer("steam")
    sku = await shop.sku("steam")
    placed = await shop.paid(sku, 2)
    await shop.work()
    number = await shop.newest(placed)
    kept = (await answers.of_purchase(number))[0]["id"]
    code, before = shop.warehouse.told[f"{placed.ref}-1-1"]["codes"][0]["code"], await alarms("staff.too_many_codes")
    await db.execute("UPDATE shops_shop SET settings = settings || $1", {"staff_codes_per_day": 3})
    shops.forget()
    page = f"/admin/purchases/{number}"
    assert code in await staff.post(f"{page}/answers/{kept}", 200)
    refused = await staff.post(f"{page}/answers/{kept}")
    assert code not in refused
    assert "You may look at 3 codes in a day." in words(refused)
    assert await alarms("staff.too_many_codes") == before + 1
