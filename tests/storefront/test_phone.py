"""Buying in Chromium on a 390 px phone: with and without JavaScript, in both languages, light and dark."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from core import clock, db
from core.audit.person import Person
from core.checkout.correcting import extend
from core.messages.gifts import queue_due
from core.orders import service as orders
from tests import stocked
from tests.browsers import chromium
from tests.storefront.buyer import CODE, MUSIC, Buyer

LOOKS = [("zh-CN", "light"), ("zh-CN", "dark"), ("en-US", "light"), ("en-US", "dark")]
PAGES = {
    "home": "/",
    "category": "/c/games",
    "product": "/p/starlight-music",
    "search": "/?q=card",
    "lookup": "/lookup",
}


@dataclass
class Phone:
    page: Page
    complaints: list[str]
    screenshots: Path
    name: str
    tour: bool = False
    """Whether every step on the way is photographed too."""
    number: int = 0

    async def step(self, what: str) -> None:
        if self.tour:
            await self.shot(what)

    async def shot(self, what: str) -> None:
        self.number += 1
        await self.page.wait_for_load_state()
        assert await self.page.evaluate("document.documentElement.scrollWidth") == 390, f"{what} sticks out"
        path = self.screenshots / f"shop-{self.name}-{self.number:02d}-{what}.png"
        await self.page.screenshot(path=str(path), full_page=True, caret="initial")


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


async def phone(browser: Browser, shop: str, screenshots: Path, name: str, **options: Any) -> Phone:
    defaults: dict[str, Any] = {
        "base_url": shop,
        "locale": "zh-CN",
        "viewport": {"width": 390, "height": 844},
        "is_mobile": True,
        "has_touch": True,
    }
    context = await browser.new_context(**{**defaults, **options})
    context.set_default_timeout(20_000)
    page = await context.new_page()
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return Phone(page, complaints, screenshots, name)


async def order_on(phone: Phone, contact: str) -> Page:
    """From the home page to an unpaid order."""
    page = phone.page
    await page.goto("/")
    await phone.step("home")
    await page.locator(".product-card").first.click()
    await phone.step("product")
    await page.locator(".buy .button-primary").click()
    await phone.step("checkout")
    await page.locator("#f-contact").fill(contact)
    await page.locator("input[value=sandbox]").check()
    await page.locator(".checkout button[type=submit]").click()
    await page.wait_for_url("**/o/V*")
    await phone.step("unpaid")
    return page


async def pay_on(phone: Phone) -> None:
    """At the test gateway, in the same tab, and back by its link."""
    await phone.page.locator(".pay a.button").click()
    await phone.step("gateway")
    await phone.page.locator("#paid").click()
    await phone.page.locator("#back").click()
    await phone.page.locator(".order-delivered").wait_for()


async def codes_on(page: Page) -> list[str]:
    return CODE.findall(await page.content())


@pytest.mark.parametrize(("language", "colours", "scripts"), [("zh-CN", "light", True), ("en-US", "dark", False)])
async def test_a_purchase(
    browser: Browser, shop: str, stock: Any, screenshots: Path, language: str, colours: str, scripts: bool
) -> None:
    name = f"{language[:2]}-{colours}-{'js' if scripts else 'nojs'}"
    mine = await phone(
        browser, shop, screenshots, name, locale=language, color_scheme=colours, java_script_enabled=scripts
    )
    mine.tour = True
    page = await order_on(mine, f"{name}@example.com")
    await pay_on(mine)
    await mine.shot("delivered")
    assert await codes_on(page) == []
    await reveal_on(mine)
    await mine.shot("revealed")
    shown = await page.locator("output.code").inner_text()
    assert CODE.fullmatch(shown)
    async with page.expect_download() as download:
        await page.locator("form[action$='/codes.txt'] button").click()
    assert (Path(await (await download.value).path())).read_text().split() == [shown]
    await page.goto("/lookup")
    await expect(page.locator(".order-row")).to_have_count(1)
    await mine.shot("my-orders")
    assert mine.complaints == []
    await page.context.close()


async def test_the_page_hears_of_a_payment_by_itself(
    browser: Browser, shop: str, stock: Any, screenshots: Path
) -> None:
    mine = await phone(browser, shop, screenshots, "live")
    page = await order_on(mine, "live@example.com")
    gateway = await page.context.new_page()
    await gateway.goto(await page.locator(".pay a.button").get_attribute("href") or "")
    await gateway.locator("#paid").click()
    await page.locator(".order-delivered").wait_for()
    await expect(page.locator("#order-says")).to_have_text("卡密已送达，请查收！")
    assert mine.complaints == []
    await page.context.close()


async def test_what_could_be_copied_still_can_when_the_page_has_changed(
    browser: Browser, shop: str, stock: Any, screenshots: Path
) -> None:
    mine = await phone(browser, shop, screenshots, "copy-live")
    page = await order_on(mine, "copy-live@example.com")
    ref = page.url.rpartition("/")[2]
    await db.execute("UPDATE orders_order SET expires_at = now() - interval '1 second' WHERE ref = $1", ref)
    await page.locator(".order-expired").wait_for()
    await expect(page.locator(".facts vs-copy button")).to_be_visible()
    await page.context.close()


async def test_the_time_that_is_left_is_the_shops_and_follows_it(
    browser: Browser, shop: str, stock: Any, screenshots: Path
) -> None:
    mine = await phone(browser, shop, screenshots, "wrong-clock")
    await mine.page.clock.install(time=clock.now() + timedelta(minutes=20))
    page = await order_on(mine, "wrong-clock@example.com")
    left = page.locator("vs-countdown")
    await expect(left).to_have_text(re.compile(r"^1[45]:"))
    order = await db.fetchrow("SELECT shop_id, ref FROM orders_order WHERE ref = $1", page.url.rpartition("/")[2])
    assert order is not None
    await extend(order["shop_id"], order["ref"], 60, Person(order["shop_id"], await stocked.staff_member()))
    await expect(left).to_have_text(re.compile(r"^1:1[45]:"))
    await page.context.close()


async def test_the_way_back_from_an_order_to_a_form_that_had_a_mistake(
    browser: Browser, shop: str, stock: Any, screenshots: Path
) -> None:
    mine = await phone(browser, shop, screenshots, "back", locale="en-US")
    page = mine.page
    await page.goto(f"/checkout?sku={MUSIC}&quantity=2")
    for contact in ("mistyped@", "right@example.com"):
        await page.locator("#f-contact").fill(contact)
        await page.locator("input[value=sandbox]").check()
        await page.locator(".checkout button[type=submit]").click()
        await page.wait_for_load_state()
    await page.wait_for_url("**/o/V*")
    await page.go_back()
    await expect(page.locator("#order-form")).to_be_visible()
    assert "quantity=2" in page.url
    await page.context.close()


async def test_what_happens_before_the_stream_begins_is_not_missed(
    browser: Browser, shop: str, stock: Any, screenshots: Path
) -> None:
    mine = await phone(browser, shop, screenshots, "before-stream")
    page, begin = mine.page, asyncio.Event()

    async def later(route: Route) -> None:
        await begin.wait()
        await route.continue_()

    await page.route("**/events", later)
    await order_on(mine, "before-stream@example.com")
    ref = page.url.rpartition("/")[2]
    await orders.cancel(await db.fetchval("SELECT id FROM orders_order WHERE ref = $1", ref), "buyer")
    begin.set()
    await page.locator(".order-cancelled").wait_for()
    await page.context.close()


async def test_a_cancelled_page_hears_of_a_payment_that_comes_after_all(
    browser: Browser, shop: str, stock: Any, screenshots: Path
) -> None:
    mine = await phone(browser, shop, screenshots, "paid-late")
    page = await order_on(mine, "paid-late@example.com")
    gateway = await page.context.new_page()
    await gateway.goto(await page.locator(".pay a.button").get_attribute("href") or "")
    ref = page.url.rpartition("/")[2]
    await orders.cancel(await db.fetchval("SELECT id FROM orders_order WHERE ref = $1", ref), "buyer")
    await page.locator(".order-cancelled").wait_for()
    await gateway.locator("#paid").click()
    await page.locator(".order-delivered").wait_for()
    await page.context.close()


async def test_a_gift_that_goes_out_is_told_beside_codes_that_stay_shown(
    browser: Browser, shop: str, stock: Any, screenshots: Path
) -> None:
    mine = await phone(browser, shop, screenshots, "gift", locale="en-US")
    page = mine.page
    await page.goto(f"/checkout?sku={MUSIC}&gift=on")
    await page.locator("#f-contact").fill("giver@example.com")
    await page.locator("#f-gift_to").fill("friend@example.com")
    await page.locator("input[value=sandbox]").check()
    await page.locator(".checkout button[type=submit]").click()
    await page.wait_for_url("**/o/V*")
    ref = page.url.rpartition("/")[2]
    await pay_on(mine)
    await reveal_on(mine)
    status = page.locator(".gift [role=status]")
    await expect(status).to_contain_text("Waits")
    await db.transaction(queue_due)
    await expect(status).to_contain_text("Sent")
    assert len(set(await codes_on(page))) == 1
    await db.execute(
        "INSERT INTO orders_event (order_id, kind, actor) SELECT id, 'gift_opened', 'recipient' FROM orders_order"
        " WHERE ref = $1",
        ref,
    )
    await expect(status).to_contain_text("Opened")
    await expect(page.locator("vs-live")).to_have_count(0)
    assert len(set(await codes_on(page))) == 1
    assert not mine.complaints
    await page.context.close()


async def test_without_a_stream_it_asks_every_few_seconds(
    browser: Browser, shop: str, stock: Any, screenshots: Path
) -> None:
    mine = await phone(browser, shop, screenshots, "polling")
    await mine.page.clock.install()
    await mine.page.route("**/events", lambda route: route.abort())
    page = await order_on(mine, "polling@example.com")
    gateway = await page.context.new_page()
    await gateway.goto(await page.locator(".pay a.button").get_attribute("href") or "")
    await gateway.locator("#paid").click()
    await page.bring_to_front()
    await page.clock.run_for(5_000)
    await page.locator(".order-delivered").wait_for()
    await page.context.close()


async def reveal_on(phone: Phone) -> None:
    await phone.page.locator("form[action$='/reveal'] button").click()
    await phone.page.locator("output.code:not(.code-masked)").wait_for()


async def revealed(
    browser: Browser, shop: str, screenshots: Path, name: str, buyer: Buyer, clock: bool = False
) -> Phone:
    """The phone of somebody who has bought already, with the code in sight."""
    mine = await phone(browser, shop, screenshots, name)
    if clock:
        await mine.page.clock.install()
    order = await buyer.bought()
    session = {"name": "vs", "value": buyer.http.cookies["vs"], "url": shop, "httpOnly": True}
    await mine.page.context.add_cookies([session])
    await mine.page.goto(order)
    await reveal_on(mine)
    return mine


async def test_copy_says_so_and_nothing_secret_stays_behind(
    browser: Browser, shop: str, stock: Any, screenshots: Path
) -> None:
    mine = await phone(browser, shop, screenshots, "copy")
    page = await order_on(mine, "copy@example.com")
    await pay_on(mine)
    await reveal_on(mine)
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=shop)
    code = await page.locator("output.code").inner_text()
    button = page.locator(".code-row vs-copy button")
    await button.click()
    await expect(button).to_have_text("已复制")
    assert await page.evaluate("navigator.clipboard.readText()") == code
    await mine.shot("copied")
    kept = await page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, history.state, document.cookie])"
    )
    assert kept == '[{},{},{"htmx":true},""]'
    await page.goto("/")
    await page.go_back()
    await page.locator("output.code-masked").wait_for()
    assert await codes_on(page) == []
    assert mine.complaints == []
    await page.context.close()


async def test_codes_are_masked_again_after_a_minute(
    browser: Browser, shop: str, stock: Any, screenshots: Path, buyer: Buyer
) -> None:
    mine = await revealed(browser, shop, screenshots, "minute", buyer, clock=True)
    await mine.page.clock.run_for(50_000)
    assert len(await codes_on(mine.page)) > 0
    await mine.page.clock.run_for(12_000)
    await mine.page.locator("output.code-masked").wait_for()
    assert await codes_on(mine.page) == []
    await mine.page.context.close()


async def test_codes_are_masked_when_the_tab_is_hidden(
    browser: Browser, shop: str, stock: Any, screenshots: Path, buyer: Buyer
) -> None:
    mine = await revealed(browser, shop, screenshots, "hidden", buyer)
    await mine.page.evaluate(
        "Object.defineProperty(document, 'hidden', { value: true });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    await mine.page.locator("output.code-masked").wait_for()
    assert await codes_on(mine.page) == []
    await mine.page.context.close()


async def test_a_mistake_keeps_what_was_typed(browser: Browser, shop: str, stock: Any, screenshots: Path) -> None:
    mine = await phone(browser, shop, screenshots, "mistake")
    await mine.page.goto("/p/nimbus-drive")
    await mine.page.locator(".buy .button-primary").click()
    await mine.page.locator("#f-contact").fill("wang@")
    await mine.page.locator("#f-field_account").fill("wang@nimbus.example")
    await mine.page.locator(".checkout button[type=submit]").click()
    await mine.page.locator(".notice-error").wait_for()
    await mine.shot("mistake")
    await expect(mine.page.locator("#f-contact")).to_have_value("wang@")
    await expect(mine.page.locator("#f-field_account")).to_have_value("wang@nimbus.example")
    await expect(mine.page.locator("#f-contact")).to_have_attribute("aria-invalid", "true")
    await mine.page.context.close()


async def test_sold_out_on_the_phone(browser: Browser, shop: str, stock: Any, screenshots: Path) -> None:
    mine = await phone(browser, shop, screenshots, "sold-out")
    await mine.page.goto(f"/checkout?sku={MUSIC}")
    sku = await db.fetchval("SELECT id FROM catalog_sku WHERE code = $1", MUSIC)
    await db.execute("UPDATE vault_code SET state = 'void' WHERE sku_id = $1 AND state = 'free'", sku)
    try:
        await mine.page.locator("#f-contact").fill("late@example.com")
        await mine.page.locator(".checkout button[type=submit]").click()
        await expect(mine.page.locator(".notice-error")).to_contain_text("手慢了")
        await mine.shot("sold-out")
    finally:
        await db.execute("UPDATE vault_code SET state = 'free' WHERE sku_id = $1 AND state = 'void'", sku)
    await mine.page.context.close()


async def test_cancel_and_order_again(browser: Browser, shop: str, stock: Any, screenshots: Path) -> None:
    mine = await phone(browser, shop, screenshots, "again", locale="en-US")
    page = await order_on(mine, "again@example.com")
    await page.locator(".order-acts summary").click()
    await mine.shot("cancel")
    await page.locator(".order-acts form button").click()
    await page.locator(".order-cancelled").wait_for()
    await mine.shot("cancelled")
    await page.get_by_text("Order it again").click()
    await expect(page.locator("#f-contact")).to_have_value("again@example.com")
    assert mine.complaints == []
    await page.context.close()


@pytest.mark.parametrize(("language", "colours"), LOOKS)
async def test_every_look(
    browser: Browser, shop: str, stock: Any, screenshots: Path, language: str, colours: str
) -> None:
    mine = await phone(browser, shop, screenshots, f"{language[:2]}-{colours}", locale=language, color_scheme=colours)
    for name, path in PAGES.items():
        await mine.page.goto(path)
        await mine.shot(name)
    assert mine.complaints == []
    await mine.page.context.close()
