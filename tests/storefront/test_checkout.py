"""The counter: placing an order over HTTP, and everything that may be wrong with one."""

import asyncio
import html
import re
from typing import Any

import httpx
import pytest

from core import db
from core.web.limits import LIMITS
from tests import stocked
from tests.storefront.buyer import MUSIC, NIMBUS, Buyer, counts, facts, until
from tests.storefront.conftest import NewBuyer, set_settings
from tests.windows import one_window

UNPAID = {
    "payment": "unpaid",
    "fulfilment": "reserved",
    "paid": 0,
    "attempts": ["sandbox waiting"],
    "reserved": 1,
    "delivered": 0,
    "reveals": 0,
}


def value(page: str, name: str) -> str:
    """The value of a field in a form."""
    tag = next(tag for tag in re.findall(r"<input[^>]*>", page) if f'name="{name}"' in tag)
    found = re.search(r'value="([^"]*)"', tag)
    return html.unescape(found[1]) if found else ""


async def test_an_order_is_placed_from_the_form(buyer: Buyer, stock: Any) -> None:
    answer = await buyer.get(f"/checkout?sku={MUSIC}&quantity=2")
    assert answer.status_code == 200
    assert "Max-Age=2592000" in answer.headers["set-cookie"]
    buyer.csrf = value(answer.text, "csrf")
    assert buyer.csrf == answer.headers["x-csrf-token"]
    placed = await buyer.post(
        "/checkout", buyer.form(quantity=value(answer.text, "quantity"), key=value(answer.text, "key"))
    )
    assert placed.status_code == 303
    assert await facts(placed.headers["location"]) == {**UNPAID, "reserved": 2}
    assert (await buyer.get(placed.headers["location"])).status_code == 200


def altered(token: str, at: int) -> str:
    signs = list(token)
    signs[at] = "y" if signs[at] == "x" else "x"
    return "".join(signs)


async def sessions() -> int:
    return await db.fetchval("SELECT count(*) FROM people_session")


async def test_looking_at_the_form_stores_no_session_and_buying_stores_one(new_buyer: NewBuyer, stock: Any) -> None:
    before = await sessions()
    buyer, page = new_buyer(), None
    for _visit in range(3):
        page = await buyer.get(f"/checkout?sku={MUSIC}")
    assert page.headers.get_list("set-cookie") == []  # the cookie of the first visit still holds
    promised = buyer.http.cookies["vs"]
    assert await sessions() == before
    buyer.csrf = value(page.text, "csrf")
    forms = [buyer.form(), buyer.form()]
    clicks = await asyncio.gather(
        *(buyer.http.post("/checkout", data={**form, "csrf": buyer.csrf}) for form in forms * 2)
    )
    assert [answer.status_code for answer in clicks] == [303] * 4
    assert clicks[0].headers["location"] == clicks[2].headers["location"]
    assert clicks[1].headers["location"] == clicks[3].headers["location"]
    assert await sessions() == before + 1
    assert buyer.http.cookies["vs"] == promised
    for answer in clicks[:2]:
        assert (await buyer.get(answer.headers["location"])).status_code == 200


async def test_a_cookie_we_did_not_promise_becomes_no_session(new_buyer: NewBuyer, stock: Any) -> None:
    honest = new_buyer()
    await honest.get(f"/checkout?sku={MUSIC}")
    promised = honest.http.cookies["vs"]
    for planted in ("A" * 43, altered(promised, -2), altered(promised, 20), "é" * 43, "a+/" * 14 + "="):
        answer = await new_buyer().http.post(
            "/checkout", data=honest.form(), headers={b"cookie": b"vs=" + planted.encode()}
        )
        assert answer.status_code == 303
        given = re.match(r"vs=([\w-]{43});", answer.headers["set-cookie"])
        assert given and given[1] not in (planted, promised)


async def test_a_program_without_a_session_gets_one(buyer: Buyer, stock: Any) -> None:
    answer = await buyer.http.post("/checkout", data=buyer.form())
    assert answer.status_code == 303
    assert re.fullmatch(r"/o/V[0-9A-Z]{12}", answer.headers["location"])
    assert answer.headers["set-cookie"].startswith("vs=")
    buyer.csrf = answer.headers["x-csrf-token"]
    await buyer.pay(answer.headers["location"])
    assert len(await buyer.reveal(answer.headers["location"])) == 1


