"""The refund queue over HTTP: who may do what, the second person, and refusals that write nothing."""

import asyncio
import re
from datetime import timedelta

import pytest

from core import db
from core.checkout.settle import settle
from core.shops import service as shops
from tests import stocked
from tests.console import audited, everything, newest_audit, running, signed_in, words


@pytest.fixture(scope="module")
async def address(database, redis_url, tmp_path_factory):
    async with running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        await db.execute("UPDATE shops_shop SET test_mode = false")
        shops.forget()
        yield address


@pytest.fixture
async def boss(address):
    async with signed_in(address, "owner") as staff:
        yield staff


async def sold():
    placed = await stocked.order(await stocked.sku(1))
    await settle("epay", stocked.paid(placed), "callback")
    payment = await db.fetchval("SELECT id FROM payments_event WHERE order_id = $1", placed.order_id)
    return placed, {"order": placed.ref, "payment": str(payment), "way": "hand", "note": "by bank"}


async def refund_of(placed):
    return await db.fetchrow("SELECT * FROM payments_refund WHERE order_id = $1", placed.order_id)


async def taken(placed):
    return await db.fetchval(
        "SELECT sum(refunds + charged_back)::int FROM payments_event WHERE order_id = $1", placed.order_id
    )


async def limit(boss, amount):
    form = {
        "reservation_minutes": "15",
        "open_orders_per_contact": "1000",
        "open_orders_per_address": "1000",
        "show_stock": "band",
        "refund_limit": amount,
    }
    await boss.post("/admin/settings/selling", **form)


async def test_a_refund_from_the_orders_page_shows_everywhere(boss):
    placed, form = await sold()
    mark = await newest_audit()
    page = words(await boss.post("/admin/refunds/ask", amount="5", **form))
    assert "Part refunded" in page
    assert "CN¥5.00 by hand Given back" in page
    assert "Money given back" in page
    assert await audited(mark) == [("refund.asked", f"order:{placed.ref}")]
    queue = words(await boss.get("/admin/refunds/all"))
    assert f"{placed.ref}-R1" in queue
    page = words(await boss.post("/admin/refunds/ask", amount="14.90", **form))
    assert "Refunded" in page and "Part refunded" not in page


async def test_each_currency_that_came_stands_apart(boss):
    placed = await stocked.order(await stocked.sku(1))
    await settle("epay", stocked.paid(placed, 1000, "USD", "dollars"), "callback")
    assert "Money that came $10.00 Placed" in words(await boss.get(f"/admin/orders/{placed.ref}"))
    await settle("epay", stocked.paid(placed, 1990, "CNY", "yuan"), "callback")
    [dollars, _yuan] = await db.fetch("SELECT id FROM payments_event WHERE order_id = $1 ORDER BY id", placed.order_id)
    form = {"order": placed.ref, "payment": str(dollars["id"]), "way": "hand", "amount": "10"}
    page = words(await boss.post("/admin/refunds/ask", **form))
    assert "Money that came $10.00 + CN¥19.90 Given back $10.00 Placed" in page
    assert "Part refunded" not in page


async def test_too_little_that_was_accepted_is_not_part_refunded(boss):
    placed = await stocked.order(await stocked.sku(1))
    await settle("epay", stocked.paid(placed, 500), "callback")
    page = words(await boss.post(f"/admin/orders/{placed.ref}/deliver"))
    assert "Delivered" in page and "Part refunded" not in page


@pytest.mark.parametrize("door", ["ask", "chargeback", "won"])
async def test_a_second_click_moves_no_money_twice(boss, door):
    placed, form = await sold()
    if door == "won":
        await boss.post("/admin/refunds/chargeback", amount="19.90", **form)
    page = await boss.get(f"/admin/orders/{placed.ref}")
    [stand] = re.findall(rf'/admin/refunds/{door}".*?name="stand" value="([0-9-]+)"', page, re.DOTALL)
    before = await taken(placed)
    clicks = [
        boss.http.post(f"/admin/refunds/{door}", data={**form, "csrf": boss.csrf, "amount": "5", "stand": stand})
        for _ in range(3)
    ]
    answers = await asyncio.gather(*clicks)
    assert sorted(answer.status_code for answer in answers) == [303, 409, 409]
    assert abs(await taken(placed) - before) == 500
    again = words(await boss.post(f"/admin/refunds/{door}", status=409, **form, amount="5", stand=stand))
    assert "given back or taken back meanwhile" in again


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"amount": "19.91"}, "At most CN¥19.90"),
        ({"amount": "0"}, "At most CN¥19.90"),
        ({"amount": "-1"}, "At most CN¥19.90"),
        ({"amount": "x"}, "Write an amount such as 19.90."),
        ({"amount": "1.001"}, "Write an amount such as 19.90."),
        ({"way": "moon"}, "Choose how the money goes back."),
        ({"way": "source"}, "cannot give money back by itself"),
        ({"payment": "999999"}, "There is no such payment."),
        ({"order": "VNOSUCH"}, "There is no such order."),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_written(boss, change, said):
    _placed, form = await sold()
    before = await everything()
    page = words(await boss.post("/admin/refunds/ask", status=409, **{"amount": "1", **form, **change}))
    assert said in page
    assert await everything() == before


