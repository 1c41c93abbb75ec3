"""One of every page there is, in a shop whose every text tries to be more than text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import axe_playwright_python
import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, Page

from core import db
from core.checkout.settle import settle
from core.ids import new_token, token_hash
from core.people import contact_proof
from core.shops import service as shops
from tests import console, stocked
from tests.browsers import chromium
from tests.console import test_shops as every

# With what a page says of its few colours kept: axe would read each of them anew for every word on it.
AXE = (
    (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
    + """;(() => {
    const colour = axe.commons.color.Color.prototype, parse = colour.parseString, known = new Map();
    colour.parseString = function (text) {
        if (!known.has(text)) {
            const { r, g, b, alpha } = parse.call(this, text);
            known.set(text, { r, g, b, alpha });
        }
        return Object.assign(this, known.get(text));
    };
})()"""
)
HOSTILE = "\"><img src=x onerror='hacked=1'><script>hacked=1</script>"
LONG = "codes_2026_11_24_of_our_supplier_premium_12_months_final.txt"
"""One word that is wider than a phone, as names of files are."""
BUYERS = ("anyone", "buyer")

AS_IT_STANDS = {
    "preparing": "fulfilment_state = 'preparing', delivered_at = NULL",
    "held": "fulfilment_state = 'review', held = true, delivered_at = NULL",
    "refunded": "payment_state = 'refunded', fulfilment_state = 'void'",
}
"""How a paid order becomes one that waits, one that a person looks at, and one that is over."""

# What people type, wherever a row has it.
TEXTS = """
UPDATE shops_shop SET name = $1 WHERE id = 1;
UPDATE catalog_product SET title = $2, summary = $2, description = $2, delivery_note = $2 WHERE shop_id = 1;
UPDATE catalog_sku SET title = $2 WHERE shop_id = 1;
UPDATE catalog_category SET title = $2 WHERE shop_id = 1;
UPDATE orders_line SET product_title = $2, sku_title = $2, delivery_note = $2;
UPDATE people_staff SET name = $1;
UPDATE audit_alarm SET subject = $1, reason = $1;
UPDATE messages_message SET subject = $1;
UPDATE payments_refund SET note = $1;
UPDATE review_item SET reason = $1;
UPDATE vault_hold SET reason = $1;
UPDATE partners_partner SET name = $1;
UPDATE people_api_key SET name = $1;
UPDATE promotions_coupon SET name = $1;
UPDATE notifiers_webhook_endpoint SET note = $1;
UPDATE risk_network_entry SET note = $1;
UPDATE risk_network_list SET name = $1;
UPDATE supply_offer SET title = $1, category = $1, description = $1
"""


@pytest.fixture(scope="module")
async def address(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        yield address


objects = every.objects
routes = every.routes


@dataclass(frozen=True)
class Sights:
    """The addresses that show a page, and the cookies with which they do."""

    origin: str
    staff: list[str]
    buyer: list[str]
    cookies: dict[str, str]


@pytest.fixture(scope="module")
async def sights(address: str, objects: dict[str, object], routes: list[tuple[str, str, dict]]) -> Sights:
    cookies = {"staff": await every.cookie_of(1, "owner"), "buyer": new_token()}
    orders = await _orders(cookies["buyer"])
    await _hostile()
    staff = {path: every.filled(path, objects) for method, path, opt in routes if method == "GET" and _is_staff(opt)}
    buyer = {path: every.filled(path, objects) for method, path, opt in routes if method == "GET" and _is_buyer(opt)}
    buyer.update({f"/o/ {state}": f"/o/{ref}" for state, ref in orders.items()})
    buyer["search"] = "/?q=Product"
    staff.update({"plugin": "/admin/plugins/payments.epay", "found": "/admin/search?q=buyer@example.com"})
    buyer["nothing found"] = "/?q=nothing-of-that-kind"
    return Sights(
        address,
        await _pages(address, staff, cookies["staff"]),
        await _pages(address, buyer, cookies["buyer"]),
        cookies,
    )


def _is_staff(opt: dict) -> bool:
    return str(opt["who"]).startswith("staff:")


def _is_buyer(opt: dict) -> bool:
    return opt["who"] in BUYERS


async def _orders(token: str) -> dict[str, str]:
    """An order in each state a buyer may meet."""
    who = stocked.buyer("buyer@example.com", session=token)
    refs = {}
    for state in ("unpaid", "delivered", "expired", "partly paid", *AS_IT_STANDS):
        placed = await stocked.order(await stocked.sku(3), who=who)
        refs[state] = placed.ref
        if state not in ("unpaid", "expired"):
            claim = stocked.paid(placed, 990 if state == "partly paid" else 1990)
            await settle("epay", claim, "callback")
    await db.execute("UPDATE orders_order SET expires_at = now() - interval '1 hour' WHERE ref = $1", refs["expired"])
    for state, change in AS_IT_STANDS.items():
        await db.execute(f"UPDATE orders_order SET {change} WHERE ref = $1", refs[state])
    link = await contact_proof.new_link(1, "buyer@example.com")
    await db.transaction(contact_proof.prove, 1, link, token_hash(token))
    return refs


async def _hostile() -> None:
    for statement in TEXTS.strip().split(";\n"):
        one = HOSTILE if "$1" in statement else {"en": HOSTILE, "zh-CN": HOSTILE}
        await db.execute(statement.replace("$2", "$1"), one)
    await db.execute("UPDATE vault_import SET filename = $1", LONG)
    await db.execute("UPDATE vault_batch SET name = $1", LONG)
    await db.execute("UPDATE orders_line SET product_title = $1", {"en": LONG, "zh-CN": LONG})
    settings = {"announcement": {"en": HOSTILE, "zh-CN": HOSTILE}, "footer": {"en": HOSTILE, "zh-CN": HOSTILE}}
    await db.execute("UPDATE shops_shop SET settings = settings || $1, revision = revision + 1", settings)
    shops.forget()


async def _pages(address: str, paths: dict[str, str], cookie: str) -> list[str]:
    """Those that answer with a page; what fails is a fault of its own."""
    found, broken = [], []
    async with httpx.AsyncClient(base_url=address, timeout=30, cookies={"vs": cookie}) as http:
        for path in sorted(set(paths.values())):
            if path.endswith("/events"):
                continue  # it never ends
            answer = await http.get(path, headers={"accept-language": "en"})
            if answer.status_code >= 500:
                broken.append((path, answer.status_code))
            if answer.status_code == 200 and "</html>" in answer.text:
                found.append(path)
    assert broken == []
    return found


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@dataclass
class Eye:
    """A browser window, and every complaint it heard."""

    context: BrowserContext
    page: Page
    origin: str
    heard: list[str] = field(default_factory=list)

    async def open(self, path: str) -> None:
        self.heard.clear()
        await self.page.goto(self.origin + path, wait_until="load")


async def open_eye(
    browser: Browser, sights: Sights, who: str, *, language: str = "en", colours: str = "light", width: int = 1280
) -> Eye:
    context = await browser.new_context(
        locale=language, color_scheme=colours, viewport={"width": width, "height": 900}, reduced_motion="reduce"
    )
    await context.add_cookies([{"name": "vs", "value": sights.cookies[who], "url": sights.origin}])
    eye = Eye(context, await context.new_page(), sights.origin)
    eye.page.on("console", lambda said: eye.heard.append(said.text) if said.type in ("error", "warning") else None)
    eye.page.on("pageerror", lambda error: eye.heard.append(str(error)))
    eye.page.on("dialog", lambda dialog: eye.heard.append(f"dialog {dialog.message}"))
    return eye