async def test_a_second_click_gives_the_same_order(buyer: Buyer, stock: Any) -> None:
    page = await buyer.get(f"/checkout?sku={MUSIC}")
    buyer.csrf = page.headers["x-csrf-token"]
    before = await counts()
    form = buyer.form(key=value(page.text, "key"))
    answers = await asyncio.gather(*(buyer.post("/checkout", form) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["location"] for answer in answers}) == 1
    after = await counts()
    assert (after["orders"], after["attempts"], after["free"]) == (
        before["orders"] + 1,
        before["attempts"] + 1,
        before["free"] - 1,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"contact": "right@example.com"},
        {"quantity": "3"},
        {"gift": "on", "gift_to": "friend@example.com"},
    ],
    ids=lambda changes: "+".join(changes),
)
async def test_a_form_that_is_sent_again_with_something_else_says_so(
    buyer: Buyer, stock: Any, changes: dict[str, str]
) -> None:
    form = buyer.form()
    first = await buyer.post("/checkout", form)
    before = await counts()
    again = await buyer.post("/checkout", {**form, **changes})
    assert again.status_code == 409 and await counts() == before
    assert "has placed an order already" in again.text and 'href="/lookup"' in again.text
    assert all(f'value="{value}"' in again.text for name, value in changes.items() if name != "gift")
    second = await buyer.post("/checkout", {**form, **changes, "key": value(again.text, "key")})
    assert second.status_code == 303 and second.headers["location"] != first.headers["location"]


async def test_somebody_elses_form_key_opens_nothing(new_buyer: NewBuyer, stock: Any) -> None:
    first, second = new_buyer(), new_buyer()
    form = first.form()
    assert (await first.post("/checkout", form)).status_code == 303
    before = await counts()
    answer = await second.post("/checkout", second.form(key=form["key"]))
    assert answer.status_code == 422
    assert "This form was used already" in answer.text
    assert await counts() == before


async def test_a_foreign_site_cannot_order(buyer: Buyer, stock: Any) -> None:
    before = await counts()
    answer = await buyer.post("/checkout", buyer.form(), origin="https://evil.example")
    assert answer.status_code == 403
    assert await counts() == before


async def test_a_session_needs_its_token(buyer: Buyer, stock: Any) -> None:
    await buyer.get(f"/checkout?sku={MUSIC}")
    before = await counts()
    answer = await buyer.http.post("/checkout", data={**buyer.form(), "csrf": "0" * 64})
    assert answer.status_code == 403
    assert await counts() == before


LEAVE_ONE = """
UPDATE vault_code SET state = 'void' WHERE sku_id = $1 AND state = 'free'
  AND id <> (SELECT max(id) FROM vault_code WHERE sku_id = $1 AND state = 'free')
"""

NAUGHTY = (
    "undefined ' OR 1=1; DROP TABLE orders_order;-- <script>alert(1)</script> ﷽ 𝒳 \u202e{{7*7}} ${7*7} ../../etc/passwd"
)