@pytest.mark.parametrize("door", ["ask", "chargeback", "won"])
async def test_what_was_typed_beside_a_mistake_stays(boss, door):
    placed, form = await sold()
    if door == "won":
        await boss.post("/admin/refunds/chargeback", amount="19.90", **form)
    typed = {**form, "amount": "1,99o", "note": "typed at length", "take_codes": "on"}
    page = await boss.post(f"/admin/refunds/{door}", status=409, **typed)
    again = page[page.index(f'action="/admin/refunds/{door}"') :].partition("</form>")[0]
    assert 'value="1,99o"' in again and 'value="typed at length"' in again and placed.ref in again
    assert door != "ask" or ("checked" in again and 'value="hand" selected' in again)


async def test_a_chargeback_is_told_and_its_questions_are_closed(boss):
    placed, form = await sold()
    page = words(await boss.post("/admin/refunds/chargeback", amount="19.90", **form))
    assert "Charged back" in page and "Void them where they come from:" in page
    for kind in ("chargeback", "codes_out"):
        item = await db.fetchval("SELECT id FROM review_item WHERE order_id = $1 AND kind = $2", placed.order_id, kind)
        door = f"/admin/refunds/questions/{item}/seen"
        await boss.post(door, next=f"/admin/orders/{placed.ref}")
        await boss.post(door, status=409)
    assert not await db.fetchval(
        "SELECT count(*) FROM review_item WHERE order_id = $1 AND state = 'open'", placed.order_id
    )


async def test_who_books_a_won_dispute_looks_after_money_and_proves_who_it_is(address):
    placed, form = await sold()
    taken = "SELECT charged_back FROM payments_event WHERE order_id = $1"
    async with signed_in(address, "support") as support, signed_in(address, "finance") as finance:
        page = words(await support.post("/admin/refunds/chargeback", amount="19.90", **form))
        assert "Dispute won" not in page and await db.fetchval(taken, placed.order_id) == 1990
        proven = "UPDATE people_session SET confirmed_at = now() - $1::interval WHERE kind = 'staff'"
        await db.execute(proven, timedelta(days=1))
        before = await everything()
        await support.post("/admin/refunds/won", status=403, amount="19.90", **form)
        await finance.post("/admin/refunds/won", status=403, amount="19.90", **form)
        assert await everything() == before
        await db.execute(proven, timedelta())
        await support.post("/admin/refunds/won", status=403, amount="19.90", **form)
        assert await everything() == before
        await finance.post("/admin/refunds/won", amount="19.90", **form)
    assert await db.fetchval(taken, placed.order_id) == 0


async def test_a_second_person_proves_themselves_and_approves(address, boss):
    await limit(boss, "10")
    placed, form = await sold()
    async with signed_in(address, "support") as support, signed_in(address, "finance") as finance:
        page = words(await support.post("/admin/refunds/ask", amount="19.90", **form))
        assert "Waits for a second person" in page
        refund = await refund_of(placed)
        assert (refund["state"], refund["two_persons"]) == ("asked", True)
        approve = f"/admin/refunds/{refund['id']}/approve"
        proven = "UPDATE people_session SET confirmed_at = now() - $1::interval WHERE kind = 'staff'"
        await db.execute(proven, timedelta(days=1))
        before = await everything()
        await support.post(approve, status=403)
        await finance.post(approve, status=403)
        assert await everything() == before
        await db.execute(proven, timedelta())
        answers = await asyncio.gather(*(finance.http.post(approve, data={"csrf": finance.csrf}) for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [303, 409, 409, 409]
    assert (await refund_of(placed))["state"] == "done"
    assert await db.fetchval("SELECT payment_state FROM orders_order WHERE id = $1", placed.order_id) == "refunded"
    await limit(boss, "")
    assert await db.fetchval("SELECT settings ->> 'refund_limit' FROM shops_shop") is None


async def test_the_limit_is_an_amount(boss):
    before = await everything()
    form = {
        "reservation_minutes": "15",
        "open_orders_per_contact": "9",
        "open_orders_per_address": "9",
        "show_stock": "band",
    }
    for wrong in ("much", "-1", "1.234"):
        page = await boss.post("/admin/settings/selling", status=422, refund_limit=wrong, **form)
        assert "Write an amount such as 200, or leave it empty." in words(page)
    assert await everything() == before


async def test_who_may_not_sees_no_buttons_and_opens_no_door(address, boss):
    placed, form = await sold()
    await settle("epay", stocked.paid(placed, event=f"{placed.ref}:again"), "callback")
    item = await db.fetchval("SELECT id FROM review_item WHERE order_id = $1", placed.order_id)
    async with signed_in(address, "readonly") as reader:
        assert "I paid it back" not in words(await reader.get("/admin/refunds"))
        before = await everything()
        await reader.post("/admin/refunds/ask", status=403, amount="1", **form)
        await reader.post("/admin/refunds/chargeback", status=403, amount="1", **form)
        for act in ("back", "keep", "seen"):
            await reader.post(f"/admin/refunds/questions/{item}/{act}", status=403, way="hand")
        assert await everything() == before
    async with signed_in(address, "stock") as clerk:
        await clerk.get("/admin/refunds", status=403)


async def test_a_foreign_address_is_not_gone_back_to(boss):
    placed, _form = await sold()
    await settle("epay", stocked.paid(placed, event=f"{placed.ref}:twice"), "callback")
    item = await db.fetchval("SELECT id FROM review_item WHERE order_id = $1", placed.order_id)
    form = {"csrf": boss.csrf, "next": "https://evil.example/"}
    answer = await boss.http.post(f"/admin/refunds/questions/{item}/keep", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/refunds")
