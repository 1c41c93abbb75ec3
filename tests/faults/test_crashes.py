"""kill -9 at every named point of checkout, callback and fulfilment: nothing paid is lost, nothing given twice."""

import re
import signal
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import COLD, ROOT
from tests.faults.shop import SEED, SETTINGS, Books, Browser, notice, tell
from tests.payments.real_shop import PRICE, RealShop

SKU = "CRASH"
CODES = [f"CRASH-{number:04d}-CODE" for number in range(40)]
CHECKOUT = ("checkout.reserved", "checkout.placed", "checkout.started")
CALLBACK = ("settle.committed", "notify.before_answer")
REVEAL = ("reveal.noted",)
FULFILMENT = ("settle.money_written", "fulfilment.delivered")
ELSEWHERE = {"selling.sold", "refund.marked", "refund.answered", "refund.booked", "purse.taken"} | {
    "fulfilment.preparing",
    "purchase.sent",
    "purchase.answered",
    "purchase.asked",
    "purchase.codes_sealed",
    "purchase.booked",
}
"""Tried beside what they belong to: tests/payments/test_refund_crashes.py, test_balance_crash.py and
tests/supply/test_crashes.py."""
GONE = (httpx.RemoteProtocolError, httpx.ReadError, httpx.ConnectError)


@pytest.fixture(scope="module")
def sql(engines, database):
    name = urlsplit(database).path[1:]
    engines.sql(SEED, name)
    return lambda statement: engines.sql(statement, name)


@pytest.fixture(scope="module")
def healthy(sql, start, tmp_path_factory):
    web = start("web", "--no-demo", program=COLD, **SETTINGS)
    RealShop(web.url, web.environ, sql).stock(SKU, CODES, tmp_path_factory.mktemp("codes"))
    return web


@pytest.fixture
def crashing(healthy, start):
    """A second web process that dies at the named point."""
    return lambda point: start("web", "--no-demo", VOUCHSAFE_CRASH_AT=point, **SETTINGS)


@pytest.fixture
def browser():
    with Browser() as browser:
        yield browser


def dies(child) -> None:
    assert child.process.wait(10) == -signal.SIGKILL


def test_every_named_point_is_tried():
    named = set()
    for folder in ("checkout", "fulfilment", "payments", "orders"):
        for file in (ROOT / "core" / folder).glob("*.py"):
            named |= set(re.findall(r'crash_point\("([^"]+)"\)', file.read_text()))
    assert named == {*CHECKOUT, *CALLBACK, *FULFILMENT, *REVEAL, *ELSEWHERE}


def test_points_are_off_unless_named(healthy):
    assert "VOUCHSAFE_CRASH_AT" not in Path(f"/proc/{healthy.process.pid}/environ").read_text()


@pytest.mark.parametrize("point", CHECKOUT)
def test_a_killed_checkout_can_be_sent_again(point, browser, healthy, crashing, sql):
    browser.open_counter(healthy.url, SKU)
    doomed = crashing(point)
    with pytest.raises(GONE):
        browser.send(doomed.url)
    dies(doomed)

    ref = browser.send(healthy.url)
    assert sql(f"SELECT count(*) FROM orders_order WHERE contact = '{browser.contact}'") == "1"
    assert tell(healthy.url, notice(f"{ref}-1")).content == b"success"
    codes = browser.reveal(healthy.url, ref)
    assert len(codes) == 1
    assert codes[0] in CODES
    assert Books(sql).problems() == []


@pytest.mark.parametrize("point", CALLBACK)
def test_a_killed_callback_is_told_again_and_has_one_effect(point, browser, healthy, crashing, sql):
    browser.open_counter(healthy.url, SKU)
    ref = browser.send(healthy.url)
    doomed = crashing(point)
    with pytest.raises(GONE):
        tell(doomed.url, notice(f"{ref}-1"))
    dies(doomed)

    assert tell(healthy.url, notice(f"{ref}-1")).content == b"success"
    assert Books(sql).order(ref) == ("paid", "delivered", str(PRICE))
    assert len(browser.reveal(healthy.url, ref)) == 1
    assert Books(sql).problems() == []


@pytest.mark.parametrize("point", FULFILMENT)
def test_a_killed_late_fulfilment_starts_over(point, browser, healthy, crashing, sql):
    """Paid after it expired: codes are claimed anew, step by step."""
    browser.open_counter(healthy.url, SKU)
    ref = browser.send(healthy.url)
    sql(f"""
        WITH o AS (UPDATE orders_order SET payment_state = 'expired', fulfilment_state = 'released'
                   WHERE ref = '{ref}' RETURNING id),
        line AS (UPDATE orders_line SET state = 'released' WHERE order_id = (SELECT id FROM o) RETURNING id)
        UPDATE vault_code SET state = 'free', line_id = NULL, reserved_until = NULL
        WHERE line_id IN (SELECT l.id FROM orders_line l JOIN orders_order x ON x.id = l.order_id WHERE x.ref = '{ref}')
    """)
    doomed = crashing(point)
    with pytest.raises(GONE):
        tell(doomed.url, notice(f"{ref}-1"))
    dies(doomed)
    assert Books(sql).order(ref) == ("expired", "released", "0")

    assert tell(healthy.url, notice(f"{ref}-1")).content == b"success"
    assert Books(sql).order(ref) == ("paid", "delivered", str(PRICE))
    assert len(browser.reveal(healthy.url, ref)) == 1
    assert Books(sql).problems() == []


@pytest.mark.parametrize("burn_hours", [0, 1])
def test_a_killed_reveal_shows_the_same_browser_the_same_code(burn_hours, browser, healthy, crashing, sql):
    """The showing was written down and nobody saw it; under copy-and-burn it was the only one there is."""
    sql(f"UPDATE shops_shop SET revision = revision + 1, settings = settings || '{{\"burn_hours\": {burn_hours}}}'")
    browser.open_counter(healthy.url, SKU)
    ref = browser.send(healthy.url)
    assert tell(healthy.url, notice(f"{ref}-1")).content == b"success"
    doomed = crashing(*REVEAL)
    with pytest.raises(GONE):
        browser.reveal(doomed.url, ref)
    dies(doomed)

    codes = browser.reveal(healthy.url, ref)
    assert len(codes) == 1
    assert browser.reveal(healthy.url, ref) == codes
    assert Books(sql).problems() == []


def test_a_killed_worker_leaves_the_mail_to_the_next_one(browser, healthy, start, sql):
    browser.open_counter(healthy.url, SKU)
    ref = browser.send(healthy.url)
    doomed = start("worker", **SETTINGS)
    doomed.stop(signal.SIGKILL)
    assert tell(healthy.url, notice(f"{ref}-1")).content == b"success"
    written = sql(
        f"SELECT event, state FROM messages_message m JOIN orders_order o ON o.id = m.order_id WHERE o.ref = '{ref}'"
    )
    assert written == "order_delivered|held"
    assert Books(sql).problems() == []
