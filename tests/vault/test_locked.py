"""Without its key the shop goes on selling and shows no code; when the key is back, everything catches up."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from core.ids import new_token, token_hash
from core.vault import cipher, keys
from tests import warm
from tests.conftest import Child, Start, TestEngines
from tests.messages.conftest import MailServer, Running, started
from tests.payments.real_shop import Buyer, RealShop
from tests.payments.test_test_sale import Visit

SKU = "LOCKED"
CODES = [f"LOCKED-{number:04d}-CODE-WXYZ" for number in range(20)]
SHORT = {"VOUCHSAFE_KEY_SECONDS": "2"}

SEED = """
UPDATE shops_shop SET test_mode = true, locale = 'en',
    settings = settings || '{"mail_codes": true, "open_orders_per_address": 1000}', revision = revision + 1;
INSERT INTO hooks_plugin (id, enabled, settings) VALUES ('notifiers.smtp', true, '{}')
"""
MAIL = """
SELECT m.state || ': ' || m.error FROM messages_message m JOIN orders_order o ON o.id = m.order_id
WHERE o.ref = '{}' ORDER BY m.id DESC LIMIT 1
"""
WAITS = "queued: The shop cannot reach the key"
HURRY = """
UPDATE jobs_job SET run_at = now() - interval '3 seconds'
WHERE state = 'queued' AND name = 'messages.send' AND run_at > now() - interval '2 seconds'
"""


@pytest.fixture(scope="module")
def mail() -> MailServer:
    return MailServer()


@pytest.fixture(scope="module")
def smtp(mail: MailServer) -> Iterator[Running]:
    running = started(mail)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def environ(smtp: Running) -> dict[str, str]:
    name = "VOUCHSAFE_NOTIFIERS_SMTP_"
    return {
        **SHORT,
        f"{name}HOST": "127.0.0.1",
        f"{name}PORT": str(smtp.port),
        f"{name}SECURITY": "none",
        f"{name}FROM_ADDRESS": "shop@example.com",
    }


@pytest.fixture(scope="module")
def web(engines: TestEngines, database: str, start: Start, environ: dict[str, str]) -> Child:
    engines.sql(SEED, urlsplit(database).path[1:])
    web = start("web", "--no-demo", **environ)
    start("worker", **environ)
    return web


@pytest.fixture(scope="module")
def shop(
    engines: TestEngines, database: str, web: Child, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealShop]:
    name = urlsplit(database).path[1:]
    real = RealShop(web.url, web.environ, lambda statement: engines.sql(statement, name))
    real.stock(SKU, CODES, tmp_path_factory.mktemp("codes"))
    with real.opened:
        yield real


@contextmanager
def without_key(shop: RealShop) -> Iterator[None]:
    key = Path(shop.environ["VOUCHSAFE_HOME"]) / "master.key"
    key.rename(key.with_name("elsewhere"))
    try:
        yield
    finally:
        key.with_name("elsewhere").rename(key)


def paid_visit(shop: RealShop) -> Visit:
    visit = Visit(shop, SKU)
    visit.press("paid")
    visit.go_back()
    return visit


def reveal(visit: Visit) -> httpx.Response:
    headers = {"Origin": visit.shop.url, "X-CSRF-Token": visit.buyer.csrf, "Accept-Language": "en"}
    return visit.buyer.http.post(f"{visit.shop.url}/o/{visit.ref}/reveal", headers=headers)


def has_key(shop: RealShop) -> bool:
    return shop.sql("SELECT count(*) FROM vault_holder WHERE problem <> ''") == "0"


def visit_without_mail(shop: RealShop) -> Visit:
    """The worker sends codes until it too has seen that the key is gone: buy until one mail waits."""
    while True:
        visit = paid_visit(shop)
        told = MAIL.format(visit.ref)
        shop.until(lambda told=told: shop.sql(told).startswith(("sent:", WAITS)))  # type: ignore[misc]
        if shop.sql(told).startswith(WAITS):
            return visit


def shown(shop: RealShop) -> str:
    return shop.sql(
        "SELECT (SELECT count(*) FROM vault_reveal), (SELECT count(*) FROM orders_event WHERE kind IN ('revealed',"
        " 'codes_mailed')), (SELECT count(*) FROM vault_code WHERE burn_at IS NOT NULL)"
    )


def doctor(shop: RealShop) -> dict[str, str]:
    done = warm.run("doctor", "--json", env=shop.environ)
    return {check["name"]: check["state"] + ": " + check["text"] for check in json.loads(done.stdout)["checks"]}


def dashboard(shop: RealShop) -> str:
    token = new_token()
    shop.sql(
        "WITH staff AS (INSERT INTO people_staff (shop_id, email, role) VALUES (1, 'eye@example.com', 'owner')"
        " ON CONFLICT (shop_id, email) DO UPDATE SET role = 'owner' RETURNING id)"
        " INSERT INTO people_session (id_hash, kind, staff_id, expires_at)"
        f" SELECT '\\x{token_hash(token).hex()}', 'staff', id, now() + interval '1 hour' FROM staff"
    )
    answer = shop.client().get(f"{shop.url}/admin", headers={"Accept-Language": "en", "Cookie": f"vs={token}"})
    assert answer.status_code == 200, answer.text
    return answer.text


def mailed(mail: MailServer, shop: RealShop, ref: str) -> str:
    shop.until(lambda: shop.sql(HURRY) == "" and shop.sql(MAIL.format(ref)) == "sent:")
    (text,) = [one.get_body(("plain",)).get_content() for one in mail.mails if ref in str(one.get_body(("plain",)))]  # type: ignore[union-attr]
    return str(text)


def test_codes_wait_for_the_key_and_the_rest_goes_on(shop: RealShop, mail: MailServer) -> None:
    before = paid_visit(shop)
    (code,) = before.buyer.reveal(before.ref)
    assert code in mailed(mail, shop, before.ref)

    with without_key(shop):
        shop.until(lambda: reveal(before).status_code == 503)
        shop.until(lambda: not has_key(shop))
        during = visit_without_mail(shop)
        seen = shown(shop)
        refused = reveal(before)
        assert refused.status_code == 503
        assert "Codes and orders are safe" in refused.text
        assert code not in refused.text
        assert shown(shop) == seen

        assert shop.order(during.ref)["fulfilment"] == "delivered"
        assert reveal(during).status_code == 503
        assert shown(shop) == seen
        assert not [one for one in mail.mails if during.ref in one.as_string()]
        for path in ("/", f"/p/{SKU.lower()}", f"/o/{before.ref}", "/readyz"):
            assert before.buyer.http.get(shop.url + path).status_code == 200

        found = doctor(shop)
        assert found["key"].startswith("fail: there is no")
        assert found["keyring"].startswith("fail: the master key file")
        page = dashboard(shop)
        assert "The vault has no key." in page
        assert "cannot be read: No such file" in page

    shop.until(lambda: has_key(shop) and reveal(before).status_code == 200)
    (late,) = during.buyer.reveal(during.ref)
    assert late in CODES and late != code
    assert late in mailed(mail, shop, during.ref)
    found = doctor(shop)
    assert (found["keyring"][:3], found["unlocked"][:3]) == ("ok:", "ok:")
    assert "The vault has no key." not in dashboard(shop)


def test_a_shop_started_without_its_key_takes_orders_and_catches_up(
    shop: RealShop, start: Start, environ: dict[str, str]
) -> None:
    key = Path(shop.environ["VOUCHSAFE_HOME"]) / "master.key"
    with without_key(shop):
        late = start("web", "--no-demo", **environ)
        assert "The vault has no key" in late.output
        there = RealShop(late.url, late.environ, shop.sql, shop.opened)
        buyer = Buyer(there, there.client())
        ref = buyer.place(SKU, "sandbox")
        assert buyer.http.get(f"{late.url}/o/{ref}").status_code == 200
        assert shop.order(ref)["fulfilment"] == "reserved"
        assert not key.exists()
    shop.until(lambda: has_key(shop))
    buyer.pay_with(ref, "sandbox")
    shop.until(lambda: "/pay/sandbox/notify?" in buyer.page(ref))

    sealed = shop.sql(f"SELECT encode(token_sealed, 'hex') FROM orders_order WHERE ref = '{ref}'")
    assert sealed[:4] == "0203"  # dropped: the process that took the order could not have opened it
    keys.use(keys.MasterKey(base64.b64decode(key.read_text())))
    link = f"/o/{ref}?k={cipher.open_secret('order-token', bytes.fromhex(sealed)).decode()}"
    assert there.client().get(late.url + link, follow_redirects=True).status_code == 200
    late.stop()


def test_nothing_of_a_key_is_in_the_logs(shop: RealShop, web: Child) -> None:
    def logs() -> str:
        return "".join(log.read_text() for log in web.home.glob("*.log"))

    secret = (Path(shop.environ["VOUCHSAFE_HOME"]) / "master.key").read_text().strip()
    with without_key(shop):
        shop.until(lambda: "the vault has no key" in logs())
    shop.until(lambda: has_key(shop) and "the vault has its key again" in logs())
    assert secret not in logs()