BAD = {
    "zero": ({"quantity": "0"}, 422),
    "negative": ({"quantity": "-1"}, 422),
    "huge": ({"quantity": "99999999999999999999"}, 422),
    "above the limit": ({"quantity": "11"}, 422),
    "a fraction": ({"quantity": "1.5"}, 422),
    "not a number": ({"quantity": "NaN"}, 422),
    "an expression": ({"quantity": "1e3"}, 422),
    "no contact": ({"contact": ""}, 422),
    "blank contact": ({"contact": "   "}, 422),
    "a zero byte in the SKU": ({"sku": f"{MUSIC}\0'"}, 404),
    "not a contact": ({"contact": "me"}, 422),
    "a naughty contact": ({"contact": NAUGHTY}, 422),
    "two contacts": ({"contact": "a@example.com, b@example.com"}, 422),
    "a long contact": ({"contact": "a" * 300 + "@example.com"}, 422),
    "a header in the contact": ({"contact": "a@example.com\r\nBcc: b@example.com"}, 422),
    "a zero byte": ({"contact": "a\0@example.com"}, 422),
    "an unknown method": ({"method": "bitcoin"}, 422),
    "a naughty method": ({"method": NAUGHTY}, 422),
    "no key": ({"key": ""}, 422),
    "a short key": ({"key": "1"}, 422),
    "a field nobody asked for": ({"price": "1"}, 422),
    "an answer nobody asked for": ({"field_admin": "yes"}, 422),
    "an unknown sku": ({"sku": "NOPE"}, 404),
    "a naughty sku": ({"sku": NAUGHTY}, 404),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_input_is_told_and_changes_nothing(buyer: Buyer, stock: Any, case: str) -> None:
    changes, status = BAD[case]
    before = await counts()
    answer = await buyer.post("/checkout", buyer.form(**changes))
    assert answer.status_code == status, answer.text
    assert await counts() == before
    assert "<script>alert" not in answer.text
    if status == 422:
        assert "notice-error" in answer.text


async def test_what_was_typed_is_kept(buyer: Buyer, stock: Any) -> None:
    answer = await buyer.post(
        "/checkout", buyer.form(NIMBUS, contact="wang@", method="manual", field_account="x@y.example")
    )
    assert answer.status_code == 422
    assert value(answer.text, "contact") == "wang@"
    assert value(answer.text, "field_account") == "x@y.example"
    assert re.search(r'value="manual" required checked', answer.text)
    assert "This e-mail address does not look right. Please check it." in answer.text


async def test_a_field_sent_twice_is_refused(buyer: Buyer, stock: Any) -> None:
    before = await counts()
    body = "&".join(f"{name}={text}" for name, text in buyer.form().items()) + "&quantity=5"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = await buyer.http.post("/checkout", content=body.replace("@", "%40"), headers=headers)
    assert answer.status_code == 422
    assert await counts() == before


async def test_a_huge_body_is_refused(buyer: Buyer, stock: Any) -> None:
    before = await counts()
    answer = await buyer.post("/checkout", buyer.form(field_x="x" * 10_000_000))
    assert answer.status_code == 413
    assert await counts() == before


@pytest.mark.parametrize(
    "query", ["quantity=-4", "quantity=0", "quantity=abc", "quantity=1000000", "quantity=%EF%BC%92"]
)
async def test_a_link_with_a_bad_quantity(buyer: Buyer, query: str) -> None:
    answer = await buyer.get(f"/checkout?sku={MUSIC}&{query}")
    assert answer.status_code == 422
    assert "Choose a quantity from 1 to 10." in answer.text


async def test_the_products_own_question_must_be_answered(buyer: Buyer, stock: Any) -> None:
    before = await counts()
    answer = await buyer.post("/checkout", buyer.form(NIMBUS))
    assert answer.status_code == 422
    assert "Your Nimbus account is needed." in answer.text
    assert await counts() == before
    order = await buyer.place(NIMBUS, field_account="wang@nimbus.example")
    page = (await buyer.get(order)).text
    assert "<dt>Your Nimbus account</dt><dd>wang@nimbus.example</dd>" in page


@pytest.mark.parametrize(
    ("typed", "kept", "kind"),
    [
        (" Wang@Example.COM ", "wang@example.com", "email"),
        ("ｗａｎｇ＠ｅｘａｍｐｌｅ．ｃｏｍ", "wang@example.com", "email"),
        ("+86 138-0013-8000", "+8613800138000", "phone"),
    ],
)
async def test_a_contact_is_kept_in_one_form(buyer: Buyer, stock: Any, typed: str, kept: str, kind: str) -> None:
    order = await buyer.place(contact=typed)
    row = await db.fetchrow("SELECT contact, contact_kind FROM orders_order WHERE ref = $1", order.removeprefix("/o/"))
    assert row is not None
    assert (row["contact"], row["contact_kind"]) == (kept, kind)
    assert kept not in (await buyer.get(order)).text
    assert value((await buyer.get(f"/checkout?sku={MUSIC}")).text, "contact") == kept


async def test_the_last_one_is_sold_once(new_buyer: NewBuyer, stock: Any) -> None:
    sku = await db.fetchval("SELECT id FROM catalog_sku WHERE code = $1", MUSIC)
    await db.execute(LEAVE_ONE, sku)
    try:
        buyers = [new_buyer() for _ in range(6)]
        answers = await asyncio.gather(*(buyer.post("/checkout", buyer.form()) for buyer in buyers))
        told = sorted(answer.status_code for answer in answers)
        assert told == [303, 409, 409, 409, 409, 409]
        refused = [answer.text for answer in answers if answer.status_code == 409]
        assert all("Sold out: the last ones were just taken. You have not been charged." in text for text in refused)
        assert all("set-cookie" not in answer.headers for answer in answers if answer.status_code == 409)
    finally:
        await db.execute("UPDATE vault_code SET state = 'free' WHERE sku_id = $1 AND state = 'void'", sku)


async def test_nobody_can_freeze_the_shop(buyer: Buyer, client: httpx.AsyncClient, stock: Any) -> None:
    await set_settings(open_orders_per_contact=2, show_stock="exact")

    async def settings_are_known() -> bool:
        return "10 in stock" in (await client.get("/p/starlight-music")).text

    try:
        await until(settings_are_known)
        await buyer.place()
        await buyer.place()
        before = await counts()
        answer = await buyer.post("/checkout", buyer.form())
        assert answer.status_code == 409
        assert "You have unpaid orders already." in answer.text
        assert 'href="/lookup"' in answer.text
        assert await counts() == before
    finally:
        await set_settings(open_orders_per_contact=100, show_stock="band")


async def test_what_costs_nothing_carries_few_messages_to_strangers(new_buyer: NewBuyer, stock: Any) -> None:
    sku = await stocked.sku(3, price=0)
    gift = {"gift": "on", "gift_to": "stranger@example.com", "gift_message": "Look at https://evil.example"}
    with one_window():
        await new_buyer().place(sku.code, **gift)
        await db.execute("UPDATE web_limit SET hits = $1 WHERE bucket LIKE 'free-gift:%'", LIMITS["free-gift"].hits)
        before = await counts()
        again = new_buyer()
        answer = await again.post("/checkout", again.form(sku.code, **gift))
        assert answer.status_code == 422 and "many gifts for an hour" in answer.text
        assert await counts() == before
        await new_buyer().place(sku.code, gift="on", gift_message="Passed on by hand")
    await db.execute("DELETE FROM web_limit")
