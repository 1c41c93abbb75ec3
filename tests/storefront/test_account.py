"""The buyer's account: the way in by a mailed link, what stands there, taking it along, and being forgotten."""

import asyncio
import json
import re
from typing import Any

import pytest

from core import db
from core.account import MAIL_LINK, erase, jobs, service
from core.ids import new_token, token_hash
from core.ledger import customers
from core.ledger.chart import CASH
from core.messages import compose
from core.money import Money
from core.orders.history import History
from core.people import contact_proof
from core.people.forgotten import name_of as forgotten_name
from core.refused import Refused
from core.review import service as review
from tests import console, stocked
from tests.console import everything
from tests.storefront.buyer import CODE, MUSIC, Buyer, counts
from tests.storefront.conftest import NewBuyer
from tests.windows import one_window

PAGES = ("", "/orders", "/codes", "/messages", "/devices", "/data")


@pytest.fixture(autouse=True)
async def fresh(shop: str, stock: Any) -> None:
    await db.execute("DELETE FROM web_limit")


async def sign_in(buyer: Buyer, contact: str) -> None:
    token = await contact_proof.new_link(1, contact)
    answer = await buyer.post("/account/open", {"token": token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")


async def in_mail(event: str, contact: str, shop: str) -> str:
    """The token of the link in the newest mail of that kind."""
    message = await db.fetchrow(
        "SELECT * FROM messages_message WHERE event = $1 AND recipient = $2 ORDER BY id DESC LIMIT 1", event, contact
    )
    text = (await compose.outgoing(message, 1, shop)).text
    found = re.search(r"\?k=([\w-]{43})", text)
    assert found, text
    return found[1]


def same(page: str, contact: str) -> str:
    return re.sub(r'value="[^"]*"|\b[0-9a-f]{16,}\b', "", page.replace(contact, ""))


# -- the way in -------------------------------------------------------------------------


async def test_the_mailed_link_opens_it_once(shop: str, buyer: Buyer, new_buyer: NewBuyer) -> None:
    order = await buyer.bought()
    phone = new_buyer()
    for page in PAGES:
        door = await phone.get(f"/account{page}")
        assert door.status_code == 200 and "Send me the link" in door.text
    asked = await phone.post("/account/link", {"contact": buyer.contact})
    unknown = await phone.post("/account/link", {"contact": "nobody@example.com"})
    assert same(asked.text, buyer.contact) == same(unknown.text, "nobody@example.com")
    args = [row["args"]["contact"] for row in await db.fetch("SELECT args FROM jobs_job WHERE name = $1", MAIL_LINK)]
    assert args == [buyer.contact, "nobody@example.com"]
    assert await db.transaction(jobs.write, 1, "nobody@example.com", "en") == []
    assert await db.fetchval("SELECT count(*) FROM messages_message WHERE recipient = 'nobody@example.com'") == 0
    for _twice in range(2):
        await db.transaction(jobs.write, 1, buyer.contact, "en")
    assert await db.fetchval("SELECT count(*) FROM messages_message WHERE event = 'account_link'") == 1
    token = await in_mail("account_link", buyer.contact, shop)
    assert buyer.contact not in (await phone.get(f"/account/open?k={token}")).text
    opened = await phone.post("/account/open", {"token": token})
    assert (opened.status_code, opened.headers["location"]) == (303, "/account")
    page = await phone.get("/account")
    assert buyer.contact in page.text and f"/account/orders{order.removeprefix('/o')}" in page.text
    assert page.headers["cache-control"] == "no-store" and page.headers["referrer-policy"] == "no-referrer"
    other = new_buyer()
    assert (await other.post("/account/open", {"token": token})).status_code == 404
    assert buyer.contact not in (await other.get("/account")).text


async def test_who_knew_the_cookie_before_is_not_signed_in_with_it(buyer: Buyer, new_buyer: NewBuyer) -> None:
    order = await buyer.bought()
    await buyer.post("/cart", {"sku": MUSIC, "quantity": "2"})
    await db.execute("UPDATE catalog_sku SET burn_hours = 1 WHERE code = $1", MUSIC)
    try:
        shown = CODE.findall((await buyer.post(f"{order}/reveal")).text)
        old, thief = buyer.http.cookies["vs"], new_buyer()
        thief.http.cookies.set("vs", old)
        await sign_in(buyer, buyer.contact)
        assert shown and CODE.findall((await buyer.post(f"{order}/reveal")).text) == shown
    finally:
        await db.execute("UPDATE catalog_sku SET burn_hours = NULL WHERE code = $1", MUSIC)
    assert "Send me the link" not in (await buyer.get("/account")).text
    assert MUSIC in (await buyer.get("/cart")).text
    assert "Send me the link" in (await thief.get("/account")).text
    assert (await thief.get(order)).status_code == 404
    assert MUSIC not in (await thief.get("/cart")).text
    cookie = buyer.http.cookies["vs"]
    assert (await buyer.post("/account/open", {"token": "x" * 43})).status_code == 404
    assert buyer.http.cookies["vs"] == cookie != old


async def code_of(contact: str, shop: str) -> str:
    """As it stands in the newest mail, which is written when it goes out."""
    await db.transaction(jobs.write, 1, contact, "en")
    message = await db.fetchrow(
        "SELECT * FROM messages_message WHERE event = 'account_link' AND recipient = $1 ORDER BY id DESC LIMIT 1",
        contact,
    )
    found = re.search(r"^\D*(\d{6})$", (await compose.outgoing(message, 1, shop)).text, re.MULTILINE)
    assert found and found[1] not in (await compose.shown(message, shop)).body.text
    return found[1]


async def test_the_code_of_the_mail_opens_it_once_in_the_browser_that_asked(
    shop: str, buyer: Buyer, new_buyer: NewBuyer
) -> None:
    await buyer.bought()
    contact, desk, other = buyer.contact, new_buyer(), new_buyer()
    assert "Six digits of the mail" in (await desk.post("/account/link", {"contact": contact})).text
    code = await code_of(contact, shop)
    wrong = f"{(int(code) + 1) % 10**6:06d}"
    assert await found_in(code) == []
    for browser, typed, status in (
        (other, code, 409),  # it did not ask
        (buyer, code, 409),
        (desk, "12 34", 422),  # no code: no try
        (desk, wrong, 422),
    ):
        answer = await browser.post("/account/code", {"code": typed})
        assert (answer.status_code, "location" in answer.headers) == (status, False)
    assert await db.fetchval("SELECT tries FROM people_contact_ask WHERE contact = $1", contact) == 1
    assert "Send me the link" in (await desk.get("/account")).text
    cookie = desk.http.cookies["vs"]
    spaced = f" {code[:3]} {code[3:]}".translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"})
    opened = await asyncio.gather(*(desk.post("/account/code", {"code": spaced}) for _ in range(3)))
    assert sorted(answer.status_code for answer in opened) == [303, 422, 422]
    fresh = next(answer for answer in opened if answer.status_code == 303).cookies["vs"]
    assert (
        fresh != cookie
        and await db.fetchval("SELECT count(*) FROM people_contact_code WHERE contact = $1", contact) == 0
    )
    desk.http.cookies.set("vs", fresh)
    assert contact in (await desk.get("/account")).text


async def test_a_code_is_tried_a_few_times_and_not_after_its_time(shop: str, buyer: Buyer, new_buyer: NewBuyer) -> None:
    await buyer.bought()
    contact, desk = buyer.contact, new_buyer()
    await desk.post("/account/link", {"contact": contact})
    code = await code_of(contact, shop)
    wrong = f"{(int(code) + 1) % 10**6:06d}"
    with one_window():
        tries = [(await desk.post("/account/code", {"code": wrong})).status_code for _ in range(6)]
        assert tries == [422] * 5 + [429]
        await desk.post("/account/link", {"contact": contact})  # asking again gives no more tries
        answer = await desk.post("/account/code", {"code": code})
        assert answer.status_code == 429 and "too many tries" in answer.text
        late = new_buyer()
        await late.post("/account/link", {"contact": contact})
        await db.execute("UPDATE people_contact_code SET expires_at = now() - interval '1 second'")
        assert (await late.post("/account/code", {"code": code})).status_code == 422
        await db.execute("UPDATE people_contact_code SET expires_at = now() + interval '1 minute'")
        await db.execute("UPDATE web_limit SET hits = 20 WHERE bucket = $1", f"account-code:1:{contact}")
        before = await everything()
        assert (await late.post("/account/code", {"code": code})).status_code == 429
        after = await everything()
        assert {name for name in after if after[name] != before[name]} <= {"people_contact_ask", "web_limit"}
    unknown = new_buyer()
    await unknown.post("/account/link", {"contact": "nobody@example.com"})
    assert (await unknown.post("/account/code", {"code": code})).status_code == 422
    token = await contact_proof.new_link(1, contact, "erase")
    assert await erase.confirm(1, token)
    assert await found_in(contact) == []


async def test_asking_is_limited_and_a_link_to_erase_opens_nothing(buyer: Buyer) -> None:
    answers = [(await buyer.post("/account/link", {"contact": "a@example.com"})).status_code for _ in range(11)]
    assert answers == [200] * 10 + [429]
    token = await contact_proof.new_link(1, "a@example.com", "erase")
    before = await everything()
    assert (await buyer.get(f"/account/open?k={token}")).status_code == 404
    assert (await buyer.post("/account/open", {"token": token})).status_code == 404
    assert (await buyer.post("/balance/open", {"token": token})).status_code == 404
    way_in = await contact_proof.new_link(1, "a@example.com")
    assert (await buyer.post("/account/erase/confirm", {"token": way_in})).status_code == 404
    assert {name: rows for name, rows in (await everything()).items() if name != "people_contact_link"} == {
        name: rows for name, rows in before.items() if name != "people_contact_link"
    }


# -- what stands there ------------------------------------------------------------------


async def test_orders_codes_and_messages_of_the_contact_alone(buyer: Buyer, new_buyer: NewBuyer) -> None:
    order, stranger = await buyer.bought(), new_buyer()
    foreign = await stranger.bought()
    [shown] = await buyer.reveal(order)
    phone = new_buyer()
    await sign_in(phone, buyer.contact)
    listed = (await phone.get("/account/orders")).text
    assert order[3:] in listed and foreign[3:] not in listed
    assert order[3:] in (await phone.get(f"/account/orders?q={order[3:].lower()}")).text
    assert order[3:] in (await phone.get("/account/orders?q=Starlight")).text
    assert "Nothing found" in (await phone.get("/account/orders?q=%25")).text
    codes = (await phone.get("/account/codes")).text
    assert f"••••{shown[-4:]}" in codes and not CODE.search(codes)
    assert "Order delivered" in (await phone.get("/account/messages")).text
    before = await counts()
    assert (await phone.get(f"/account/orders/{foreign[3:]}")).status_code == 404
    assert await counts() == before
    assert (await phone.get(order)).status_code == 404
    assert (await phone.get(f"/account/orders/{order[3:]}")).headers["location"] == order
    assert (await phone.get(order)).status_code == 200 and await phone.reveal(order) == [shown]


async def test_signing_out_closes_what_the_account_opened_but_not_what_was_bought_here(
    buyer: Buyer, new_buyer: NewBuyer
) -> None:
    order = await buyer.bought()
    phone = new_buyer()
    phone.contact = buyer.contact
    own = await phone.bought()
    await sign_in(phone, buyer.contact)
    await phone.get(f"/account/orders/{order[3:]}")
    assert (await phone.post("/account/leave")).status_code == 303
    assert (await phone.get(order)).status_code == 404 and (await phone.get(own)).status_code == 200
    assert buyer.contact not in (await phone.get("/account")).text


async def test_another_device_is_ended(buyer: Buyer, new_buyer: NewBuyer) -> None:
    order = await buyer.bought()
    phone, thief = new_buyer(), new_buyer()
    await sign_in(phone, buyer.contact)
    await sign_in(thief, "thief@example.com")
    page = (await phone.get("/account/devices")).text
    assert "This device" in page
    [handle] = re.findall(r'name="device" value="([0-9a-f]{24})"', page)
    assert token_hash(buyer.http.cookies["vs"]).hex().startswith(handle)
    assert (await thief.post("/account/devices", {"device": handle})).status_code == 303
    assert (await buyer.get(order)).status_code == 200
    assert (await phone.post("/account/devices", {"device": handle})).status_code == 303
    assert (await buyer.get(order)).status_code == 404
    assert 'name="device"' not in (await phone.get("/account/devices")).text


async def test_the_same_again_goes_into_the_cart(buyer: Buyer, new_buyer: NewBuyer) -> None:
    order = await buyer.bought(quantity="2")
    answer = await buyer.post(f"{order}/again")
    assert answer.headers["location"] == "/cart"
    rows = await db.fetch(
        "SELECT sku.code, line.quantity FROM checkout_cart_line line JOIN catalog_sku sku ON sku.id = line.sku_id"
        " WHERE line.session_hash = $1",
        token_hash(buyer.http.cookies["vs"]),
    )
    assert [tuple(row) for row in rows] == [(MUSIC, 2)]
    other = new_buyer()
    await other.place()
    assert (await other.post(f"{order}/again")).status_code == 404


# -- one's own data ---------------------------------------------------------------------


async def test_the_export_has_all_but_the_codes_and_only_for_the_owner(buyer: Buyer, new_buyer: NewBuyer) -> None:
    order = await buyer.bought()
    [code] = await buyer.reveal(order)
    phone, stranger = new_buyer(), new_buyer()
    await stranger.place()
    assert (await stranger.post("/account/export")).headers["location"] == "/account"
    await sign_in(phone, buyer.contact)
    answer = await phone.post("/account/export")
    assert answer.headers["cache-control"] == "no-store" and "attachment" in answer.headers["content-disposition"]
    found = json.loads(answer.text)
    assert found["contact"] == buyer.contact
    [line] = found["orders"][0]["lines"]
    assert (found["orders"][0]["number"], line["codes"]) == (order[3:], [f"••••{code[-4:]}"])
    assert [message["what"] for message in found["messages"]] == ["order_delivered"]
    assert code not in answer.text
    assert [(await phone.post("/account/export")).status_code for _ in range(5)] == [200] * 4 + [429]


async def balance(contact: str, change: Any, kind: str) -> None:
    async def write(tx: db.Tx) -> None:
        await change(tx, 1, contact, Money(500, "CNY"), kind=kind, source=f"test:{new_token()}", against=CASH)

    await db.transaction(write)


async def test_what_is_open_keeps_an_account_from_being_erased(shop: str, buyer: Buyer) -> None:
    await sign_in(buyer, buyer.contact)
    order = await buyer.place()
    with pytest.raises(Refused, match="not finished yet"):
        await erase.ask(1, buyer.contact, "en")
    refused = await buyer.post("/account/erase")
    assert refused.headers["location"] == "/account/data"
    await buyer.post(f"{order}/cancel")
    token = await contact_proof.new_link(1, buyer.contact, "erase")
    await balance(buyer.contact, customers.put_in, "balance_in")
    before = await everything()
    answer = await buyer.post("/account/erase/confirm", {"token": token})
    assert answer.status_code == 409 and "There is money in your balance." in answer.text
    assert await everything() == before
    await balance(buyer.contact, customers.take_out, "balance_out")
    assert (await buyer.post("/account/erase/confirm", {"token": token})).status_code == 200


async def found_in(words: str) -> list[str]:
    """Every table and column where it stands."""
    columns = await db.fetch(
        "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables"
        " USING (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        " AND data_type IN ('text', 'jsonb', 'ARRAY', 'character varying', 'bytea', 'inet')"
    )
    found = []
    for row in columns:
        sql = f'SELECT EXISTS (SELECT 1 FROM "{row[0]}" WHERE strpos("{row[1]}"::text, $1) > 0)'
        if await db.fetchval(sql, words):
            found.append(f"{row[0]}.{row[1]}")
    return sorted(found)


async def test_a_buyer_who_is_erased_is_found_nowhere(shop: str, new_buyer: NewBuyer) -> None:
    buyer, bystander = new_buyer(), new_buyer()
    buyer.contact = "forget-me-7731@example.com"
    buyer.http.headers["user-agent"] = "Browser of forget-me-7731"
    order, kept = await buyer.bought("DEMO-NIMBUS-200", field_account=buyer.contact), await bystander.bought()
    await buyer.reveal(order)
    code_id = await db.fetchval(
        "SELECT code.id FROM vault_code code JOIN orders_line line ON line.id = code.line_id"
        " JOIN orders_order o ON o.id = line.order_id WHERE o.ref = $1",
        order[3:],
    )
    said = {"code": str(code_id), "why": "used", "note": f"write to {buyer.contact}"}
    await buyer.post(f"{order}/report", said)
    await buyer.post("/account/link", {"contact": buyer.contact})
    await sign_in(buyer, buyer.contact)
    assert (await buyer.post("/account/erase")).headers["location"] == "/account/data"
    item = await db.fetchval("SELECT id FROM review_item WHERE state = 'open'")
    await db.transaction(review.resolve, item, await stocked.staff_member(), "good")
    assert "We sent a link to" in (await buyer.post("/account/erase")).text
    token = await in_mail("account_erase", buyer.contact, shop)
    assert (await found_in("forget-me-7731"))[:1] and "Erase it for good" in (
        await buyer.get(f"/account/erase?k={token}")
    ).text
    old_link = await db.fetchval("SELECT token_hash FROM orders_order WHERE ref = $1", order[3:])
    done = await buyer.post("/account/erase/confirm", {"token": token})
    assert "You are forgotten here" in done.text and "1 order is kept" in done.text
    assert await found_in("forget-me-7731") == []
    row = await db.fetchrow("SELECT * FROM orders_order WHERE ref = $1", order[3:])
    assert (row["contact_kind"], row["ip"], row["payment_state"], row["total"] > 0) == ("erased", None, "paid", True)
    assert re.fullmatch("erased-[0-9a-f]{16}", row["contact"]) and row["token_hash"] != old_link
    assert (await buyer.get(order)).status_code == 404 and (await bystander.get(kept)).status_code == 200
    audited = await db.fetchrow("SELECT actor, object FROM audit_entry WHERE act = 'buyer.erased' ORDER BY id DESC")
    assert tuple(audited) == ("buyer", f"buyer:{row['contact']}")
    assert (await buyer.post("/account/erase/confirm", {"token": token})).status_code == 404
    assert await service.orders(1, buyer.contact) == []
    async with console.signed_in(shop) as staff:
        assert row["contact"] in await staff.get(f"/admin/orders/{order[3:]}")


async def test_who_is_forgotten_and_comes_again_has_had_what_they_had(shop: str, new_buyer: NewBuyer) -> None:
    buyer, other = new_buyer(), new_buyer()

    async def forgotten() -> erase.Erased | None:
        await balance(buyer.contact, customers.put_in, "balance_in")
        await balance(buyer.contact, customers.take_out, "balance_out")
        return await erase.confirm(1, await contact_proof.new_link(1, buyer.contact, "erase"))

    await db.execute("UPDATE catalog_sku SET max_per_buyer = 2 WHERE code = $1", MUSIC)
    try:
        await buyer.bought()
        one = await forgotten()
        assert (await History(1, buyer.contact, "", b"", "CNY").is_first()) is False
        await buyer.bought()
        two = await forgotten()
        before = await everything()
        refused = await buyer.post("/checkout", buyer.form())
        assert refused.status_code == 422 and "at most 2 of these" in refused.text
        assert await everything() == before
        await other.bought(quantity="2")
    finally:
        await db.execute("UPDATE catalog_sku SET max_per_buyer = NULL WHERE code = $1", MUSIC)
    assert one and two and one.name == two.name == forgotten_name(1, buyer.contact)
    assert await found_in(buyer.contact) == []
