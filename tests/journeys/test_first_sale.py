"""From the set-up link to a code in a buyer's hand: a merchant at a desk, a buyer with a phone, everything real."""

import re

from tests.gateways.running import FakeEpay
from tests.journeys.conftest import DESKTOP, PHONE, MailServer, NewVisitor, Visitor
from tests.run.conftest import Run

PASSWORD = "seven quiet otters 41"
CODES = [f"FIRST-SALE-{number:03d}-{number * 7919 % 10_000:04d}" for number in range(1, 21)]
SKU = "FIRST-MONTH"


def save_and_wait(visitor: Visitor, button: str) -> None:
    visitor.page.get_by_role("button", name=button, exact=True).click()
    visitor.page.wait_for_load_state()


def set_up(visitor: Visitor, link: str) -> None:
    page = visitor.page
    page.goto(link)
    visitor.picture("setup")
    page.fill("#f-email", "boss@example.com")
    page.fill("#f-password", PASSWORD)
    # asked after the account is there, with the old key, it would be refused
    page.locator("#strength .strength-good").wait_for()
    page.get_by_role("button", name="Create my account").click()
    page.wait_for_url(re.compile("/admin(/setup/shop)?$"))
    page.goto(f"{link.partition('/admin/')[0]}/admin")
    visitor.picture("dashboard")
    let_visitors_in(visitor, link.partition("/admin/")[0])


def let_visitors_in(visitor: Visitor, url: str) -> None:
    """Before the shop is opened, nobody but staff sees it."""
    visitor.page.goto(f"{url}/admin/settings")
    opening = visitor.page.locator("#opening")
    opening.locator("summary").filter(has_text="Let visitors in already").click()
    opening.get_by_role("button", name="Let visitors in already").click()
    visitor.page.get_by_text("Everybody sees the shop.").wait_for()


def add_product(visitor: Visitor, url: str) -> None:
    page = visitor.page
    page.goto(f"{url}/admin/products/new")
    visitor.picture("new-product")
    page.fill("#f-title_zh", "第一张卡")
    page.fill("#f-title_en", "The first card")
    page.fill("#f-note_zh", "打开应用，粘贴卡密。")
    page.select_option("#f-state", "listed")
    page.get_by_role("button", name="Add the product").click()
    page.wait_for_url(re.compile(r"/admin/products/\d+$"))
    page.fill("#f-title_zh >> nth=0", "月卡")
    page.fill("#f-code", SKU)
    page.fill("#f-price", "19.90")
    page.get_by_role("button", name="Add SKU").click()
    page.wait_for_load_state()
    visitor.picture("product")


def import_codes(visitor: Visitor, url: str) -> None:
    page = visitor.page
    page.goto(f"{url}/admin/stock/import?sku={SKU}")
    content = "code\n" + "\n".join([*CODES, CODES[0]]) + "\n"
    page.set_input_files("#f-file", {"name": "codes.csv", "mimeType": "text/csv", "buffer": content.encode()})
    visitor.picture("import")
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url(re.compile(r"/admin/stock/imports/\d+$"))
    visitor.picture("import-preview")
    assert CODES[0] not in page.content()
    page.get_by_role("button", name="Check the file").click()
    page.wait_for_selector("text=What was found", timeout=30_000)
    visitor.picture("import-checked")
    page.get_by_role("button", name="Import 20 codes").click()
    page.wait_for_selector("text=20 codes are in stock", timeout=30_000)
    visitor.picture("import-done")
    page.goto(f"{url}/admin/stock")
    row = page.get_by_role("row").filter(has_text=SKU).first
    assert row.get_by_role("cell").nth(2).inner_text() == "20"
    visitor.picture("stock")


def switch_on(visitor: Visitor, url: str, plugin: str, **settings: str) -> None:
    page = visitor.page
    page.goto(f"{url}/admin/plugins/{plugin}")
    page.get_by_role("button", name="Switch on").click()
    page.wait_for_selector("#settings")
    for name, value in settings.items():
        field = page.locator(f"#f-{name}")
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    page.get_by_role("button", name="Test", exact=True).click()
    page.wait_for_selector("#check .notice-success")
    visitor.picture(f"{plugin}-tested")
    save_and_wait(visitor, "Save")
    assert page.locator(".badge", has_text="Active").count() >= 1
    visitor.picture(plugin)


