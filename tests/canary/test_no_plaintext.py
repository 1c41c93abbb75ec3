"""Codes are canaries: after sales, mails, failures and a kill -9 only the buyer's own pages hold them."""

import base64
import os
import signal
from urllib.parse import quote

import pytest

from tests.faults.shop import notice, tell
from tests.faults.whole import sell, whole_shop
from tests.journeys.conftest import MailServer

CANARY = "CANARY-7Q4Z"
CODES = [f"{CANARY}-{number:04d}-9XK2" for number in range(40)]


def forms_of(text: str) -> dict[str, bytes]:
    """The ways in which a code could lie somewhere without looking like itself."""
    raw = text.encode()
    return {
        "as it is": raw,
        "in lower case": raw.lower(),
        "backwards": raw[::-1],
        "in hex": raw.hex().encode(),
        "in HEX": raw.hex().upper().encode(),
        "in UTF-16": text.encode("utf-16-le"),
        "in base64": base64.b64encode(raw)[: len(raw) * 4 // 3 // 4 * 4],
        "in a URL": quote(text).encode(),
    }


@pytest.fixture(scope="module")
def mail():
    server = MailServer()
    server.controller.start()
    yield server
    server.controller.stop()


@pytest.fixture(scope="module")
def shop(mail):
    with whole_shop(mail) as shop:
        yield shop


def test_nothing_but_the_buyers_pages_holds_a_code(shop, mail, tmp_path_factory):
    shop.import_codes(CODES, tmp_path_factory.mktemp("import"))
    shop.import_codes(CODES[:3], tmp_path_factory.mktemp("again"))
    browser, ref = sell(shop, "canary@example.com")
    with browser:
        shown = browser.reveal(shop.url, ref)
        assert shown[0] in CODES
        again = browser.http.post(f"{shop.url}/o/{ref}/reveal", data={"csrf": "forged"}, headers={"Origin": shop.url})
        assert again.status_code == 403
        letter = mail.mail_to("canary@example.com")
        assert shown[0] in letter.get_body(("plain",)).get_content()
        assert tell(shop.url, notice(f"{ref}-1", "1")).status_code in (200, 400)
        for web in shop.run.processes("server.py web"):
            os.kill(web, signal.SIGKILL)
        shop.run.wait_for_page("/healthz")
        assert browser.reveal(shop.url, ref) == shown

    places = {
        "the database dump": shop.dump(),
        "Valkey": shop.valkey(),
        "the job rows": shop.psql("SELECT json_agg(j) FROM jobs_job j").encode(),
        "the message rows": shop.psql("SELECT json_agg(m) FROM messages_message m").encode(),
        "what the server printed": shop.run.log.read_bytes(),
    }
    home = shop.run.home
    for root in {home, (home / "engines").resolve()}:
        for file in root.rglob("*"):
            if file.is_file() and not file.is_symlink():
                places[f"the file {file}"] = file.read_bytes()
    assert len(places) > 50
    found = [
        f"{name} holds a code {how}"
        for name, content in places.items()
        for how, form in forms_of(CANARY).items()
        if form in content
    ]
    assert found == []


def test_the_search_finds_what_it_looks_for(shop):
    """The control: a code laid into a table, a log or a file would be found."""
    shop.psql(f"CREATE TABLE planted AS SELECT '{CODES[0]}' AS code")
    assert forms_of(CANARY)["as it is"] in shop.dump()
    shop.psql("DROP TABLE planted")
