"""A first day: from the set-up link to a delivered test order, each click and field counted; then the opening."""

import re
from typing import Any

import httpx
import pytest

from tests.gateways.running import FakeEpay
from tests.journeys.conftest import DESKTOP, PHONE, MailServer, NewVisitor, Visitor
from tests.journeys.test_first_sale import CODES, SKU, add_product, import_codes, switch_on
from tests.run.conftest import Run

PASSWORD = "seven quiet otters 41"
MOST_ACTIONS = 25


class Counted:
    """A person at a page: whatever they do is one action more."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor, self.page, self.actions = visitor, visitor.page, 0

    def fill(self, field: str, text: str) -> None:
        self.actions += 1
        self.page.fill(field, text)

    def click(self, role: Any, name: str | re.Pattern[str]) -> None:
        self.actions += 1
        self.page.get_by_role(role, name=name).first.click()

    def comes_to(self, address: str) -> None:
        self.page.wait_for_url(re.compile(address))
        self.page.wait_for_load_state()


def make_the_account(person: Counted, link: str) -> None:
    person.page.goto(link)
    person.fill("#f-email", "boss@example.com")
    person.fill("#f-password", PASSWORD)
    person.page.locator("#strength .strength-good").wait_for()
    person.visitor.picture("you")
    person.click("button", "Create my account")
    person.comes_to("/admin/setup/shop$")


def walk_the_steps(person: Counted) -> None:
    person.visitor.picture("shop")
    person.fill("#f-name", "Moonlight Codes")
    person.click("button", "Save and go on")
    person.comes_to("/admin/setup/payments$")
    person.visitor.picture("payments")
    person.click("button", "Go on with the test payment")
    person.comes_to("/admin/setup/messages$")
    person.visitor.picture("messages")
    person.click("button", "Keep mails for now")
    person.comes_to("/admin/setup/try$")
    person.visitor.picture("try")


def buy_and_see_the_code(person: Counted) -> str:
    person.click("link", "Place a test order")
    person.comes_to("/p/")
    person.visitor.picture("product")
    person.click("button", re.compile("Buy now"))
    person.comes_to("/checkout")
    person.fill("input[name=contact]", "boss@example.com")
    person.visitor.picture("counter")
    person.actions += 1
    person.page.locator("main form button[type=submit]").last.click()
    person.comes_to(r"/o/V\w+$")
    ref = person.page.url.rpartition("/")[2]
    person.visitor.picture("order")
    person.actions += 1
    person.page.locator("a[href*='/pay/sandbox/'], form[action*='/pay/sandbox/'] button").first.click()
    person.comes_to("/pay/sandbox/")
    person.visitor.picture("test-gateway")
    person.actions += 1
    person.page.locator("#paid").click()
    person.click("link", re.compile("Back to the order"))
    person.comes_to(rf"/o/{ref}")
    reveal = person.page.locator("form[action$='/reveal'] button").first
    reveal.wait_for()
    person.actions += 1
    reveal.click()
    code = person.page.locator("output.code").first
    code.wait_for()
    person.visitor.picture("code")
    assert code.inner_text().strip().startswith("DEMO-")
    return ref


def on_a_phone(visitor: Visitor, *addresses: str) -> None:
    visitor.page.set_viewport_size({"width": 390, "height": 844})
    for address in addresses:
        visitor.page.goto(address)
        visitor.picture("as-a-phone")
        assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
    visitor.page.set_viewport_size({"width": 1280, "height": 900})


def outsiders(url: str, token: str) -> None:
    """After the first owner, the set-up is closed for everybody else, with the old link and without."""
    form = {"token": token, "email": "thief@example.com", "password": PASSWORD}
    closed = [
        ("GET", "/admin/setup", {}, 410),
        ("GET", f"/admin/setup?token={token}", {}, 410),
        ("POST", "/admin/setup", {**form, "token": ""}, 422),
        ("POST", "/admin/setup", form, 422),
        ("POST", "/admin/setup/strength", form, 410),
    ]
    signs_in = [
        ("POST", "/admin/setup/skip"),
        ("POST", "/admin/setup/end"),
        ("GET", "/admin/setup/shop"),
        ("POST", "/admin/setup/shop"),
        ("GET", "/admin/setup/payments"),
        ("POST", "/admin/setup/payments"),
        ("GET", "/admin/setup/messages"),
        ("POST", "/admin/setup/messages"),
        ("POST", "/admin/setup/messages/on"),
        ("POST", "/admin/setup/messages/settings"),
        ("GET", "/admin/setup/try"),
        ("GET", "/admin/setup/try/order"),
    ]
    with httpx.Client(base_url=url, headers={"origin": url, "accept-language": "en"}) as stranger:
        for method, path, data, status in closed:
            assert stranger.request(method, path, data=data or None).status_code == status, (method, path)
        for method, path in signs_in:
            data = {"token": token, "name": "Mine now", "step": "4"} if method == "POST" else None
            answer = stranger.request(method, path, data=data)
            assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/admin/sign-in"), path


def visitors_wait(url: str, phone: Visitor) -> None:
    phone.page.goto(url)
    phone.picture("coming-soon")
    assert phone.page.get_by_role("heading", level=1).inner_text() == "即将开业"
    with httpx.Client(base_url=url, headers={"origin": url}) as anybody:
        for path in ("/", "/p/starlight-music", "/c/games", "/checkout?sku=DEMO-MUSIC-1M"):
            answer = anybody.get(path)
            assert answer.status_code == 200 and '<meta name="robots" content="noindex">' in answer.text, path
            assert "星光" not in answer.text and "Starlight" not in answer.text
        assert anybody.post("/checkout", data={"sku": "DEMO-MUSIC-1M"}).status_code == 403
        assert [anybody.get(path).status_code for path in ("/healthz", "/readyz", "/lookup")] == [200, 200, 200]
        assert anybody.post("/pay/epay/notify").status_code not in (200, 303, 403)


def test_the_first_day(
    run: Run,
    setup_link: str,
    gateway: FakeEpay,
    mail: MailServer,
    visitor: NewVisitor,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = run.address.rstrip("/")
    boss = visitor("first-day", locale="en-GB", timezone_id="Europe/Berlin", **DESKTOP)
    person, page = Counted(boss), boss.page
    make_the_account(person, setup_link)
    chosen = [page.input_value(f"#f-{name}") for name in ("currency", "timezone", "locale")]
    assert chosen == ["USD", "Europe/Berlin", "en"]
    walk_the_steps(person)
    ref = buy_and_see_the_code(person)
    with capsys.disabled():
        print(f"\n    first test order delivered after {person.actions} actions")
    assert person.actions <= MOST_ACTIONS

    on_a_phone(
        boss, *(f"{url}{path}" for path in ("/", "/admin/setup/shop", "/admin/setup/try", "/admin/health", f"/o/{ref}"))
    )
    outsiders(url, setup_link.partition("token=")[2])
    phone = visitor("first-day-phone", **PHONE)
    visitors_wait(url, phone)

    page.goto(f"{url}/admin")
    boss.picture("dashboard")
    page.get_by_role("link", name="Go on with the set-up").click()
    page.wait_for_url(f"{url}/admin/setup/try")
    page.get_by_text(f"Your test order {ref} was delivered.").wait_for()
    boss.picture("tried")
    page.get_by_role("link", name="What you see as merchant").click()
    page.wait_for_url(f"{url}/admin/orders/{ref}")
    page.goto(f"{url}/admin/setup/try")
    page.get_by_role("button", name="Done: to the dashboard").click()
    page.wait_for_url(f"{url}/admin")

    page.goto(f"{url}/admin/go-live")
    boss.picture("go-live-blocked")
    assert page.locator(".checks-title").all_inner_texts()[:2] == ["Nothing to sell", "No way to be paid"]
    assert page.get_by_role("button", name="Open the shop now").count() == 0

    page.goto(f"{url}/admin/settings")
    page.select_option("#f-currency", "CNY") if page.locator("select#f-currency").count() else page.fill(
        "#f-currency", "CNY"
    )
    page.get_by_role("button", name="Save shop").click()
    page.wait_for_load_state()
    add_product(boss, url)
    import_codes(boss, url)
    switch_on(boss, url, "payments.epay", set_gateway=gateway.address, set_pid=gateway.pid, secret_key=gateway.key)
    page.goto(f"{url}/admin/setup/messages")
    page.get_by_role("button", name="Set up mail").click()
    page.fill("#f-set_host", "127.0.0.1")
    page.fill("#f-set_port", str(mail.port))
    page.select_option("#f-set_security", "none")
    page.fill("#f-set_from_address", "shop@example.com")
    page.get_by_role("button", name="Send me a test").click()
    page.locator("#check .notice-success").wait_for()
    boss.picture("mail-tested")
    assert mail.mail_to("boss@example.com")["Subject"] == "A test mail"
    page.get_by_role("button", name="Save and go on").last.click()
    page.wait_for_url(f"{url}/admin")
    page.goto(f"{url}/admin/health")
    boss.picture("health")
    page.get_by_role("button", name="I keep a copy elsewhere").click()
    page.wait_for_load_state()

    page.goto(f"{url}/admin/go-live")
    boss.picture("go-live-ready")
    assert "Nothing to sell" not in page.content() and "No way to be paid" not in page.content()
    assert page.is_checked("#f-clean")
    page.get_by_role("button", name="Open the shop now").click()
    page.get_by_text("Your shop is open. Good luck!").wait_for()
    assert page.goto(f"{url}/admin/orders/{ref}").status == 404

    phone.page.goto(url)
    phone.picture("open")
    names = phone.page.locator("main a[href^='/p/']").all_inner_texts()
    assert any("第一张卡" in name for name in names) and not any("星光" in name for name in names)
    page.goto(f"{url}/admin/stock")
    row = page.get_by_role("row").filter(has_text=SKU).first
    assert row.get_by_role("cell").nth(2).inner_text() == str(len(CODES))
    assert [text for text in boss.complaints if "404" not in text] == []
    assert [text for text in phone.complaints if "404" not in text] == []
