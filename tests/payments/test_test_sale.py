"""Sales in test mode through the real shop: each outcome of the test gateway, and manual payment."""

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from tests.conftest import Child, Start, TestEngines
from tests.payments.real_shop import ASK, DELIVERED, PRICE, UNPAID, Buyer, RealShop

SKU = "TESTSALE"
CODES = [f"TEST-SALE-{number:04d}-CODE" for number in range(40)]

SEED = """
UPDATE shops_shop SET test_mode = true;
INSERT INTO hooks_plugin (id, enabled, settings)
VALUES ('payments.manual', true, '{"instructions_zh": "请转账 {amount}，备注 {order}。"}');
"""


@pytest.fixture(scope="module")
def web(engines: TestEngines, database: str, start: Start) -> Child:
    engines.sql(SEED, urlsplit(database).path[1:])
    return start("web", "--no-demo")


@pytest.fixture(scope="module")
def shop(
    engines: TestEngines, database: str, web: Child, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealShop]:
    name = urlsplit(database).path[1:]
    real = RealShop(web.url, web.environ, lambda statement: engines.sql(statement, name))
    real.stock(SKU, CODES, tmp_path_factory.mktemp("codes"))
    with real.opened:
        yield real


@pytest.fixture(scope="module")
def the_worker(web: Child, start: Start) -> Child:
    return start("worker")


class Visit:
    """A buyer on the test gateway's page."""

    def __init__(self, shop: RealShop, sku: str = SKU) -> None:
        self.shop, self.buyer = shop, Buyer(shop, shop.client())
        self.ref = self.buyer.place(sku, "sandbox")
        self.page = self.buyer.http.get(self.buyer.gateway_link(self.ref, "/pay/sandbox/notify?"))
        assert self.page.status_code == 200

    def buttons(self) -> dict[str, dict[str, str]]:
        found = {}
        for form in re.findall(r"<form.*?</form>", self.page.text, re.S):
            fields = dict(re.findall(r'name="([a-z]+)" value="([^"]*)"', form))
            found[fields["act"]] = {name: unescape(value) for name, value in fields.items()}
        return found

    def press(self, outcome: str) -> None:
        self.page = self.send(self.buttons()[outcome])
        assert self.page.status_code == 200, self.page.text

    def send(self, fields: dict[str, str]) -> httpx.Response:
        return self.buyer.http.post(f"{self.shop.url}/pay/sandbox/notify", data=fields)

    def go_back(self) -> str:
        link = re.search(r'id="back" href="([^"]+)"', self.page.text)
        assert link
        home = self.buyer.http.get(unescape(link[1]))
        assert home.headers["location"] == f"/o/{self.ref}"
        return self.buyer.page(self.ref)


@pytest.fixture
def visit(shop: RealShop) -> Visit:
    return Visit(shop)


def test_paid(visit: Visit) -> None:
    visit.press("paid")
    visit.go_back()
    assert visit.shop.order(visit.ref) == {**DELIVERED, "events": ["callback paid paid"]}
    [code] = visit.buyer.reveal(visit.ref)
    assert code in CODES


def test_failed_and_then_paid_with_another_try(visit: Visit) -> None:
    visit.press("failed")
    assert visit.shop.order(visit.ref) == {**UNPAID, "attempts": ["failed"], "events": ["callback failed noted"]}
    visit.go_back()
    visit.buyer.pay_with(visit.ref, "sandbox")
    visit.page = visit.buyer.http.get(visit.buyer.gateway_link(visit.ref, "/pay/sandbox/notify?"))
    visit.press("paid")
    assert visit.shop.order(visit.ref) == {
        **DELIVERED,
        "attempts": ["failed", "paid"],
        "events": ["callback failed noted", "callback paid paid"],
    }


def test_expired(visit: Visit) -> None:
    visit.press("expired")
    assert visit.shop.order(visit.ref) == {**UNPAID, "attempts": ["expired"], "events": ["callback expired noted"]}


def test_paid_twice(visit: Visit) -> None:
    visit.press("twice")
    visit.press("second")
    assert visit.shop.order(visit.ref) == {
        **DELIVERED,
        "paid": 2 * PRICE,
        "events": ["callback paid paid", "callback paid paid_twice"],
        "review": ["paid_twice"],
    }
    assert len(visit.buyer.reveal(visit.ref)) == 1


def test_replay(visit: Visit) -> None:
    for _ in range(4):
        visit.press("replay")
    assert visit.shop.order(visit.ref) == {**DELIVERED, "events": ["callback paid paid"]}


def test_wrong_amount(visit: Visit) -> None:
    alarms = visit.shop.alarms()
    visit.press("wrong_amount")
    assert visit.shop.order(visit.ref) == {
        "payment": "mismatch",
        "fulfilment": "review",
        "paid": PRICE // 2,
        "attempts": ["paid"],
        "events": ["callback paid underpaid"],
        "review": ["underpaid"],
        "codes": 0,
    }
    assert visit.shop.alarms() == [*alarms, "payment.wrong_amount"]


