"""Balances: staff changes them with a reason, buyers open them by a link from their mail."""

import re
import secrets

import httpx
import pytest

from core import db
from core.balances import MAIL_LINK
from core.balances.jobs import _write
from core.ledger import customers
from core.messages import compose
from core.partners import accounts
from core.people import contact_proof, sessions
from core.shops import service as shops
from core.web import csrf
from tests import stocked
from tests.console import audited, everything, newest_audit, words
from tests.redemption.own import a_code


@pytest.fixture(autouse=True)
async def nobody_counted(address):
    await db.execute("DELETE FROM web_limit")
    await db.execute("UPDATE shops_shop SET currency = 'CNY'")


def form(contact: str, **changes: str) -> dict[str, str]:
    filled = {"contact": contact, "amount": "50", "way": "in", "why": "cash", "reason": "paid at the desk"}
    return {**filled, "key": secrets.token_hex(8), **changes}


def money_form(**changes: str) -> dict[str, str]:
    """The same on the page of a partner."""
    return {name: value for name, value in form("", **changes).items() if name != "contact"}


async def held(contact: str) -> list[int]:
    return [balance.money.amount for balance in await customers.of_contact(1, contact)]


async def test_staff_puts_in_and_takes_out_with_a_reason(staff):
    after, contact = await newest_audit(), "Desk@Example.com"
    page = await staff.post("/admin/balances", **form(contact))
    assert "desk@example.com" in page and "CN¥50.00" in words(page) and "paid at the desk" in words(page)
    page = await staff.post("/admin/balances", **form(contact, way="out", amount="12.50", why="goodwill"))
    assert await held("desk@example.com") == [3750]
    assert await audited(after) == [("balance.changed", "buyer:desk@example.com")] * 2
    assert "desk@example.com" in await staff.get("/admin/balances?q=desk")
    assert "desk@example.com" not in words(await staff.get("/admin/balances?q=other"))


async def test_the_history_of_a_balance_is_turned_page_by_page(staff):
    await staff.post("/admin/balances", **form("pages@example.com"))
    [balance] = await customers.of_contact(1, "pages@example.com")
    assert 'class="pagination"' not in await staff.get(f"/admin/balances/{balance.id}")
    page = await staff.get(f"/admin/balances/{balance.id}?page=2")
    assert 'rel="prev" href="?page=1"' in page and 'rel="next"' not in page


async def test_the_second_click_changes_nothing(staff):
    sent = form("twice@example.com")
    await staff.post("/admin/balances", **sent)
    before = await everything()
    await staff.post("/admin/balances", **sent)
    assert await held("twice@example.com") == [5000]
    assert await everything() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": "0"},
        {"amount": "-5"},
        {"amount": "1.001"},
        {"amount": "lots"},
        {"reason": ""},
        {"contact": "+8613800138000"},
        {"way": "both"},
        {"why": "luck"},
        {"way": "out"},
        {"way": "out", "contact": "rich@example.com", "amount": "50.01"},
    ],
)
async def test_what_cannot_be_is_refused(staff, changes):
    if not await held("rich@example.com"):
        await staff.post("/admin/balances", **form("rich@example.com"))
    before = await everything()
    await staff.post("/admin/balances", 422, **{**form("poor@example.com"), **changes})
    assert await everything() == before
    assert (await held("poor@example.com"), await held("rich@example.com")) == ([], [5000])


async def limit(amount: int | None) -> None:
    await db.execute(
        "UPDATE shops_shop SET settings = settings || $1, revision = revision + 1", {"refund_limit": amount}
    )
    shops.forget()


async def test_more_than_the_limit_in_a_day_takes_an_owner(sign_in, staff):
    finance, contact = await sign_in("finance"), "much@example.com"
    await limit(5000)
    try:
        for amount, status in (("30", 303), ("20.01", 422), ("20", 303), ("0.01", 422)):
            page = await finance.post("/admin/balances", status, **form(contact, amount=amount))
            assert ("is put in by an owner alone" in words(page)) == (status == 422)
        assert await held(contact) == [5000]
        before = await everything()
        await finance.post("/admin/balances", 422, **form("other@example.com", amount="1", currency="USD"))
        assert await everything() == before
        await finance.post("/admin/balances", **form(contact, amount="10", way="out"))
        await finance.post("/admin/balances", 422, **form(contact, amount="10"))
        await staff.post("/admin/balances", **form(contact, amount="100"))
        assert await held(contact) == [14000]
    finally:
        await limit(None)


