"""In a real browser: nothing the content policy forbids, and everything without JavaScript too."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Dialog, Page

from core import db
from tests.browsers import chromium

from .conftest import staff_cookie


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


async def open_page(browser: Browser, site: str, *, staff: bool = False, **options) -> tuple[Page, list[str]]:
    """A page and the list its complaints go into."""
    context = await browser.new_context(base_url=site, **{"locale": "en-US", **options})
    if staff:
        await context.add_cookies([{"name": "vs", "value": await staff_cookie(), "url": site}])
    page = await context.new_page()
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page, complaints


@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_nothing_forbidden_and_nothing_broken(browser: Browser, site: str, colours: str):
    page, complaints = await open_page(browser, site, staff=True, color_scheme=colours)
    for path in ("/sample/style", "/sample", "/sample/form", "/admin/sample/style", "/admin/sample"):
        await page.goto(path)
        assert complaints == [], path
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    await page.context.close()


async def test_nothing_sticks_out_on_a_phone(browser: Browser, site: str):
    phone = {"viewport": {"width": 390, "height": 844}}
    for path, staff in (("/sample/style", False), ("/sample/form", False), ("/admin/sample/style", True)):
        page, _complaints = await open_page(browser, site, staff=staff, **phone)
        await page.goto(path)
        assert await page.evaluate("document.documentElement.scrollWidth") == 390, path
        small = await page.eval_on_selector_all(
            "button, summary, .shop-nav-link, .side-link",
            "all => all.filter(e => e.offsetParent && e.getBoundingClientRect().height < 24).map(e => e.outerHTML)",
        )
        assert small == []
        await page.context.close()


@pytest.mark.parametrize("scripts", [True, False])
async def test_language_and_colours_with_and_without_scripts(browser: Browser, site: str, scripts: bool):
    page, complaints = await open_page(browser, site, java_script_enabled=scripts, color_scheme="light")
    await page.goto("/sample/form")
    await page.locator("summary.menu-button").click()
    await page.get_by_role("button", name="Dark").click()
    await page.wait_for_url("**/sample/form")
    assert await page.locator("html").get_attribute("data-theme") == "dark"
    await page.locator("summary.menu-button").click()
    await page.get_by_role("button", name="简体中文").click()
    await page.wait_for_url("**/sample/form")
    assert await page.locator("html").get_attribute("lang") == "zh-CN"
    assert await page.locator("html").get_attribute("data-theme") == "dark"
    background = await page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor") if scripts else None
    assert background in (None, "rgb(19, 20, 18)")
    assert complaints == []
    await page.context.close()


@pytest.mark.parametrize("scripts", [True, False])
async def test_a_form_with_a_mistake_and_then_without(browser: Browser, site: str, scripts: bool):
    page, _complaints = await open_page(browser, site, java_script_enabled=scripts)
    before = await db.fetchval("SELECT count(*) FROM sample_order")
    await page.goto("/sample/form")
    await page.get_by_label("Product", exact=True).fill("card")
    await page.get_by_label("Quantity").fill("11")
    await page.get_by_role("button", name="Save").click()
    await page.locator("#e-quantity").wait_for()
    assert await page.get_by_label("Product", exact=True).input_value() == "card"
    assert await db.fetchval("SELECT count(*) FROM sample_order") == before
    await page.get_by_label("Quantity").fill("2")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_text("Saved").wait_for()
    assert await db.fetchval("SELECT count(*) FROM sample_order") == before + 1
    await page.context.close()


async def test_what_was_typed_is_not_left_without_a_question(browser: Browser, site: str):
    page, _complaints = await open_page(browser, site, staff=True)
    asked: list[str] = []

    async def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        await dialog.dismiss()

    page.on("dialog", stay)
    before = await db.fetchval("SELECT count(*) FROM sample_order")
    await page.goto("/admin/sample")
    await page.get_by_role("button", name="Send").click()
    await page.get_by_text("Saved").wait_for()
    assert asked == []
    await page.get_by_label("Name").fill("half a text")
    await page.get_by_role("button", name="Send").click()
    await page.wait_for_function("document.readyState === 'complete'")
    assert asked == ["beforeunload"] and await page.get_by_label("Name").input_value() == "half a text"
    assert await db.fetchval("SELECT count(*) FROM sample_order") == before + 1
    async with page.expect_navigation():
        await page.get_by_role("button", name="Save").click()
    assert asked == ["beforeunload"]
    assert await db.fetchval("SELECT count(*) FROM sample_order") == before + 2
    await page.context.close()


async def test_copying_says_so(browser: Browser, site: str):
    page, complaints = await open_page(browser, site, permissions=["clipboard-read", "clipboard-write"])
    await page.goto("/sample/style")
    await page.locator("vs-copy button").click()
    await page.locator("vs-copy button", has_text="Copied").wait_for()
    assert await page.evaluate("navigator.clipboard.readText()") == "X7KQ9-M2NPL-8RT4V"
    assert complaints == []
    await page.context.close()


async def test_without_scripts_the_copy_button_is_not_there(browser: Browser, site: str):
    page, _complaints = await open_page(browser, site, java_script_enabled=False)
    await page.goto("/sample/style")
    assert not await page.locator("vs-copy button").is_visible()
    await page.context.close()


async def test_an_error_goes_to_the_corner_and_the_page_stays(browser: Browser, site: str):
    page, _complaints = await open_page(browser, site)
    await page.goto("/sample/hx")
    await page.get_by_role("button", name="Break it").click()
    await page.locator("#toasts .toast-error").wait_for()
    assert await page.locator("#result").inner_text() == "as it was"
    await page.get_by_role("button", name="Get it").click()
    await page.locator("#result #part").wait_for()
    await page.get_by_role("button", name="Toast it").click()
    await page.locator("#toasts .toast-success", has_text="Saved").wait_for()
    await page.context.close()


async def test_what_gets_no_answer_is_told(browser: Browser, site: str):
    page, _complaints = await open_page(browser, site)
    await page.goto("/sample/hx")
    await page.context.set_offline(True)
    await page.get_by_role("button", name="Get it").click()
    await page.locator("#toasts .toast-error", has_text="The shop cannot be reached.").wait_for()
    assert await page.locator("#result").inner_text() == "as it was"
    await page.context.close()


async def test_codes_hide_themselves(browser: Browser, site: str):
    page, complaints = await open_page(browser, site)
    await page.goto("/sample/remask")
    assert await page.locator("#secret").inner_text() == "SECRET"
    await page.locator("#secret").wait_for(state="detached")
    await page.wait_for_url("**/sample")
    assert complaints == []
    await page.context.close()


async def test_no_browser_storage_is_used(browser: Browser, site: str):
    page, _complaints = await open_page(browser, site)
    for path in ("/sample/style", "/sample/form", "/sample/style"):
        await page.goto(path)
    assert await page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    await page.context.close()
