"""The counter with coupon codes, over HTTP without JavaScript, and the pages on which staff makes them."""

import asyncio
import html
import re
import secrets
from typing import Any

import pytest

from core import db
from core.catalog import service as catalog
from core.hooks import runtime, store
from tests import windows
from tests.console import Staff, signed_in, words
from tests.storefront.buyer import MUSIC, Buyer, counts, facts
from tests.storefront.conftest import NewBuyer
from tests.storefront.test_checkout import value

PRICE = 1500
COUPONS = "/admin/x/promotions.coupon"
UNKNOWN = "This code is not valid. Look for a typing mistake."


@pytest.fixture(scope="module")
async def staff(shop: str) -> Any:
    async with signed_in(shop) as someone:
        assert 'name="coupon"' not in (await someone.http.get(f"/checkout?sku={MUSIC}")).text
        await db.transaction(store.enable, "promotions.coupon", True)
        await runtime.current().refresh()
        yield someone


@pytest.fixture(autouse=True)
async def ready(staff: Staff, stock: Any) -> None:
    await db.execute("DELETE FROM web_limit")


async def made(staff: Staff, **form: str) -> str:
    """A coupon of ¥5 unless the form says otherwise; gives its code."""
    code = form.get("code", f"C{secrets.token_hex(4)}")
    page = await staff.post(f"{COUPONS}/new", **{"name": code, "kind": "amount", "value": "5", "code": code, **form})
    assert "The coupon is there." in page
    return code


async def looked(buyer: Buyer, quantity: str = "1", **more: str) -> dict[str, str]:
    """The form as the page gives it, with the buyer's contact."""
    page = (await buyer.get(f"/checkout?sku={MUSIC}&quantity={quantity}")).text
    buyer.csrf = value(page, "csrf")
    return buyer.form(quantity=quantity, key=value(page, "key"), seen=value(page, "seen"), **more)


async def total_of(order: str) -> int:
    return int(await db.fetchval("SELECT total FROM orders_order WHERE ref = $1", order.removeprefix("/o/")))


def error_at_field(page: str) -> str:
    found = re.search(r'id="e-coupon">.*?</svg>(.*?)</small>', page, re.DOTALL)
    assert found, words(page)
    return html.unescape(found[1]).strip()


# -- the counter ------------------------------------------------------------------------


async def test_a_code_is_tried_seen_and_ordered_with(staff: Staff, buyer: Buyer) -> None:
    code = await made(staff)
    form = await looked(buyer, "2")
    before = await counts()
    tried = await buyer.post("/checkout", {**form, "contact": "", "coupon": code.upper(), "apply": "1"})
    assert tried.status_code == 200
    assert "Subtotal CN¥30.00 CN¥5.00 off" in words(tried.text)
    assert "Order and pay CN¥25.00" in words(tried.text)
    assert value(tried.text, "seen") == "2500 CNY"
    assert await counts() == before

    answer = await buyer.post("/checkout", {**form, "coupon": code.upper(), "seen": value(tried.text, "seen")})
    assert answer.status_code == 303
    order = answer.headers["location"]
    assert await total_of(order) == 2500
    shown = words((await buyer.get(order)).text)
    assert f"Subtotal CN¥30.00 CN¥5.00 off {code.upper()} -CN¥5.00 Total CN¥25.00" in shown
    await buyer.pay(order)
    assert (await facts(order))["paid"] == 2500
    seen_by_staff = words(await staff.get(f"/admin/orders/{order.removeprefix('/o/')}"))
    assert f"Subtotal CN¥30.00 Discount -CN¥5.00 CN¥5.00 off {code.upper()} Total CN¥25.00" in seen_by_staff


async def test_a_code_that_was_only_typed_shows_its_price_first(staff: Staff, buyer: Buyer) -> None:
    code = await made(staff)
    form = await looked(buyer, coupon=code)
    before = await counts()
    answer = await buyer.post("/checkout", form)
    assert answer.status_code == 200
    assert "Your code counts. This is the new total" in words(answer.text)
    assert await counts() == before
    placed = await buyer.post("/checkout", {**form, "seen": value(answer.text, "seen")})
    assert await total_of(placed.headers["location"]) == PRICE - 500


