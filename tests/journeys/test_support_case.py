"""A code does not work: the buyer asks for help on a phone, support finds the order and replaces it; it is solved."""

import os
import re
import subprocess
import sys
from email.message import EmailMessage

from core import engine_place
from tests.conftest import ROOT
from tests.gateways.running import FakeEpay
from tests.journeys.conftest import DESKTOP, PHONE, MailServer, NewVisitor, Visitor, until
from tests.journeys.test_first_sale import let_visitors_in, save_and_wait, switch_on
from tests.run.conftest import Run

BOSS, SUPPORT, PASSWORD = "boss@example.com", "support@example.com", "eight calm herons 52"
BUYER = "buyer@example.net"
SKU = "DEMO-MUSIC-1M"


def hire(run: Run, address: str) -> None:
    command = [sys.executable, str(ROOT / "server.py"), "create-admin", address, "--password-stdin"]
    environ = {**os.environ, "VOUCHSAFE_HOME": str(run.home)}
    subprocess.run(command, input=PASSWORD.encode(), env=environ, check=True, capture_output=True)


def make_support(run: Run, address: str) -> None:
    """Somebody who answers buyers and may not do everything."""
    place = engine_place.prepare_place(run.home, lambda said: None)
    change = f"UPDATE people_staff SET role = 'support', name = 'Li' WHERE email = '{address}'"
    sql = [f"{place.postgres_bin}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", place.database_url, "-c", change]
    subprocess.run(sql, check=True, capture_output=True, cwd="/")


def sign_in(visitor: Visitor, url: str, address: str) -> None:
    page = visitor.page
    page.goto(f"{url}/admin/sign-in")
    page.fill("#f-email", address)
    page.fill("#f-password", PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(re.compile("/admin$"))


def buy(visitor: Visitor, url: str, gateway: FakeEpay) -> tuple[str, str]:
    """Gives the order and the code that was shown."""
    page = visitor.page
    page.goto(f"{url}/checkout?sku={SKU}")
    page.fill("input[name=contact]", BUYER)
    page.locator("input[name=method][value='epay:alipay']").check(force=True)
    page.locator("main form button[type=submit]").last.click()
    page.wait_for_url(re.compile(r"/o/V\w+$"))
    ref = page.url.rpartition("/")[2]
    page.locator(f"a[href^='{gateway.address}'], form[action^='{gateway.address}'] button").first.click()
    page.wait_for_url(re.compile("cashier"))
    page.get_by_role("button").first.click()
    page.wait_for_url(re.compile(rf"/o/{ref}$"))
    return ref, reveal(visitor)


def reveal(visitor: Visitor) -> str:
    page = visitor.page
    page.locator("form[action$='/reveal'] button").first.click()
    shown = page.locator("output.code:not(.code-masked)").first
    shown.wait_for()
    return shown.inner_text().strip()


def mail_about(mail: MailServer, address: str, subject: str) -> EmailMessage:
    def found() -> list[EmailMessage]:
        return [one for one in mail.mails if one["To"] == address and subject in one["Subject"]]

    until(lambda: bool(found()), 30, f"no mail about {subject} came to {address}")
    return found()[0]


def fits(visitor: Visitor) -> None:
    """Nothing scrolls sideways."""
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), visitor.page.url


