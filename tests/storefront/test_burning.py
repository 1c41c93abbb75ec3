"""Copy-and-burn on the order page: without JavaScript over HTTP, and in Chromium on a 390 px phone."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from core import clock, db
from core.shops import service as shops
from core.vault import burn
from tests.browsers import chromium
from tests.storefront.buyer import CODE, MUSIC, Buyer, alarms, counts, facts, heading
from tests.storefront.conftest import NewBuyer, set_settings
from tests.storefront.test_order_page import mail_link


@pytest.fixture(autouse=True)
async def burning(shop: str, stock: Any) -> AsyncIterator[None]:
    await set_settings(burn_hours=24)
    yield
    await set_settings(burn_hours=0)


def words(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


async def burned(order: str) -> int:
    return int(
        await db.fetchval(
            "SELECT count(*) FROM vault_code code JOIN orders_line line ON line.id = code.line_id"
            " JOIN orders_order o ON o.id = line.order_id WHERE o.ref = $1 AND code.blob IS NULL",
            order.removeprefix("/o/"),
        )
    )


async def second_browser(new_buyer: NewBuyer, order: str) -> Buyer:
    """One that came by the link of the mail."""
    other = new_buyer()
    answer = await other.get(await mail_link(order))
    other.csrf = answer.headers["x-csrf-token"]
    return other


async def test_the_shop_of_the_order_decides_at_the_address_of_any_shop(
    buyer: Buyer, new_buyer: NewBuyer, other_shop: str
) -> None:
    order = await buyer.bought()
    elsewhere = new_buyer()
    elsewhere.http.headers.update({"host": other_shop, "origin": f"http://{other_shop}"})
    answer = await elsewhere.get(await mail_link(order))
    elsewhere.csrf = answer.headers["x-csrf-token"]
    page = words((await elsewhere.get(order)).text)
    assert "Once shown, it can be seen again in this browser for 24 hours." in page
    assert len(await elsewhere.reveal(order)) == 1
    assert await buyer.reveal(order) == []
    later = clock.now() + timedelta(hours=25)
    assert await db.transaction(burn.burn_due, later) == 1
    assert await burned(order) == 1


@pytest.fixture
async def other_shop() -> AsyncIterator[str]:
    """The host of a second shop, which erases nothing."""
    await db.execute("INSERT INTO shops_shop (code, name, host) VALUES ('second', 'Second', 'second.test')")
    shops.forget()
    yield "second.test"
    await db.execute("DELETE FROM shops_shop WHERE code = 'second'")
    shops.forget()


async def test_the_page_says_what_will_happen_before_and_after_the_first_look(buyer: Buyer) -> None:
    order = await buyer.bought()
    before = words((await buyer.get(order)).text)
    assert "Once shown, it can be seen again in this browser for 24 hours. Then it is erased for good." in before
    assert "erase it here" not in before
    shown = words((await buyer.post(f"{order}/reveal")).text)
    assert "only in the browser that was shown it first. Then it is erased for good, so keep a copy." in shown
    assert "You can show it as often as you like" not in shown
    assert "I have a copy, erase it here" in words((await buyer.get(order)).text)


async def test_the_buyers_word_erases_it_without_javascript(buyer: Buyer) -> None:
    order = await buyer.bought(quantity="2")
    codes = await buyer.reveal(order)
    page = (await buyer.get(order)).text
    assert f'<form class="confirm-body" action="{order}/burn" method="post">' in page
    answer = await buyer.post(f"{order}/burn")
    assert (answer.status_code, answer.headers["location"]) == (303, order)
    assert await burned(order) == 2
    page = (await buyer.get(order)).text
    assert heading(page) == "Delivered, shown and erased"
    assert "These codes were shown and then erased, as this shop does." in words(page)
    assert "What happened to the codes" in words(page)
    for gone in ("Show my code", "Save as text file", "erase it here", *codes):
        assert gone not in page
    before = await facts(order)
    assert await buyer.reveal(order) == []
    assert (await buyer.post(f"{order}/codes.txt")).status_code == 303
    assert "There is nothing to save" in words((await buyer.get(order)).text)
    assert (await buyer.post(f"{order}/burn")).status_code == 303
    assert "There is nothing here to erase." in words((await buyer.get(order)).text)
    assert await facts(order) == before


async def test_nothing_is_erased_before_it_was_shown(buyer: Buyer) -> None:
    order = await buyer.bought()
    await buyer.post(f"{order}/burn")
    assert await burned(order) == 0
    assert len(await buyer.reveal(order)) == 1


async def test_past_the_window_it_is_gone_before_and_after_the_timer(buyer: Buyer) -> None:
    order = await buyer.bought()
    await buyer.reveal(order)
    later = clock.now() + timedelta(hours=24, seconds=1)
    with clock.use(lambda: later):
        assert heading((await buyer.get(order)).text) == "Delivered, shown and erased"
        assert await buyer.reveal(order) == []
        assert await burned(order) == 0
        await db.transaction(burn.burn_due, clock.now())
        assert await burned(order) == 1
        assert await buyer.reveal(order) == []


async def test_a_second_browser_is_refused_and_leaves_one_alarm(buyer: Buyer, new_buyer: NewBuyer) -> None:
    order = await buyer.bought()
    mine = await buyer.reveal(order)
    other = await second_browser(new_buyer, order)
    before, seen = await facts(order), len(await alarms())
    for _ in range(3):
        answer = await other.post(f"{order}/reveal")
        assert answer.status_code == 200
        assert not CODE.search(answer.text)
        assert "it was shown in another browser before" in words(answer.text)
    assert (await other.post(f"{order}/codes.txt")).status_code == 303
    await other.post(f"{order}/burn")
    assert await facts(order) == before
    assert await burned(order) == 0
    assert (await alarms())[seen:] == ["order.second_reveal"]
    assert await buyer.reveal(order) == mine


async def test_strangers_leave_one_alarm_each_and_a_flood_of_them_few(buyer: Buyer, new_buyer: NewBuyer) -> None:
    order, another = await buyer.bought(), await buyer.bought()
    thief = new_buyer()
    await thief.place()
    seen, before = len(await alarms()), await counts()
    for _ in range(5):
        for act in ("reveal", "codes.txt", "burn"):
            assert (await thief.post(f"{order}/{act}")).status_code == 404
    assert (await thief.post(f"{another}/reveal")).status_code == 404
    assert (await thief.post("/o/VNOSUCH00000/reveal")).status_code == 404
    assert (await alarms())[seen:] == ["order.foreign_reveal"] * 2
    flood = "SELECT o.id, s.id_hash, '127.0.0.1', now() FROM orders_order o CROSS JOIN people_session s LIMIT 40"
    await db.execute(f"INSERT INTO orders_stranger (order_id, session_hash, ip, at) {flood} ON CONFLICT DO NOTHING")
    more = new_buyer()
    await more.place()
    assert (await more.post(f"{order}/reveal")).status_code == 404
    assert len((await alarms())[seen:]) == 2
    assert {**await counts(), "orders": 0, "attempts": 0, "accesses": 0, "free": 0} == {
        **before,
        "orders": 0,
        "attempts": 0,
        "accesses": 0,
        "free": 0,
    }
    next_hour = clock.now() + timedelta(hours=1, seconds=1)
    with clock.use(lambda: next_hour):
        await more.post(f"{order}/reveal")
    assert len((await alarms())[seen:]) == 3


# -- on a phone -------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


async def phone(browser: Browser, shop: str, buyer: Buyer, locale: str, scripts: bool = True) -> tuple[Page, list[str]]:
    context = await browser.new_context(
        viewport={"width": 390, "height": 844}, locale=locale, base_url=shop, java_script_enabled=scripts
    )
    cookie = buyer.http.cookies["vs"]
    await context.add_cookies([{"name": "vs", "value": cookie, "url": shop}])
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page, complaints


async def shot(page: Page, folder: Path, name: str) -> None:
    if not await page.evaluate("document.documentElement.scrollWidth <= 390"):
        raise AssertionError(f"{name} sticks out")
    await page.screenshot(path=str(folder / f"burn-{name}.png"), full_page=True, caret="initial")


@pytest.mark.parametrize(
    ("locale", "show", "erase", "sure", "gone"),
    [
        ("en-US", "Show my codes", "I have a copy, erase it here", "Yes, erase it", "Delivered, shown and erased"),
        ("zh-CN", "查看卡密", "我已保存，在此销毁", "是的，销毁", "已发货、已查看、已销毁"),
    ],
)
async def test_show_copy_and_erase_on_a_phone(
    browser: Browser,
    shop: str,
    buyer: Buyer,
    screenshots: Path,
    locale: str,
    show: str,
    erase: str,
    sure: str,
    gone: str,
) -> None:
    order = await buyer.bought(MUSIC, quantity="2")
    page, complaints = await phone(browser, shop, buyer, locale)
    await page.goto(order)
    await shot(page, screenshots, f"{locale}-1-before")
    await page.reload()  # a picture leaves a style on text areas, which htmx would carry over
    await page.get_by_role("button", name=show).click()
    await expect(page.locator("output.code:not(.code-masked)")).to_have_count(2)
    await shot(page, screenshots, f"{locale}-2-shown")
    await page.get_by_text(erase).click()
    await shot(page, screenshots, f"{locale}-3-asked")
    await page.get_by_role("button", name=sure).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(gone)
    await shot(page, screenshots, f"{locale}-4-erased")
    assert await burned(order) == 2
    assert not CODE.search(await page.content())
    assert await page.evaluate("Object.keys(localStorage).length + Object.keys(sessionStorage).length") == 0
    assert complaints == []


async def test_without_scripts_on_a_phone(browser: Browser, shop: str, buyer: Buyer, screenshots: Path) -> None:
    order = await buyer.bought()
    page, complaints = await phone(browser, shop, buyer, "en-US", scripts=False)
    await page.goto(order)
    await page.get_by_role("button", name="Show my code").click()
    await expect(page.locator("output.code:not(.code-masked)")).to_have_count(1)
    await page.get_by_text("I have a copy, erase it here").click()
    await page.get_by_role("button", name="Yes, erase it").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Delivered, shown and erased")
    assert await burned(order) == 1
    assert complaints == []
