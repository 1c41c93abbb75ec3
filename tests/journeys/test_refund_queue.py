"""Payments go wrong in every way, and one person empties the queue with one click each, everything real."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from html import unescape

import pytest

from core import engine_place
from tests.faults.shop import Browser
from tests.gateways.running import FakeEpay
from tests.journeys.conftest import DESKTOP, PHONE, NewVisitor, Visitor, until
from tests.journeys.test_first_sale import set_up, switch_on
from tests.run.conftest import Run

SKU = "DEMO-MUSIC-1M"


@pytest.fixture(scope="module")
def sql(run: Run):
    place = engine_place.prepare_place(run.home, lambda said: None)

    def ask(statement: str) -> str:
        command = [f"{place.postgres_bin}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", place.database_url]
        done = subprocess.run([*command, "-c", statement], capture_output=True, check=True, cwd="/")
        return done.stdout.decode().strip()

    return ask


class Shopper:
    """Buys with a plain browser and pays at the fake gateway as told."""

    def __init__(self, url: str, gateway: FakeEpay) -> None:
        self.url, self.gateway, self.opened = url, gateway, ExitStack()

    def order(self) -> tuple[Browser, str]:
        browser = self.opened.enter_context(Browser())
        browser.open_counter(self.url, SKU)
        ref = browser.send(self.url)
        self.follow(browser, ref)
        return browser, ref

    def follow(self, browser: Browser, ref: str) -> None:
        page = unescape(browser.http.get(f"{self.url}/o/{ref}").text)
        [link] = set(re.findall(r'href="([^"]*submit\.php[^"]*)"', page))
        self.gateway.client.get(link, follow_redirects=True)

    def pay(self, attempt: str, money: str = "") -> None:
        self.gateway.script(notify_money=money)
        self.gateway.pay(attempt)
        self.gateway.script()

    def try_again(self, browser: Browser, ref: str) -> None:
        form = {"method": "epay:alipay", "csrf": browser.form["csrf"]}
        answer = browser.http.post(f"{self.url}/o/{ref}/pay", data=form, headers={"Origin": self.url})
        assert answer.status_code == 303
        self.follow(browser, ref)


@pytest.fixture
def shopper(run: Run, gateway: FakeEpay) -> Iterator[Shopper]:
    shopper = Shopper(run.address.rstrip("/"), gateway)
    with shopper.opened:
        yield shopper


def row(visitor: Visitor, ref: str):
    return visitor.page.locator("section.card").filter(has_text=ref)


def click(visitor: Visitor, ref: str, button: str) -> None:
    """One click, and the row is gone."""
    row(visitor, ref).get_by_role("button", name=button, exact=True).click()
    visitor.page.wait_for_load_state()
    assert row(visitor, ref).count() == 0


def test_the_queue_is_emptied(
    run: Run, setup_link: str, gateway: FakeEpay, visitor: NewVisitor, sql, shopper: Shopper
) -> None:
    url = run.address.rstrip("/")
    boss = visitor("queue", locale="en-GB", **DESKTOP)
    set_up(boss, setup_link)
    switch_on(boss, url, "payments.epay", set_gateway=gateway.address, set_pid=gateway.pid, secret_key=gateway.key)

    _, too_much = shopper.order()
    shopper.pay(f"{too_much}-1", "20")
    twice_browser, twice = shopper.order()
    shopper.try_again(twice_browser, twice)
    shopper.pay(f"{twice}-1")
    shopper.pay(f"{twice}-2")
    poor, too_little = shopper.order()
    shopper.pay(f"{too_little}-1", "5")
    payer, rest = shopper.order()
    shopper.pay(f"{rest}-1", "5")
    late = [shopper.order()[1] for _ in range(2)]
    sql(f"UPDATE orders_order SET expires_at = now() - interval '1 minute' WHERE ref IN ('{late[0]}', '{late[1]}')")
    until(lambda: sql("SELECT count(*) FROM orders_order WHERE payment_state = 'expired'") == "2", 30, "none expired")

    # the buyer of the fourth pays what was missing on the order's page
    page = payer.http.get(f"{url}/o/{rest}").text
    assert "10.00" in page
    shopper.try_again(payer, rest)
    assert gateway.trade(f"{rest}-2")["money"] == "10.00"
    shopper.pay(f"{rest}-2")
    assert len(payer.reveal(url, rest)) == 1

    sql("UPDATE vault_code SET state = 'void' WHERE state = 'free'")
    for ref in late:
        shopper.pay(f"{ref}-1")
    boss.page.goto(f"{url}/admin/refunds")
    boss.picture("full")
    assert boss.page.locator("section.card").count() == 5
    phone = boss.context.new_page()
    phone.set_viewport_size(PHONE["viewport"])
    phone.goto(f"{url}/admin/refunds")
    phone.screenshot(path="build/screenshots/queue-phone.png", full_page=True, caret="initial")
    assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    phone.close()

    click(boss, late[0], "Give back the way it came")
    click(boss, too_much, "Into the balance")
    click(boss, twice, "Keep the money")
    click(boss, too_little, "I paid it back")
    sql("UPDATE vault_code SET state = 'free' WHERE state = 'void'")
    click(boss, late[1], "Deliver now")
    assert boss.page.get_by_text("No money waits for you").count() == 1
    boss.picture("empty")

    until(lambda: len(gateway.trade(f"{late[0]}-1")["refunds"]) == 1, 30, "the gateway heard of no refund")
    until(
        lambda: sql(f"SELECT payment_state FROM orders_order WHERE ref = '{late[0]}'") == "refunded",
        30,
        "the refund was not written down",
    )
    assert gateway.trade(f"{late[0]}-1")["refunds"] == [{"out_refund_no": f"{late[0]}-R1", "money": "15.00"}]
    states = sql(
        "SELECT string_agg(payment_state || ' ' || fulfilment_state, ', ' ORDER BY id) FROM orders_order WHERE NOT test"
    )
    assert states == ("paid delivered, paid delivered, refunded void, paid delivered, refunded void, paid delivered")
    assert sql("SELECT amount FROM ledger_balance") == "500"
    owed = "SELECT coalesce(sum(posting.amount), 0) FROM ledger_posting posting JOIN ledger_account account"
    assert sql(f"{owed} ON account.id = posting.account_id WHERE account.code = 'deposits'") == "0"

    told = poor.http.get(f"{url}/o/{too_little}").text
    assert "5.00" in told
    boss.page.goto(f"{url}/admin/orders/{twice}")
    boss.picture("order")
    boss.page.locator("#refunds summary").first.click()
    boss.picture("order-refund-form")
    assert boss.complaints == []