def test_a_bad_code_becomes_a_good_one(
    run: Run,
    gateway: FakeEpay,
    mail: MailServer,
    visitor: NewVisitor,
) -> None:
    url = run.address.rstrip("/")
    boss = visitor("support-boss", locale="en-GB", **DESKTOP)
    for address in (BOSS, SUPPORT):
        hire(run, address)
    make_support(run, SUPPORT)
    sign_in(boss, url, BOSS)
    boss.page.goto(f"{url}/admin/settings")
    if boss.page.locator("#opening summary").filter(has_text="Let visitors in already").count():
        let_visitors_in(boss, url)
    switch_on(boss, url, "payments.epay", set_gateway=gateway.address, set_pid=gateway.pid, secret_key=gateway.key)
    switch_on(
        boss, url, "notifiers.smtp", set_host="127.0.0.1", set_port=str(mail.port), set_security="none",
        set_from_address="shop@example.com",
    )  # fmt: skip
    boss.page.goto(f"{url}/admin/plugins/apps.tickets")
    save_and_wait(boss, "Switch on")
    boss.page.goto(f"{url}/admin/x/apps.tickets/replies")
    boss.page.get_by_role("button", name="Put in the usual ones").click()
    boss.page.get_by_role("link", name="New code").wait_for()
    boss.picture("canned-replies")

    # the buyer, on a phone
    buyer = visitor("support-buyer", **PHONE)
    ref, bad = buy(buyer, url, gateway)
    page = buyer.page
    page.goto(f"{url}/o/{ref}")
    page.get_by_role("link", name="获取帮助").click()
    page.get_by_role("heading", name="遇到了什么问题？").wait_for()
    fits(buyer)
    buyer.picture("what-is-wrong")
    page.get_by_role("link", name="卡密已被使用").click()
    page.locator("summary", has_text="商家已掌握的信息").click()
    known = page.locator("details[open] dl").inner_text()
    assert ref in known and "已付款" in known and f"••••{bad[-4:]}" in known and "1 次" in known
    page.fill("#f-text", f"网站提示 {bad} 已使用")
    fits(buyer)
    buyer.picture("try-this-first")
    page.get_by_role("button", name="提交").click()
    page.wait_for_url(re.compile(r"/x/apps\.tickets/t/\d+$"))
    thread = page.url
    assert bad not in page.content()
    assert page.get_by_text(f"网站提示 ••••{bad[-4:]} 已使用").count() == 1
    buyer.picture("asked")
    told = mail.mail_to(SUPPORT)
    assert "#1" in told["Subject"] and bad not in told.get_body(("plain",)).get_content()

    # support, at a desk
    support = visitor("support-staff", locale="en-GB", **DESKTOP)
    desk = support.page
    sign_in(support, url, SUPPORT)
    support.picture("dashboard")
    desk.goto(f"{url}/admin/orders?q={gateway.trade(f'{ref}-1')['trade_no']}")
    desk.get_by_role("link", name=ref).first.click()
    desk.wait_for_url(re.compile(f"/admin/orders/{ref}$"))
    timeline = desk.locator("main").inner_text()
    for step in ("Codes shown to the buyer", "The buyer says a code does not work", "Ticket #1 opened"):
        assert step in timeline, step
    support.picture("order")
    desk.locator("nav.tabs").get_by_role("link", name="Tickets").click()
    desk.get_by_role("heading", name="#1 The code was used already").wait_for()
    assert bad not in desk.content()
    support.picture("ticket")
    desk.get_by_role("button", name="Take it", exact=True).click()
    desk.get_by_text("Taken by Li").wait_for()
    desk.locator("summary", has_text="Replace").first.click()
    desk.locator("details.confirm[open] button[type=submit]").click()
    desk.get_by_text("Replaced: the order has the new code").wait_for()
    desk.select_option("#f-reply", label="New code")
    desk.get_by_role("button", name="Put it in").click()
    desk.wait_for_function("document.querySelector('#f-text').value.includes('We are sorry')")
    support.picture("canned-reply-put-in")
    desk.get_by_role("button", name="Answer", exact=True).click()
    desk.get_by_text("Waits for the buyer").first.wait_for()
    support.picture("answered")
    desk.goto(f"{url}/admin/x/apps.tickets")
    support.picture("list")

    # the buyer opens the mail, sees the new code, and says that it works
    answer = mail_about(mail, BUYER, "新回复")
    link = re.search(r"http://\S+/o/\S+to=/x/apps.tickets/t/\d+", answer.get_body(("plain",)).get_content())
    assert link
    page.goto(link[0])
    page.wait_for_url(thread)
    assert "已换发新卡密" in page.locator("main").inner_text()
    fits(buyer)
    buyer.picture("answered")
    page.get_by_role("link", name="去订单页查看").click()
    good = reveal(buyer)
    assert good != bad
    buyer.picture("new-code")
    page.goto(thread)
    page.get_by_role("button", name="是的，已解决").click()
    page.get_by_text("很高兴问题已解决").wait_for()
    buyer.picture("solved")
    desk.goto(f"{url}/admin/x/apps.tickets?state=solved")
    assert desk.locator("tbody .badge", has_text="It helped").count() == 1
    support.picture("solved")
    assert [one for who in (boss, buyer, support) for one in who.complaints] == []