async def test_an_order_is_not_placed_at_a_higher_price_than_was_seen(staff: Staff, buyer: Buyer) -> None:
    form = await looked(buyer)
    await db.execute("UPDATE catalog_sku SET price = price + 100 WHERE code = $1", MUSIC)
    catalog.forget()
    before = await counts()
    refused = await buyer.post("/checkout", form)
    assert refused.status_code == 409
    assert "The price has changed while you were here: it is CN¥16.00 now. Nothing was ordered." in words(refused.text)
    assert value(refused.text, "seen") == "1600 CNY"
    for nonsense in ("1500", "1500 USD", "-1 CNY", "² CNY"):
        assert (await buyer.post("/checkout", {**form, "seen": nonsense})).status_code == 409
    assert await counts() == before
    await db.execute("UPDATE catalog_sku SET price = price - 100 WHERE code = $1", MUSIC)
    catalog.forget()
    assert (await buyer.post("/checkout", form)).status_code == 303


async def test_what_costs_nothing_needs_no_way_to_pay(staff: Staff, buyer: Buyer) -> None:
    code = await made(staff, kind="percent", value="100", uses="1")
    form = buyer.form(coupon=code)
    del form["method"]
    tried = await buyer.post("/checkout", {**form, "apply": "1"})
    assert "There is nothing to pay." in words(tried.text)
    assert 'name="method"' not in tried.text
    placed = await buyer.post("/checkout", {**form, "seen": value(tried.text, "seen")})
    order = placed.headers["location"]
    assert await facts(order) == {
        "payment": "paid",
        "fulfilment": "delivered",
        "paid": 0,
        "attempts": None,
        "reserved": 0,
        "delivered": 1,
        "reveals": 0,
    }
    assert len(await buyer.reveal(order)) == 1
    again = await buyer.post("/checkout", {**form, "seen": value(tried.text, "seen")})
    assert again.headers["location"] == order


async def test_the_last_use_goes_to_one_of_many_clicks_and_the_others_get_its_order(
    staff: Staff, new_buyer: NewBuyer
) -> None:
    code = await made(staff, uses="1")
    first, second = new_buyer(), new_buyer()
    form = await looked(first, coupon=code)
    form["seen"] = ""
    clicks = await asyncio.gather(*(first.post("/checkout", form) for _click in range(5)))
    assert {answer.headers["location"] for answer in clicks} == {clicks[0].headers["location"]}
    before = await counts()
    answer = await second.post("/checkout", second.form(coupon=code))
    assert (answer.status_code, error_at_field(answer.text)) == (422, "This code was used as often as it may be.")
    assert await counts() == before


async def test_a_wrong_code_is_told_at_its_field_and_the_same_whatever_is_wrong(staff: Staff, buyer: Buyer) -> None:
    stopped = await made(staff)
    number = await db.fetchval("SELECT max(id) FROM promotions_coupon")
    assert "The coupon is stopped." in await staff.post(f"{COUPONS}/{number}/stop")
    before = await counts()
    answers = [
        await buyer.post("/checkout", buyer.form(coupon=code, **more))
        for code in ("NOBODY-MADE-THIS", stopped, "'; DROP TABLE x --", "x" * 200)
        for more in ({}, {"apply": "1"})
    ]
    assert {(answer.status_code, error_at_field(answer.text)) for answer in answers} == {(422, UNKNOWN)}
    assert value(answers[0].text, "contact") == buyer.contact
    assert await counts() == before
    await staff.post(f"{COUPONS}/{number}/resume")
    assert (await buyer.post("/checkout", buyer.form(coupon=stopped))).status_code == 303


async def test_guessing_ends_soon_and_an_order_without_a_code_goes_on(staff: Staff, buyer: Buyer) -> None:
    code = await made(staff)
    with windows.one_window():
        for _try in range(25):
            await buyer.post("/checkout", buyer.form(coupon=code, apply="1"))  # good ones do not count
        guesses = [buyer.form(coupon=f"GUESS-{number}", apply="1") for number in range(30)]
        answers = await asyncio.gather(*(buyer.post("/checkout", guess) for guess in guesses))
        said = [error_at_field(answer.text) for answer in answers]
        assert said.count(UNKNOWN) == 20
        tried = await buyer.post("/checkout", buyer.form(coupon=code, apply="1"))
        assert error_at_field(tried.text).startswith("Too many codes were tried.")
        assert (await buyer.post("/checkout", buyer.form())).status_code == 303


# -- the pages of staff -----------------------------------------------------------------


