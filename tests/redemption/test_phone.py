"""The till on a 390 px phone in Chromium, with and without JavaScript, typed and scanned; and a sheet on paper."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from core import db
from tests import console
from tests.browsers import chromium
from tests.redemption.own import a_code, own_batch, texts, voucher

A_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
# Chromium on Linux has no BarcodeDetector; phones do. This one sees the code in the third picture.
DETECTOR = """
window.seen = 0;
window.BarcodeDetector = class {
  constructor(options) { window.formats = options.formats; }
  async detect(source) {
    if (!(source instanceof HTMLVideoElement) || !source.videoWidth) return [];
    window.seen += 1;
    return window.seen < 3 ? [] : [{ rawValue: "%s" }];
  }
};
"""


@pytest.fixture(scope="module")
async def address(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    async with chromium(*A_CAMERA) as running:
        yield running


class Phone:
    def __init__(self, page: Page, name: str) -> None:
        self.page, self.name = page, name
        self.complaints: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: Any) -> None:
        # a refused code is an answer with status 422, which Chromium calls an error
        if message.type in ("error", "warning") and "status of 422" not in message.text:
            self.complaints.append(message.text)

    async def shot(self, what: str) -> None:
        await self.page.wait_for_load_state()
        assert await self.page.evaluate("document.documentElement.scrollWidth") == 390, f"{what} sticks out"
        await self.page.screenshot(
            path=str(SCREENSHOTS / f"till-{self.name}-{what}.png"), full_page=True, caret="initial"
        )


async def phone(browser: Browser, address: str, name: str, role: str = "support", **options: Any) -> Phone:
    token = await db.transaction(console._session, role)
    context = await browser.new_context(
        **{
            "base_url": address,
            "locale": "zh-CN",
            "viewport": {"width": 390, "height": 844},
            "is_mobile": True,
            "has_touch": True,
            **options,
        }
    )
    context.set_default_timeout(20_000)
    await context.add_cookies([{"name": "vs", "value": token, "url": address}])
    return Phone(await context.new_page(), name)


@pytest.mark.parametrize(
    ("language", "colours", "scripts"), [("zh-CN", "light", True), ("en-US", "dark", True), ("en-US", "light", False)]
)
async def test_typing_looking_redeeming(
    browser: Browser, address: str, language: str, colours: str, scripts: bool
) -> None:
    name = f"{language[:2]}-{colours}-{'js' if scripts else 'nojs'}"
    mine = await phone(browser, address, name, locale=language, color_scheme=colours, java_script_enabled=scripts)
    page, code = mine.page, await a_code(face_value=5000)
    await page.goto("/admin/redeem")
    await mine.shot("empty")
    await expect(page.locator("vs-scan button")).to_be_hidden()
    await page.locator("#f-code").fill(code.lower().replace("-", " "))
    await page.locator("#f-place").fill("Kiosk")
    await page.locator("form[action$='/look'] button[type=submit]").click()
    await page.locator(".till-good").wait_for()
    await mine.shot("good")
    await page.locator("#f-amount").fill("12.5")
    await page.locator("form[action$='/redeem'] button").click()
    await page.wait_for_url("**/admin/redeem/*")
    await mine.shot("redeemed")
    assert (await voucher(code))["balance"] == 3750
    await page.reload()
    assert (await voucher(code))["balance"] == 3750
    assert code not in await page.content()
    await page.locator("#f-code").fill(code[:-1] + "U")
    await page.locator("#f-code").press("Enter")
    await page.locator(".till-bad").wait_for()
    await mine.shot("mistyped")
    assert mine.complaints == []
    await page.context.close()


async def test_scanning(browser: Browser, address: str) -> None:
    mine = await phone(browser, address, "scan")
    page, code = mine.page, await a_code()
    await page.add_init_script(DETECTOR % code)
    await page.goto("/admin/redeem")
    await page.locator("vs-scan button").click()
    await page.locator("vs-scan video").wait_for()
    await page.locator(".till-good").wait_for()
    await page.locator("form[action$='/redeem'] button").click()
    await page.wait_for_url("**/admin/redeem/*")
    assert (await voucher(code))["balance"] == 0
    assert mine.complaints == []
    await page.context.close()


async def test_a_camera_that_is_refused_leaves_the_keyboard(browser: Browser, address: str) -> None:
    mine = await phone(browser, address, "no-camera")
    page = mine.page
    await page.add_init_script(DETECTOR % "x")
    await page.add_init_script("navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('no'))")
    await page.goto("/admin/redeem")
    await page.locator("vs-scan button").click()
    await expect(page.locator("vs-scan p")).to_have_text("无法使用摄像头，请手动输入券码。")
    await expect(page.locator("vs-scan button")).to_be_visible()
    assert mine.complaints == []
    await page.context.close()


async def test_a_sheet_fits_its_paper(browser: Browser, address: str) -> None:
    batch_id = await own_batch(12, face_value=10_000, prefix="GIFT")
    mine = await phone(browser, address, "sheet", role="owner")
    page = mine.page
    await page.goto(f"/admin/own-codes/{batch_id}")
    await mine.shot("batch")
    await page.locator("#f-reason").fill("opening day")
    await page.locator("form[action$='/sheet'] button[type=submit]").click()
    await page.locator(".voucher").first.wait_for()
    assert await page.locator(".voucher .code").all_inner_texts() == await texts(batch_id)
    await page.screenshot(path=str(SCREENSHOTS / "till-sheet-screen.png"), caret="initial")
    paper = await page.pdf(prefer_css_page_size=True, print_background=True)
    (SCREENSHOTS / "till-sheet.pdf").write_bytes(paper)
    assert paper.count(b"/Type /Page\n") == 2, "ten on a page"
    await page.emulate_media(media="print")
    await page.set_viewport_size({"width": 794, "height": 1123})
    boxes = [await one.bounding_box() for one in await page.locator(".voucher").all()]
    assert {(round(box["width"]), round(box["height"])) for box in boxes if box} == {(359, 208)}  # 95 × 55 mm
    for words in await page.locator(".words").all():
        assert await words.evaluate("one => one.scrollWidth <= one.clientWidth && one.scrollHeight <= 208")
    await page.screenshot(path=str(SCREENSHOTS / "till-sheet-print.png"), full_page=True, caret="initial")
    assert mine.complaints == []
    await page.context.close()