async def test_the_balances_of_partners_count_towards_that_limit(sign_in, staff):
    manager, name = await sign_in("manager"), f"partner-{secrets.token_hex(4)}"
    keys = await accounts.make(1, name, 0, "", await stocked.staff_member())
    door = f"/admin/partners/{keys.partner_id}/balance"
    await limit(5000)
    try:
        sent = money_form(amount="30")
        await manager.post(door, **sent)
        await manager.post(door, **sent)
        assert await held(f"partner:{name}") == [3000]
        before = await everything()
        page = await manager.post(door, 422, **money_form(amount="20.01"))
        assert "is put in by an owner alone" in words(page)
        await manager.post("/admin/balances", 422, **form("too-much@example.com", amount="20.01"))
        assert await everything() == before
        await staff.post(door, **money_form(amount="100"))
        assert await held(f"partner:{name}") == [13000]
    finally:
        await limit(None)


async def test_support_looks_and_does_not_touch(sign_in, staff):
    await staff.post("/admin/balances", **form("seen@example.com"))
    support = await sign_in("support")
    page = await support.get("/admin/balances")
    assert "seen@example.com" in page and 'name="amount"' not in page
    before = await everything()
    await support.post("/admin/balances", 403, **form("seen@example.com"))
    assert await everything() == before


# -- the buyer --------------------------------------------------------------------------


def token_in(url: str) -> str:
    [found] = re.findall(r"/balance/open\?k=([A-Za-z0-9_-]{43})", url)
    return found


@pytest.fixture
async def browser(address):
    headers = {"origin": address, "accept-language": "en"}
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=20) as http:
        yield http


async def test_the_link_in_the_mail_opens_the_balance_once(staff, browser, address):
    contact = "mine@example.com"
    await staff.post("/admin/balances", **form(contact))
    assert "Tell us the e-mail address" in (await browser.get("/balance")).text
    asked = await browser.post("/balance/link", data={"contact": contact})
    assert asked.status_code == 200 and contact in asked.text
    jobs = await db.fetch("SELECT args FROM jobs_job WHERE name = $1", MAIL_LINK)
    assert [job["args"] for job in jobs] == [{"shop_id": 1, "contact": contact, "locale": "en"}]
    await db.transaction(_write, 1, contact, "en")
    await db.transaction(_write, 1, contact, "en")
    [message] = await db.fetch("SELECT * FROM messages_message WHERE recipient = $1", contact)
    assert "CN¥" not in (await compose.shown(message, address)).body.text
    mail = await compose.outgoing(message, 1, address)
    token = token_in(mail.text)
    for _look in range(2):
        page = await browser.get(f"/balance/open?k={token}")
        assert page.status_code == 200 and contact not in page.text
    opened = await browser.post("/balance/open", data={"token": token})
    assert (opened.status_code, opened.headers["location"]) == (303, "/balance")
    mine = words((await browser.get("/balance")).text)
    assert contact in mine and "CN¥50.00" in mine and "paid at the desk" not in mine
    async with httpx.AsyncClient(base_url=address, headers={"origin": address}) as other:
        assert (await other.get(f"/balance/open?k={token}")).status_code == 404
        assert (await other.post("/balance/open", data={"token": token})).status_code == 404
        assert contact not in (await other.get("/balance")).text
    left = await browser.post("/balance/leave", data={}, headers={"x-csrf-token": opened.headers["x-csrf-token"]})
    assert left.status_code == 303
    assert contact not in (await browser.get("/balance")).text