async def test_a_thousand_codes_are_made_and_downloaded(staff: Staff, buyer: Buyer) -> None:
    page = await staff.post(
        f"{COUPONS}/new", name="Gift", kind="amount", value="5", how="many", number="1000", prefix="gift-"
    )
    assert "1,000 codes" in words(page)
    number = await db.fetchval("SELECT max(id) FROM promotions_coupon")
    every = await download(staff, number)
    assert len(every) == 1000
    one = next(iter(every))
    assert one.startswith("GIFT-")
    order = (await buyer.post("/checkout", buyer.form(coupon=one.lower()))).headers["location"]
    await buyer.pay(order)
    again = await buyer.post("/checkout", buyer.form(coupon=one))
    assert error_at_field(again.text) == "This code was used as often as it may be."
    assert (await download(staff, number))[one] == "1"
    shown = words(await staff.get(f"{COUPONS}/{number}"))
    assert "Uses 1 Discount given CN¥5.00 Revenue CN¥10.00" in shown
    await staff.post(f"{COUPONS}/{number}/codes", number="5", prefix="more-")
    assert len(await download(staff, number)) == 1005
    listed = words(await staff.get(COUPONS))
    assert "Gift 1,005 codes CN¥5.00 off Running 1 CN¥5.00 CN¥10.00 200%" in listed


async def download(staff: Staff, number: int) -> dict[str, str]:
    answer = await staff.http.post(f"{COUPONS}/{number}/codes.csv", data={"csrf": staff.csrf})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    head, *rows = answer.text.lstrip("\ufeff").splitlines()
    assert head == "Coupon code,Uses"
    return dict(row.split(",") for row in rows)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"value": "abc"}, "Write an amount in digits, such as 19.90."),
        ({"value": "0"}, "Write an amount above zero."),
        ({"kind": "percent", "value": "100.01"}, "Write a percentage from 0.01 to 100."),
        ({"code": "a b"}, "A code is 3 to 40 letters"),
        ({"how": "many", "number": "5001"}, "This must be 5000 or less."),
        ({"how": "many", "prefix": "=1+"}, "Letters, digits, - or _"),
        ({"goods": "sku:GONE"}, "Some of these goods are not there any more."),
        ({"starts": "2026-12-01T10:00", "ends": "2026-12-01T10:00"}, "The end comes after the beginning."),
        ({"starts": "tomorrow"}, "Write a day and a time"),
        ({"name": ""}, "Please fill this in."),
        ({"code": "TAKEN"}, "Another coupon has this code already."),
    ],
)
async def test_a_coupon_that_makes_no_sense_is_not_made(staff: Staff, wrong: dict[str, str], said: str) -> None:
    if await db.fetchval("SELECT count(*) FROM promotions_coupon_code WHERE matched = 'TAKEN'") == 0:
        await made(staff, code="taken")
    before = await db.fetchval("SELECT count(*) FROM promotions_coupon")
    form = {"name": "Wrong", "kind": "amount", "value": "5", "code": "WRONG", **wrong}
    assert said in words(await staff.post(f"{COUPONS}/new", status=422, **form))
    assert await db.fetchval("SELECT count(*) FROM promotions_coupon") == before


async def test_roles_see_coupons_or_make_them(staff: Staff, shop: str) -> None:
    code = await made(staff)
    number = await db.fetchval("SELECT max(id) FROM promotions_coupon")
    async with signed_in(shop, "support") as support, signed_in(shop, "stock") as clerk:
        assert code in words(await support.get(f"{COUPONS}/{number}"))
        before = await db.fetchval("SELECT count(*) FROM promotions_coupon_code")
        for path in ("new", f"{number}/codes", f"{number}/stop", f"{number}/codes.csv"):
            await support.post(f"{COUPONS}/{path}", status=403, number="5")
        await clerk.get(COUPONS, status=403)
        assert await db.fetchval("SELECT count(*) FROM promotions_coupon_code") == before
        assert await db.fetchval("SELECT stopped_at FROM promotions_coupon WHERE id = $1", number) is None


async def test_its_pages_speak_chinese(staff: Staff, shop: str) -> None:
    await made(staff)
    number = await db.fetchval("SELECT max(id) FROM promotions_coupon")
    async with signed_in(shop, language="zh-CN") as someone:
        for path, said in (
            (COUPONS, "投入产出比"),
            (f"{COUPONS}/new", "创建优惠券"),
            (f"{COUPONS}/{number}", "总使用次数"),
        ):
            await db.execute("UPDATE promotions_coupon SET uses = 3 WHERE id = $1", number)
            assert said in words(await someone.get(path))
