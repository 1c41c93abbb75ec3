"""PostgreSQL or Valkey die under a shop that sells: every paid order still ends delivered, none twice."""

import os
import signal

import httpx
import pytest

from tests.faults.shop import Books, Browser, notice, tell
from tests.faults.whole import PRICE_TEXT, SKU, whole_shop
from tests.journeys.conftest import MailServer
from tests.run.conftest import until

CODES = [f"LOST-{number:04d}-CODE" for number in range(20)]


@pytest.fixture(scope="module")
def mail():
    server = MailServer()
    server.controller.start()
    yield server
    server.controller.stop()


@pytest.fixture(scope="module")
def shop(mail, tmp_path_factory):
    with whole_shop(mail) as shop:
        shop.import_codes(CODES, tmp_path_factory.mktemp("import"))
        yield shop


@pytest.fixture
def browser(shop):
    with Browser() as browser:
        browser.open_counter(shop.url, SKU)
        yield browser


def kill(shop, program: str) -> None:
    """kill -9, and wait until the process that answers is another one."""
    old = shop.run.processes(program)
    assert old, program
    for process in old:
        os.kill(process, signal.SIGKILL)
    until(lambda: not old & shop.run.processes(program))


def told_until_yes(shop, query: str) -> None:
    def accepted() -> bool:
        try:
            return tell(shop.url, query).content == b"success"
        except httpx.TransportError:
            return False

    until(accepted, 60)


@pytest.mark.parametrize("act", ["killed", "emptied"])
def test_valkey_gone_before_the_callback(act, shop, browser, mail):
    ref = browser.send(shop.url)
    if act == "killed":
        kill(shop, "valkey-server")
    else:
        shop.empty_valkey()
    told_until_yes(shop, notice(f"{ref}-1", PRICE_TEXT))
    assert len(browser.reveal(shop.url, ref)) == 1
    assert ref in mail.mail_to(browser.contact).as_string()
    assert Books(shop.psql).problems() == []


def test_postgresql_killed_between_checkout_and_callback(shop, browser, mail):
    ref = browser.send(shop.url)
    kill(shop, "bin/postgres -D")
    told_until_yes(shop, notice(f"{ref}-1", PRICE_TEXT))
    assert len(browser.reveal(shop.url, ref)) == 1
    assert ref in mail.mail_to(browser.contact).as_string()
    assert Books(shop.psql).order(ref)[:2] == ("paid", "delivered")
    assert Books(shop.psql).problems() == []


def test_worker_killed_before_the_mail(shop, browser, mail):
    ref = browser.send(shop.url)
    for process in shop.run.processes("server.py worker"):
        os.kill(process, signal.SIGKILL)
    told_until_yes(shop, notice(f"{ref}-1", PRICE_TEXT))
    assert ref in mail.mail_to(browser.contact).as_string()
    letters = [letter for letter in mail.mails if letter["To"] == browser.contact]
    assert len(letters) == 1
    assert Books(shop.psql).problems() == []