def test_too_much_is_delivered_and_the_surplus_waits(visit: Visit) -> None:
    visit.press("too_much")
    assert visit.shop.order(visit.ref) == {
        **DELIVERED,
        "paid": PRICE + PRICE // 2 + 1,
        "events": ["callback paid overpaid"],
        "review": ["overpaid"],
    }


def test_taken_back_by_the_bank(visit: Visit) -> None:
    visit.press("taken_back")
    visit.press("take")
    assert visit.shop.order(visit.ref) == {
        **DELIVERED,
        "payment": "charged_back",
        "fulfilment": "void",
        "events": ["callback paid paid", "callback charged_back charged_back"],
        "review": ["codes_out", "chargeback"],
    }
    assert visit.shop.alarms()[-1] == "payment.chargeback"
    assert visit.buyer.reveal(visit.ref) == []


def test_pending_and_then_paid(visit: Visit, the_worker: Child) -> None:
    visit.press("pending")
    assert visit.shop.order(visit.ref) == {**UNPAID, "events": ["callback pending noted"]}
    visit.shop.ask_now(visit.ref)
    visit.shop.until(lambda: visit.shop.order(visit.ref)["payment"] == "paid", job=ASK)
    assert visit.shop.order(visit.ref) == {**DELIVERED, "events": ["callback pending noted", "query paid paid"]}


def test_paid_late(visit: Visit, the_worker: Child) -> None:
    visit.press("late")
    assert visit.shop.order(visit.ref) == {**UNPAID, "events": ["callback pending noted"]}
    visit.shop.expire(visit.ref)
    visit.shop.ask_now(visit.ref)
    visit.shop.until(lambda: visit.shop.order(visit.ref)["payment"] == "paid", job=ASK)
    assert visit.shop.order(visit.ref) == {**DELIVERED, "events": ["callback pending noted", "query paid paid_late"]}


def test_looking_at_the_page_pays_nothing(visit: Visit) -> None:
    for fields in visit.buttons().values():
        answer = visit.buyer.http.get(f"{visit.shop.url}/pay/sandbox/notify?{urlencode(fields)}")
        assert answer.status_code == 200
    visit.go_back()
    assert visit.shop.order(visit.ref) == UNPAID


@pytest.mark.parametrize(
    "change",
    [{"sign": ""}, {"sign": "0" * 64}, {"amount": "1"}, {"act": "paid"}, {"extra": "1"}],
    ids=["no signature", "wrong signature", "other amount", "other outcome", "one more field"],
)
def test_forged_outcomes_change_nothing(visit: Visit, change: dict[str, str]) -> None:
    alarms = visit.shop.alarms()
    answer = visit.send({**visit.buttons()["failed"], **change})
    assert (answer.status_code, answer.content) == (400, b"fail")
    assert visit.shop.order(visit.ref) == UNPAID
    assert visit.shop.alarms() == [*alarms, "payment.forged"]


def test_the_page_obeys_the_content_policy(visit: Visit) -> None:
    assert "script-src 'self'" in visit.page.headers["content-security-policy"]
    assert "<script" not in visit.page.text
    assert "style=" not in visit.page.text
    style = re.search(r'href="(/static/[^"]+)"', visit.page.text)
    assert style
    assert visit.buyer.http.get(visit.shop.url + style[1]).headers["content-type"].startswith("text/css")


def test_test_sales_book_no_money(visit: Visit) -> None:
    visit.press("paid")
    assert visit.shop.sql("SELECT count(*) FROM ledger_entry") == "0"


# -- manual payment -----------------------------------------------------------------------


def test_manual_payment_shows_how_and_waits(shop: RealShop) -> None:
    buyer = Buyer(shop, shop.client())
    ref = buyer.place(SKU, "manual")
    assert f"请转账 ¥19.90，备注 {ref}。" in buyer.page(ref)
    assert shop.order(ref) == UNPAID


def test_nobody_confirms_a_manual_payment_from_outside(shop: RealShop) -> None:
    buyer = Buyer(shop, shop.client())
    ref = buyer.place(SKU, "manual")
    alarms = shop.alarms()
    answer = shop.gateways.get(f"{shop.url}/pay/manual/notify?out_trade_no={ref}-1&money=19.90")
    assert (answer.status_code, answer.content) == (400, b"fail")
    assert shop.order(ref) == UNPAID
    assert shop.alarms() == [*alarms, "payment.forged"]


# -- last: test mode ends -----------------------------------------------------------------


def test_when_test_mode_ends_the_gateway_is_gone(visit: Visit) -> None:
    paid = visit.buttons()["paid"]
    shop = visit.shop
    shop.sql("UPDATE shops_shop SET test_mode = false")
    shop.until(lambda: shop.gateways.get(f"{shop.url}/pay/sandbox/notify").status_code == 404)
    assert visit.send(paid).status_code == 404
    assert shop.order(visit.ref) == UNPAID
    buyer = Buyer(shop, shop.client())
    form = {"sku": SKU, "quantity": "1", "contact": "late@example.com", "method": "sandbox", "key": "k" * 32}
    refused = buyer.http.post(f"{shop.url}/checkout", data=form, headers={"Origin": shop.url})
    assert refused.status_code == 422
    assert shop.sql("SELECT count(*) FROM orders_order WHERE contact = 'late@example.com'") == "0"
