"""The doors of the console in Chromium: passkeys with its virtual authenticator, and everything by keyboard."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, CDPSession, Page

from core import db
from tests.browsers import chromium

from .conftest import PASSWORD

AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest.fixture
async def page(browser: Browser, boss: int, address: str) -> AsyncIterator[Page]:
    context = await browser.new_context(base_url=address.replace("127.0.0.1", "localhost"), locale="en-US")
    page = await context.new_page()
    page.complaints = []
    page.on("console", lambda line: page.complaints.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    yield page
    await context.close()


async def sign_in(page: Page) -> None:
    await page.goto("/admin/sign-in")
    await page.get_by_label("E-mail", exact=True).fill("boss@example.com")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.wait_for_url("**/admin")


async def an_hour_later() -> None:
    await db.execute("UPDATE people_session SET confirmed_at = now() - interval '1 hour'")


async def device_for(page: Page) -> tuple[CDPSession, str]:
    device = await page.context.new_cdp_session(page)
    await device.send("WebAuthn.enable")
    answer = await device.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    return device, answer["authenticatorId"]


async def test_a_passkey_is_added_signs_in_and_confirms(page: Page):
    device, name = await device_for(page)
    await sign_in(page)
    await page.goto("/admin/account")
    await page.get_by_label("Name of the new passkey").fill("This laptop")
    await page.get_by_role("button", name="Add a passkey").click()
    await page.get_by_text("Your passkey is ready.").wait_for()
    assert await page.get_by_role("cell", name="This laptop").count() == 1
    await page.get_by_role("button", name="Sign out", exact=True).click()
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await page.wait_for_url("**/admin")
    await an_hour_later()
    await page.goto("/admin/staff")
    await page.get_by_label("E-mail", exact=True).fill("new@example.com")
    await page.get_by_role("button", name="Make an invitation link").click()
    await page.get_by_role("heading", name="Please confirm that it is you").wait_for()
    await page.get_by_role("button", name="Use a passkey").click()
    await page.get_by_text("Send this link to the person. It works once.").wait_for()
    assert await db.fetchval("SELECT count(*) FROM people_staff WHERE email = 'new@example.com'") == 1
    kept = await device.send("WebAuthn.getCredentials", {"authenticatorId": name})
    stored = await db.fetchval("SELECT sign_count FROM people_passkey")
    assert [key["signCount"] for key in kept["credentials"]] == [stored]
    asked = "Failed to load resource: the server responded with a status of 403 (Forbidden)"
    assert [line for line in page.complaints if line != asked] == []


async def test_a_device_that_refuses_is_told_and_the_password_still_works(page: Page):
    device, name = await device_for(page)
    await device.send("WebAuthn.setUserVerified", {"authenticatorId": name, "isUserVerified": False})
    await page.goto("/admin/sign-in")
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await page.get_by_text("The device gave no passkey. You can try again.").wait_for()
    await sign_in(page)


async def test_a_dangerous_act_of_htmx_gets_the_page_that_asks(page: Page):
    """The Test button of a plugin swaps a part of the page; the question takes the whole."""
    await sign_in(page)
    await page.goto("/admin/plugins/notifiers.smtp")
    await page.get_by_role("button", name="Switch on").click()
    await page.get_by_label("Mail server").wait_for()
    await an_hour_later()
    await page.get_by_label("Mail server").fill("127.0.0.1")
    await page.get_by_label("Sender address").fill("shop@example.com")
    await page.get_by_role("button", name="Test", exact=True).click()
    await page.get_by_role("heading", name="Please confirm that it is you").wait_for()
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Confirm").click()
    await page.locator("#check .notice").wait_for()
    assert await page.get_by_label("Mail server").input_value() == "127.0.0.1"


async def tab_to(page: Page, text: str, most: int = 80) -> None:
    """Press Tab until what has the focus says ``text``; each stop on the way must be visible and marked."""
    for _press in range(most):
        await page.keyboard.press("Tab")
        found = await page.evaluate(
            """() => {
                const here = document.activeElement, box = here.getBoundingClientRect(), look = getComputedStyle(here);
                const marked = look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 2;
                return {tag: here.tagName, text: (here.labels?.[0] || here).textContent.trim(), width: box.width,
                        seen: box.bottom > 0 && box.top < innerHeight, marked: marked || look.boxShadow !== "none"};
            }"""
        )
        assert found["tag"] != "BODY", text
        assert found["seen"] and found["marked"] and found["width"] > 0, found
        if text == found["text"]:
            return
    raise AssertionError(f"no way to {text} by keyboard")


async def test_the_console_is_usable_by_keyboard_alone(page: Page):
    await page.goto("/admin/sign-in")
    await page.keyboard.type("boss@example.com")
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/admin")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.className") == "skip-link"
    assert await page.locator(".skip-link").is_visible()
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "main"
    await page.goto("/admin")
    await tab_to(page, "Staff")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/admin/staff")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await tab_to(page, "Change")
    await page.keyboard.press("Enter")
    await tab_to(page, "Make a link for a new password")
    await page.keyboard.press("Enter")
    await page.get_by_text("Send this link to the person. It works once.").wait_for()
    assert await db.fetchval("SELECT count(*) FROM people_link WHERE purpose = 'reset'") == 1


async def test_a_menu_closes_with_escape_and_gives_the_focus_back(page: Page):
    await sign_in(page)
    await page.locator("summary.menu-button").focus()
    await page.keyboard.press("Enter")
    assert await page.locator("details.menu").get_attribute("open") is not None
    await tab_to(page, "English")
    await page.keyboard.press("Escape")
    assert await page.locator("details.menu").get_attribute("open") is None
    assert await page.evaluate("document.activeElement.tagName") == "SUMMARY"
