"""Several things in one order, one of them a gift: on a phone, and on a desktop without JavaScript."""

from typing import Any

import pytest
from playwright.async_api import Browser, expect

from core import db
from tests.storefront.buyer import CODE
from tests.storefront.conftest import chromium, screenshots, shop, stock  # noqa: F401
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
