"""Hosts whose clocks differ agree on what is over: the database's clock counts for all of them."""

from urllib.parse import urlsplit

import pytest

from tests.conftest import ROOT
from tests.faults.shop import SEED, SETTINGS, Books, Browser, notice, tell
from tests.payments.real_shop import RealShop

SKU = "CLOCK"
CODES = [f"CLOCK-{number:04d}-CODE" for number in range(20)]
DAY, HOUR = 86_400, 3_600
LEFT = "SELECT round(extract(epoch FROM expires_at - clock_timestamp()) / 60) FROM orders_order WHERE ref = '{}'"


@pytest.fixture(scope="module")
def sql(engines, database):
    name = urlsplit(database).path[1:]
    engines.sql(SEED, name)
    return lambda statement: engines.sql(statement, name)


@pytest.fixture(scope="module")
def right(sql, start, tmp_path_factory):
    web = start("web", "--no-demo", **SETTINGS)
    shop = RealShop(web.url, web.environ, sql)
    shop.stock(SKU, CODES, tmp_path_factory.mktemp("codes"))
    return shop


@pytest.fixture
def on_host(right, start):
    """The same shop on another host, whose clock is so many seconds away."""
    wrong = str(ROOT / "tests/faults/wrong_clock.py")
    return lambda seconds, *command: start(*command, program=(wrong, str(seconds)), **SETTINGS)


@pytest.fixture
def browser():
    with Browser() as browser:
        yield browser


@pytest.fixture
def other():
    with Browser() as browser:
        yield browser


def placed(browser, url) -> str:
    browser.open_counter(url, SKU)
    return browser.send(url)


@pytest.mark.parametrize("seconds", [DAY, -HOUR])
def test_a_wrong_host_sells_and_pays_as_the_others(seconds, on_host, right, browser, other, sql):
    wrong = on_host(seconds, "web", "--no-demo")
    assert "the database's clock counts" in wrong.output
    there, here = placed(browser, wrong.url), placed(other, right.url)
    assert [sql(LEFT.format(ref)) for ref in (there, here)] == ["15", "15"]
    assert tell(wrong.url, notice(f"{here}-1")).text == tell(right.url, notice(f"{there}-1")).text == "success"
    assert [Books(sql).order(ref)[:2] for ref in (there, here)] == [("paid", "delivered")] * 2
    # the session that was begun on one host lives on the other
    assert len(browser.reveal(right.url, there)) == 1
    assert Books(sql).problems() == []
    wrong.stop()


@pytest.mark.parametrize(("mode", "state"), [("", "unpaid|reserved"), ("alone:", "expired|released")])
def test_a_worker_from_tomorrow_ends_no_order_of_today(mode, state, on_host, right, browser, sql):
    """Control: a worker that went by its own clock ends the order at once."""
    ref = placed(browser, right.url)
    over = placed(browser, right.url)
    sql(f"UPDATE orders_order SET expires_at = now() - interval '1 minute' WHERE ref = '{over}'")
    worker = on_host(f"{mode}{DAY}", "worker")
    states = "SELECT payment_state || '|' || fulfilment_state FROM orders_order WHERE ref = '{}'"
    right.until(lambda: sql(states.format(over)) == "expired|released")
    assert sql(states.format(ref)) == state
    worker.stop()