def buy(visitor: Visitor, url: str, gateway: FakeEpay, contact: str) -> str:
    """Through the shop to the gateway, pay there, and come back; gives the order's ref."""
    page = visitor.page
    page.goto(url)
    visitor.picture("home")
    page.get_by_role("link", name="第一张卡").first.click()
    page.wait_for_load_state()
    visitor.picture("product")
    page.get_by_role("button", name="立即购买").click()
    page.wait_for_url(re.compile("/checkout"))
    page.fill("input[name=contact]", contact)
    page.locator("input[name=method][value='epay:alipay']").check(force=True)
    visitor.picture("counter")
    page.locator("main form button[type=submit]").last.click()
    page.wait_for_url(re.compile(r"/o/V\w+$"))
    ref = page.url.rpartition("/")[2]
    visitor.picture("unpaid")
    page.locator(f"a[href^='{gateway.address}'], form[action^='{gateway.address}'] button").first.click()
    page.wait_for_url(re.compile("cashier"))
    visitor.picture("gateway")
    page.get_by_role("button").first.click()
    page.wait_for_url(re.compile(rf"/o/{ref}$"))
    return ref


def reveal(visitor: Visitor, ref: str) -> str:
    page = visitor.page
    page.wait_for_selector("form[action$='/reveal'] button")
    visitor.picture("delivered-masked")
    assert not any(code in page.content() for code in CODES)
    page.locator("form[action$='/reveal'] button").first.click()
    shown = page.locator("output.code").first
    shown.wait_for()
    visitor.picture("revealed")
    return shown.inner_text().strip()


def test_the_first_sale(run: Run, setup_link: str, gateway: FakeEpay, mail: MailServer, visitor: NewVisitor) -> None:
    url = run.address.rstrip("/")
    boss = visitor("admin", locale="en-GB", **DESKTOP)
    set_up(boss, setup_link)
    add_product(boss, url)
    import_codes(boss, url)
    switch_on(boss, url, "payments.epay", set_gateway=gateway.address, set_pid=gateway.pid, secret_key=gateway.key)
    switch_on(
        boss,
        url,
        "notifiers.smtp",
        set_host="127.0.0.1",
        set_port=str(mail.port),
        set_security="none",
        set_from_address="shop@example.com",
    )

    phone = visitor("phone", **PHONE)
    ref = buy(phone, url, gateway, "buyer@example.com")
    code = reveal(phone, ref)
    assert code in CODES
    assert phone.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])") == "[{},{}]"
    assert phone.complaints == []

    letter = mail.mail_to("buyer@example.com")
    body = letter.get_body(("plain",)).get_content()
    link = re.search(rf"{re.escape(url)}/o/{ref}\?k=[\w-]+", body)
    assert link, body
    assert not any(code in letter.as_string() for code in CODES)

    stranger = visitor("stranger", **PHONE)
    stranger.page.goto(f"{url}/o/{ref}")
    assert code not in stranger.page.content()
    assert stranger.page.locator("form[action$='/reveal']").count() == 0
    stranger.page.goto(link[0])
    stranger.page.wait_for_url(f"{url}/o/{ref}")
    assert reveal(stranger, ref) == code

    boss.page.goto(f"{url}/admin/orders")
    boss.picture("orders")
    boss.page.get_by_role("link", name=ref).click()
    boss.page.wait_for_selector(".timeline")
    boss.picture("order")
    steps = boss.page.locator(".timeline-title").all_inner_texts()
    for step in ("Order placed, codes reserved", "Payment settled", "Codes delivered", "Codes shown to the buyer"):
        assert step in steps
    assert steps.index("Payment settled") < steps.index("Codes delivered") < steps.index("Codes shown to the buyer")
    boss.page.goto(f"{url}/admin/messages")
    boss.picture("messages")
    assert boss.page.get_by_text("buyer@example.com").count() >= 1
    for name in (
        "payments",
        "review",
        "alarms",
        "audit",
        "settings",
        "staff",
        "account",
        "jobs",
        "plugins",
        "categories",
    ):
        assert boss.page.goto(f"{url}/admin/{name}").status == 200
        boss.picture(name)
    assert boss.complaints == []


def test_the_same_purchase_without_javascript(run: Run, gateway: FakeEpay, visitor: NewVisitor) -> None:
    url = run.address.rstrip("/")
    plain = visitor("nojs", java_script_enabled=False, **PHONE)
    ref = buy(plain, url, gateway, "plain@example.com")
    assert reveal(plain, ref) in CODES
    assert plain.complaints == []


def test_the_same_purchase_in_english_at_a_desk_in_the_dark(run: Run, gateway: FakeEpay, visitor: NewVisitor) -> None:
    url = run.address.rstrip("/")
    desk = visitor("dark", color_scheme="dark", **DESKTOP)
    ref = buy(desk, url, gateway, "desk@example.com")
    assert reveal(desk, ref) in CODES
    assert desk.complaints == []