async def test_an_address_without_a_balance_is_answered_alike_and_gets_no_mail(staff, browser):
    await staff.post("/admin/balances", **form("known@example.com"))
    known = await browser.post("/balance/link", data={"contact": "known@example.com"})
    unknown = await browser.post("/balance/link", data={"contact": "nobody@example.com"})

    def same(page: str, contact: str) -> str:
        return re.sub(r'value="[0-9a-f]{64}"', "", page.replace(contact, ""))

    assert known.status_code == unknown.status_code == 200
    assert same(known.text, "known@example.com") == same(unknown.text, "nobody@example.com")
    assert await db.transaction(_write, 1, "nobody@example.com", "en") == []
    assert await db.fetchval("SELECT count(*) FROM messages_message WHERE recipient = 'nobody@example.com'") == 0


async def test_a_guessed_or_late_link_opens_nothing(browser):
    token = await contact_proof.new_link(1, "late@example.com")
    await db.execute("UPDATE people_contact_link SET expires_at = now()")
    before = await everything()
    for guess in (token, "x" * 43, ""):
        assert (await browser.get("/balance/open", params={"k": guess})).status_code == 404
    assert (await browser.post("/balance/open", data={"token": token})).status_code == 404
    assert {name: rows for name, rows in (await everything()).items() if name != "people_session"} == before


async def opened(browser, contact: str) -> dict[str, str]:
    """The browser with that balance open; gives what its forms must send."""
    token = await contact_proof.new_link(1, contact)
    answer = await browser.post("/balance/open", data={"token": token})
    return {"x-csrf-token": answer.headers["x-csrf-token"]}


async def test_a_value_card_is_put_in_on_the_page(browser):
    contact, code = "card@example.com", await a_code(face_value=2500)
    sent = {"contact": contact, "key": secrets.token_hex(8)}
    headers = await opened(browser, contact)
    wrong = await browser.post("/balance/card", data={**sent, "code": "NOT-A-CARD"}, headers=headers)
    assert wrong.status_code == 422 and "mistyped" in words(wrong.text) and "NOT-A-CARD" not in wrong.text
    assert await held(contact) == []
    stranger = await browser.post(
        "/balance/card", data={**sent, "contact": "other@example.com", "code": code}, headers=headers
    )
    assert stranger.status_code == 303
    assert (await held(contact), await held("other@example.com")) == ([], [])
    done = await browser.post("/balance/card", data={**sent, "code": code}, headers=headers)
    assert (done.status_code, done.headers["location"]) == (303, "/balance")
    page = words((await browser.get("/balance")).text)
    assert "CN¥25.00 was put into your balance." in page and "Value card put in" in page
    assert await held(contact) == [2500]


async def test_who_bought_here_gets_a_link_without_a_balance_too():
    what = await stocked.sku(1)
    placed = await stocked.order(what, who=stocked.buyer("bought@example.com"))
    assert await db.transaction(_write, 1, "bought@example.com", "en") == []
    assert await db.fetchval("SELECT count(*) FROM messages_message WHERE recipient = 'bought@example.com'") == 0
    await db.execute("UPDATE orders_order SET payment_state = 'paid' WHERE id = $1", placed.order_id)
    await db.transaction(_write, 1, "bought@example.com", "en")
    events = await db.fetch("SELECT event FROM messages_message WHERE recipient = 'bought@example.com'")
    assert [row["event"] for row in events] == ["balance_link"]


async def test_the_link_begins_a_new_session_so_that_no_old_cookie_opens_the_balance(staff, browser, address):
    contact = "fixed@example.com"
    await staff.post("/admin/balances", **form(contact))
    known = await db.transaction(sessions.create, "buyer")
    token = await contact_proof.new_link(1, contact)
    headers = {"origin": address, "cookie": f"vs={known}", "x-csrf-token": csrf.token_for(known)}
    async with httpx.AsyncClient(base_url=address) as thief:
        opened = await thief.post("/balance/open", data={"token": token}, headers=headers)
        assert opened.headers["location"] == "/balance" and "vs=" in opened.headers["set-cookie"]
        own = opened.headers["set-cookie"].partition("vs=")[2].partition(";")[0]
        assert own != known
        assert "50.00" in words((await thief.get("/balance", headers={"cookie": f"vs={own}"})).text)
        assert "50.00" not in (await thief.get("/balance", headers={"cookie": f"vs={known}"})).text
