"""In the demo shop: several things in one order, one of them a gift, on a phone and on a desktop without JavaScript;
a look that is tried, published and taken back; a plugin with a page of its own; a purchase and an act of staff by
keyboard alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from core import db
from core.people.staff import create_admin
from tests.console import signed_in
from tests.storefront.buyer import CODE
from tests.storefront.conftest import new_buyer, screenshots, shop, stock  # noqa: F401
from tests.storefront.test_phone import Phone, browser, phone  # noqa: F401

PHONE: dict[str, Any] = {}
DESKTOP: dict[str, Any] = {
    "viewport": {"width": 1280, "height": 900},
    "is_mobile": False,
    "has_touch": False,
    "java_script_enabled": False,
    "color_scheme": "dark",
    "locale": "en-US",
}
DESK: dict[str, Any] = {**DESKTOP, "java_script_enabled": True, "color_scheme": "light"}
OTHER, NEW = ("#7a3b00", "A quiet shop"), ("#5b2a86", "Codes for the evening")
"""Looks: a colour and the words of welcome."""


async def put_in(mine: Phone, slug: str, scripts: bool) -> None:
    await mine.page.goto(f"/p/{slug}")
    await mine.page.locator("#to-cart button").click()
    if scripts:
        await mine.page.locator("#cart-link .count").wait_for()
    else:
        await mine.page.wait_for_url("**/cart")


@pytest.mark.parametrize(("name", "options"), [("cart-phone", PHONE), ("cart-desktop", DESKTOP)])
async def test_several_things_in_one_order(
    browser: Browser,  # noqa: F811
    shop: str,  # noqa: F811
    stock: Any,  # noqa: F811
    screenshots: Any,  # noqa: F811
    name: str,
    options: dict[str, Any],
) -> None:
    scripts = options.get("java_script_enabled", True)
    mine = await phone(browser, shop, screenshots, name, **options)
    page = mine.page
    await put_in(mine, "starlight-music", scripts)
    await put_in(mine, "comet-games-card", scripts)
    await page.goto("/cart")
    first, second = page.locator(".cart-line").nth(0), page.locator(".cart-line").nth(1)
    await first.locator("input[name=quantity]").fill("2")
    if scripts:
        await first.locator("input[name=quantity]").blur()
    else:
        await first.locator("noscript button, .cart-acts .button-secondary").click()
    await expect(page.locator(".cart-line").first.locator(".cart-sum small")).to_contain_text("× 2")

    sku = await second.locator("input[name=sku]").get_attribute("value")
    await db.execute("UPDATE catalog_sku SET listed = false WHERE code = $1", sku)
    await page.reload()
    await expect(page.locator(".cart-trouble")).to_have_count(1)
    await expect(page.locator("form[action='/checkout']")).to_have_count(0)
    await page.screenshot(path=screenshots / f"shop-{name}-trouble.png", full_page=True, caret="initial")
    await db.execute("UPDATE catalog_sku SET listed = true WHERE code = $1", sku)
    await page.reload()
    await expect(page.locator(".cart-trouble")).to_have_count(0)
    await page.screenshot(path=screenshots / f"shop-{name}-cart.png", full_page=True, caret="initial")

    await page.locator("form.checkout button").click()
    await expect(page.locator(".summary .summary-line")).to_have_count(2)
    await page.locator("#f-contact").fill("cart@example.com")
    await page.locator("#f-gift").check()
    await page.locator("#f-gift_message").fill("生日快乐 / Happy birthday")
    await page.locator("input[value=sandbox]").check()
    await page.screenshot(path=screenshots / f"shop-{name}-counter.png", full_page=True, caret="initial")
    await page.locator("#order-form .button-primary").click()
    await page.wait_for_url("**/o/V*")
    await page.screenshot(path=screenshots / f"shop-{name}-unpaid.png", full_page=True, caret="initial")
    await page.locator(".pay a.button").click()
    await page.locator("#paid").click()
    await page.locator("#back").click()
    await page.locator(".order-delivered").wait_for()
    await expect(page.locator(".code-line")).to_have_count(2)
    await expect(page.locator(".code-row")).to_have_count(3)
    await page.screenshot(path=screenshots / f"shop-{name}-delivered.png", full_page=True, caret="initial")
    page_ref = page.url.removeprefix(f"{shop}/o/")
    link = await _gift_link(mine, scripts)
    await page.goto("/cart")
    await expect(page.locator(".cart-line")).to_have_count(0)
    assert mine.complaints == []

    friend = await phone(browser, shop, screenshots, f"{name}-friend", **options)
    await friend.page.goto(link)
    ref = friend.page.url.removeprefix(f"{shop}/gift/")
    assert ref == page_ref
    text = await friend.page.locator("main").inner_text()
    assert "生日快乐" in text
    assert "¥" not in text
    assert "cart@" not in text
    await friend.page.locator("form[action$='/reveal'] button").click()
    await friend.page.locator("output.code:not(.code-masked)").first.wait_for()
    assert len(set(CODE.findall(await friend.page.content()))) == 3
    await friend.page.screenshot(path=screenshots / f"shop-{name}-gift.png", full_page=True, caret="initial")
    assert friend.complaints == []
    await page.goto(f"/o/{ref}")
    await expect(page.locator(".gift .badge-good")).to_have_count(1)
    for one in (mine, friend):
        await one.page.context.close()


async def _gift_link(mine: Phone, scripts: bool) -> str:
    if scripts:
        return await mine.page.locator(".gift vs-copy").get_attribute("text") or ""
    return await mine.page.locator(".gift a[href^='/gift']").get_attribute("href") or ""


# -- the look and a plugin ---------------------------------------------------------------


@asynccontextmanager
async def at_desk(browser: Browser, shop: str, screenshots: Any, name: str) -> AsyncIterator[Phone]:  # noqa: F811
    """A member of staff who is signed in."""
    async with signed_in(shop) as staff:
        mine = await phone(browser, shop, screenshots, name, **DESK)
        await mine.page.context.add_cookies([{"name": "vs", "value": staff.http.cookies["vs"], "url": shop}])
        yield mine
        await ended(mine)


async def ended(mine: Phone) -> None:
    """Nothing was refused by the content policy or broke, and nothing stays behind."""
    assert mine.complaints == []
    assert await mine.page.evaluate("localStorage.length + sessionStorage.length") == 0
    await mine.page.context.close()


async def accent(page: Page) -> str:
    found = await page.evaluate("getComputedStyle(document.body).getPropertyValue('--shop-accent').trim()")
    return str(found)


async def wears(mine: Phone, colour: str, welcome: str) -> None:
    """Other processes remember the old look for a second or two."""
    async with asyncio.timeout(20):
        while await accent(mine.page) != colour:
            await mine.page.goto("/")
    await expect(mine.page.locator("h1")).to_have_text(welcome)


async def test_a_new_look_is_tried_shown_and_taken_back(
    browser: Browser,  # noqa: F811
    shop: str,  # noqa: F811
    stock: Any,  # noqa: F811
    screenshots: Any,  # noqa: F811
) -> None:
    buyer = await phone(browser, shop, screenshots, "look-buyer", locale="en-US", color_scheme="light")
    await buyer.page.goto("/")
    old = await accent(buyer.page), await buyer.page.locator("h1").inner_text()
    assert old[0] != NEW[0]
    async with at_desk(browser, shop, screenshots, "look-desk") as mine:
        page = mine.page
        for colour, welcome in (OTHER, NEW):
            await page.goto("/admin/themes")
            await page.locator("#theme-market form button").click()
            await page.locator("#f-set_accent").fill(colour)
            await page.locator("[id='f-set_hero_title.en']").fill(welcome)
            await page.get_by_role("button", name="Save and preview").click()
            draft = page.frame_locator("iframe[title='The shop with the draft']")
            await expect(draft.locator("h1")).to_have_text(welcome)
            await page.screenshot(path=screenshots / "look-preview.png", caret="initial")
            await page.get_by_role("link", name="Beside what buyers see").click()
            live = page.frame_locator("iframe[title='The shop as buyers see it']")
            await expect(live.locator("h1")).to_have_text(old[1])
            await expect(page.frame_locator("iframe >> nth=0").locator("h1")).to_have_text(welcome)
            await page.screenshot(path=screenshots / "look-beside.png", full_page=True, caret="initial")
            await buyer.page.goto("/?sort=new")
            assert await accent(buyer.page) == old[0]
            await buyer.page.goto("/")
            assert (await accent(buyer.page), await buyer.page.locator("h1").inner_text()) == old
            await page.get_by_role("button", name="Publish").click()
            await page.get_by_text("Published: buyers see it from now on.").wait_for()
            await wears(buyer, colour, welcome)
            old = colour, welcome
        await buyer.page.screenshot(path=screenshots / "look-published.png", caret="initial")
        earlier = page.locator("#published tbody tr").nth(1)
        await earlier.locator("summary").click()
        await page.screenshot(path=screenshots / "look-list.png", caret="initial")
        await earlier.get_by_role("button", name="Go back", exact=True).click()
        await page.get_by_text("Buyers see that earlier look again.").wait_for()
        await wears(buyer, *OTHER)
    await ended(buyer)


async def test_a_plugin_is_set_up_and_its_own_page_used(
    browser: Browser,  # noqa: F811
    shop: str,  # noqa: F811
    stock: Any,  # noqa: F811
    screenshots: Any,  # noqa: F811
) -> None:
    async with at_desk(browser, shop, screenshots, "plugin-desk") as mine:
        page = mine.page
        await page.goto("/admin/plugins/payments.epay")
        await page.locator("#f-set_gateway").fill("ftp://gateway.example")
        await page.get_by_role("button", name="Save", exact=True).click()
        wrong = page.locator("#f-set_gateway")
        await expect(wrong).to_have_attribute("aria-invalid", "true")
        await expect(page.locator("#e-set_gateway")).to_be_visible()
        assert "e-set_gateway" in (await wrong.get_attribute("aria-describedby") or "")
        await page.screenshot(path=screenshots / "plugin-field.png", full_page=True, caret="initial")
        await wrong.fill("http://127.0.0.1:9")
        await page.get_by_role("button", name="Test", exact=True).click()
        await page.locator("#check .notice").wait_for()
        await page.screenshot(path=screenshots / "plugin-tested.png", full_page=True, caret="initial")

        await page.goto("/admin/plugins")
        await page.locator("a[href='/admin/plugins/promotions.coupon']").first.click()
        await page.get_by_role("button", name="Switch on").click()
        await page.locator(".badge", has_text="Active").wait_for()
        await page.locator("nav[aria-label=Console] a", has_text="Coupons").click()
        await page.get_by_role("link", name="New coupon").first.click()
        await page.locator("#f-name").fill("Autumn")
        await page.locator("#f-value").fill("120")
        await page.locator("#f-code").fill("AUTUMN")
        await page.get_by_role("button", name="Make the coupon").click()
        await expect(page.locator("#f-value")).to_have_attribute("aria-invalid", "true")
        await expect(page.locator("#f-name")).to_have_value("Autumn")
        await page.screenshot(path=screenshots / "coupon-field.png", full_page=True, caret="initial")
        await page.locator("#f-value").fill("20")
        await page.get_by_role("button", name="Make the coupon").click()
        await page.get_by_text("The coupon is there.").wait_for()

        buyer = await phone(browser, shop, screenshots, "plugin-buyer", locale="en-US")
        await buyer.page.goto("/checkout?sku=DEMO-MUSIC-1M")
        await buyer.page.locator(".coupon-fold summary").click()
        await buyer.page.locator("#f-coupon").fill("WINTER")
        await buyer.page.get_by_role("button", name="Apply").click()
        await expect(buyer.page.locator("#f-coupon")).to_have_attribute("aria-invalid", "true")
        await buyer.page.locator("#f-coupon").fill("autumn")
        await buyer.page.get_by_role("button", name="Apply").click()
        await expect(buyer.page.locator(".summary .total")).to_contain_text("12.00")
        await buyer.page.screenshot(path=screenshots / "coupon-buyer.png", full_page=True, caret="initial")
        await page.goto("/admin/x/promotions.coupon")
        await expect(page.locator("tbody tr")).to_contain_text("AUTUMN")
        for one in (buyer, mine):
            assert [said for said in one.complaints if "422" not in said] == []
            one.complaints.clear()
        await ended(buyer)


# -- by keyboard alone -------------------------------------------------------------------


async def tab_to(page: Page, wanted: str) -> None:
    """Press Tab until the focus is there."""
    for _press in range(120):
        await page.keyboard.press("Tab")
        if await page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
            return
    raise AssertionError(f"Tab never came to {wanted}")


async def press_at(page: Page, wanted: str, key: str = "Enter") -> None:
    await tab_to(page, wanted)
    await page.keyboard.press(key)


async def focused(page: Page, wanted: str) -> None:
    await page.wait_for_function("wanted => document.activeElement.matches(wanted)", arg=wanted)


async def test_a_purchase_by_keyboard(
    browser: Browser,  # noqa: F811
    shop: str,  # noqa: F811
    stock: Any,  # noqa: F811
    screenshots: Any,  # noqa: F811
) -> None:
    mine = await phone(browser, shop, screenshots, "keys-buyer", **{**DESK, "locale": "zh-CN"})
    page = mine.page
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=shop)
    await page.goto("/")
    await press_at(page, ".shop-header .menu > summary")
    await press_at(page, "button[name=colours][value=dark]")
    await page.locator("html[data-theme=dark]").wait_for()
    await page.goto("/")
    await press_at(page, ".skip-link")
    await focused(page, "#main")
    await press_at(page, "a.product-card[href='/p/starlight-music']")
    await page.wait_for_url("**/p/starlight-music")
    await press_at(page, ".buy .button-primary")
    await page.wait_for_url("**/checkout*")
    await tab_to(page, "#f-contact")
    await page.keyboard.type("keys@example.com")
    await tab_to(page, "input[name=method]")
    for _press in range(await page.locator("input[name=method]").count()):
        if await page.locator("input[value=sandbox]").is_checked():
            break
        await page.keyboard.press("ArrowDown")
    await press_at(page, "#order-form .button-primary")
    await page.wait_for_url("**/o/V*")
    await press_at(page, ".pay a.button")
    await page.locator("#paid").wait_for()
    await press_at(page, "#paid")
    await page.locator("#back").wait_for()
    await press_at(page, "#back")
    await page.locator(".order-delivered").wait_for()
    await press_at(page, "form[action$='/reveal'] button")
    await page.locator("output.code:not(.code-masked)").wait_for()
    await focused(page, ".code-card")
    await press_at(page, ".code-row vs-copy button")
    await expect(page.locator(".code-row vs-copy button")).to_have_text("已复制")
    await focused(page, ".code-row vs-copy button")
    assert await page.evaluate("navigator.clipboard.readText()") == await page.locator("output.code").inner_text()
    await ended(mine)


async def test_an_act_of_staff_by_keyboard(
    browser: Browser,  # noqa: F811
    shop: str,  # noqa: F811
    stock: Any,  # noqa: F811
    screenshots: Any,  # noqa: F811
    new_buyer: Any,  # noqa: F811
) -> None:
    order = await new_buyer().bought()
    ref = order.removeprefix("/o/")
    await create_admin("keys@example.com", "seven quiet otters 41")
    mine = await phone(browser, shop, screenshots, "keys-desk", **DESK)
    page = mine.page
    await page.goto("/admin/sign-in")
    if not await page.evaluate("document.activeElement.matches('#f-email')"):
        await tab_to(page, "#f-email")
    await page.keyboard.type("keys@example.com")
    await tab_to(page, "#f-password")
    await page.keyboard.type("seven quiet otters 41")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/admin")

    # the search over everything
    await tab_to(page, ".side-link")
    await page.keyboard.press("Control+k")
    await focused(page, "dialog[open] input[type=search]")
    await page.keyboard.press("Escape")
    await focused(page, ".side-link")
    await page.keyboard.press("Control+k")
    await page.keyboard.type(ref)
    await page.locator(f"dialog .found a[href$='{ref}']").first.wait_for()
    await page.keyboard.press("ArrowDown")
    await focused(page, f"dialog .found a[href$='{ref}']")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/admin/orders/{ref}")
    await press_at(page, "form[action$='/resend'] button")
    await page.get_by_text("The message is on its way again.").wait_for()

    # menus open and close, and give the focus back
    await page.goto("/admin/orders")
    for menu in (".top-end .menu > summary", ".list-menus .menu > summary"):
        await press_at(page, menu)
        await expect(page.locator(menu.removesuffix(" > summary")).first).to_have_attribute("open", "")
        await page.keyboard.press("Tab")
        await focused(page, ".menu[open] .menu-body *, .menu[open] .menu-body")
        await page.keyboard.press("Escape")
        await focused(page, menu)
        await expect(page.locator(".menu[open]")).to_have_count(0)
    await page.keyboard.press("Enter")
    await press_at(page, ".menu-body input[name=col]:checked:not([value=ref])", "Space")
    await press_at(page, ".menu-body button")
    await page.wait_for_url("**col=*")
    await press_at(page, ".list-menus .menu > summary")
    await tab_to(page, ".table-frame")
    await expect(page.locator(".menu[open]")).to_have_count(0)
    await press_at(page, ".list-view > summary")
    await tab_to(page, ".list-view #f-name")
    await page.keyboard.press("Escape")
    await focused(page, ".list-view > summary")
    await page.keyboard.press("Enter")
    await tab_to(page, ".list-view #f-name")
    await page.keyboard.type("By keyboard")
    await page.keyboard.press("Enter")
    await page.locator(".tabs a", has_text="By keyboard").wait_for()
    await ended(mine)
