"""A sale through EPay in the real shop: a good notice delivers at once, forged ones change nothing."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from plugins.payments.epay.signature import sign
from tests.conftest import Child, Start, TestEngines
from tests.gateways.running import KEY, PID, FakeEpay
from tests.payments.real_shop import ASK, DELIVERED, PRICE, UNPAID, Buyer, RealShop, query_of

SKU = "EPAYSALE"
CODES = [f"EPAY-SALE-{number:04d}-CODE" for number in range(60)]

SEED = """
UPDATE shops_shop SET test_mode = false;
INSERT INTO hooks_plugin (id, enabled) VALUES ('payments.epay', true);
"""


@pytest.fixture(scope="module")
def settings(the_gateway: FakeEpay) -> dict[str, str]:
    return {
        "VOUCHSAFE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
        "VOUCHSAFE_PAYMENTS_EPAY_GATEWAY": the_gateway.address,
        "VOUCHSAFE_PAYMENTS_EPAY_PID": PID,
        "VOUCHSAFE_PAYMENTS_EPAY_KEY": KEY,
    }


@pytest.fixture(scope="module")
def web(engines: TestEngines, database: str, start: Start, settings: dict[str, str]) -> Child:
    engines.sql(SEED, urlsplit(database).path[1:])
    return start("web", "--no-demo", **settings)


@pytest.fixture(scope="module")
def shop(
    engines: TestEngines, database: str, web: Child, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealShop]:
    name = urlsplit(database).path[1:]
    real = RealShop(web.url, web.environ, lambda statement: engines.sql(statement, name))
    real.stock(SKU, CODES, tmp_path_factory.mktemp("codes"))
    with real.opened:
        yield real
    assert KEY not in web.output


@pytest.fixture(scope="module")
def mapi_shop(shop: RealShop, start: Start, settings: dict[str, str]) -> RealShop:
    """The same shop through a second process that shows QR codes itself."""
    web = start("web", "--no-demo", **settings, VOUCHSAFE_PAYMENTS_EPAY_MODE="mapi")
    return replace(shop, url=web.url)


@pytest.fixture(scope="module")
def the_worker(web: Child, start: Start, settings: dict[str, str]) -> Iterator[Child]:
    worker = start("worker", **settings)
    yield worker
    assert KEY not in worker.output


class Sale:
    """An order whose trade is open at the gateway, because the buyer followed the link there."""

    def __init__(self, shop: RealShop, gateway: FakeEpay, sku: str = SKU) -> None:
        self.shop, self.gateway, self.buyer = shop, gateway, Buyer(shop, shop.client())
        self.ref = self.buyer.place(sku, "epay:alipay")
        self.attempt = f"{self.ref}-1"
        self.cashier = self.buyer.http.get(self.buyer.gateway_link(self.ref, "/submit.php")).headers["location"]

    def pay_at_cashier(self) -> str:
        """Press the button; gives the address the gateway sends the buyer back to."""
        return self.buyer.http.post(self.gateway.address + self.cashier).headers["location"]

    def notice(self, **changes: str) -> dict[str, str]:
        """What the gateway will say, signed."""
        params = dict(parse_qsl(query_of(self.gateway.notify_address(self.attempt))))
        return signed({**params, **changes})

    def tell(self, query: str) -> httpx.Response:
        return self.shop.gateways.get(f"{self.shop.url}/pay/epay/notify?{query}")

    def facts(self) -> dict[str, Any]:
        return self.shop.order(self.ref)


def signed(params: dict[str, str], key: str = KEY) -> dict[str, str]:
    return {**params, "sign": sign(params, key)}


@pytest.fixture
def sale(shop: RealShop, gateway: FakeEpay) -> Sale:
    return Sale(shop, gateway)


# -- good notices -------------------------------------------------------------------------


def test_a_notice_delivers_within_a_second(sale: Sale) -> None:
    notice = urlencode(sale.notice())
    sale.gateway.set_status(sale.attempt, 1)
    started = time.perf_counter()
    answer = sale.tell(notice)
    codes = sale.buyer.reveal(sale.ref)
    seconds = time.perf_counter() - started
    assert (answer.status_code, answer.content) == (200, b"success")
    assert len(codes) == 1
    assert codes[0] in CODES
    assert sale.facts() == {**DELIVERED, "events": ["callback paid paid"]}
    assert seconds < 1


def test_the_buyer_pays_at_the_cashier_and_comes_back_to_the_code(sale: Sale) -> None:
    back = sale.pay_at_cashier()
    [call] = [call for call in sale.gateway.log()["calls"] if call["out_trade_no"] == sale.attempt]
    assert (call["status"], call["answer"]) == (200, "success")
    home = sale.buyer.http.get(back)
    assert home.headers["location"] == f"/o/{sale.ref}"
    assert len(sale.buyer.reveal(sale.ref)) == 1
    assert sale.facts() == {**DELIVERED, "events": ["callback paid paid"]}


def test_coming_back_alone_pays_nothing(sale: Sale) -> None:
    query = urlencode(sale.notice())
    back = sale.buyer.http.get(f"{sale.shop.url}/pay/epay/return?order={sale.ref}&{query}")
    assert back.status_code == 303
    assert sale.facts() == UNPAID


def test_a_double_notice_delivers_once(sale: Sale) -> None:
    sale.gateway.script(notify_times=2)
    sale.pay_at_cashier()
    calls = [call for call in sale.gateway.log()["calls"] if call["out_trade_no"] == sale.attempt]
    assert [call["answer"] for call in calls] == ["success", "success"]
    assert sale.facts() == {**DELIVERED, "events": ["callback paid paid"]}


def test_the_gateway_calls_again_until_the_shop_is_reached(sale: Sale) -> None:
    sale.gateway.script(notify_first_n_fail=2)
    sale.pay_at_cashier()
    sale.shop.until(lambda: sale.facts() == {**DELIVERED, "events": ["callback paid paid"]})
    assert sale.gateway.trade(sale.attempt)["tries"] == 3


def test_money_is_booked_once_and_balances(sale: Sale) -> None:
    sale.pay_at_cashier()
    booked = sale.shop.sql(
        "SELECT account.code, sum(posting.amount) FROM ledger_posting posting"
        " JOIN ledger_account account ON account.id = posting.account_id"
        " JOIN ledger_entry entry ON entry.id = posting.entry_id"
        f" JOIN orders_order o ON o.id = entry.order_id WHERE o.ref = '{sale.ref}' GROUP BY 1 ORDER BY 1"
    )
    sums = [int(line.split("|")[1]) for line in booked.splitlines()]
    assert sum(sums) == 0
    assert sorted(amount for amount in sums if amount) == [-PRICE, PRICE]


def test_a_qr_code_on_the_order_page(mapi_shop: RealShop, gateway: FakeEpay) -> None:
    gateway.script(mapi_answer="qrcode")
    buyer = Buyer(mapi_shop, mapi_shop.client())
    ref = buyer.place(SKU, "epay:wxpay")
    assert '<div class="qr"' in buyer.page(ref)
    trade = gateway.trade(f"{ref}-1")
    assert (trade["type"], trade["money"], trade["clientip"]) == ("wxpay", "19.90", "127.0.0.1")
    gateway.pay(f"{ref}-1")
    assert len(buyer.reveal(ref)) == 1


def test_a_gateway_that_is_down_lets_the_buyer_choose_again(mapi_shop: RealShop, gateway: FakeEpay) -> None:
    gateway.script(broken=["mapi.php"])
    buyer = Buyer(mapi_shop, mapi_shop.client())
    ref = buyer.place(SKU, "epay:alipay")
    assert mapi_shop.order(ref) == {**UNPAID, "attempts": ["failed"]}
    gateway.script()
    buyer.pay_with(ref, "epay:alipay")
    gateway.pay(f"{ref}-2")
    assert mapi_shop.order(ref) == {**DELIVERED, "attempts": ["failed", "paid"], "events": ["callback paid paid"]}


# -- forged notices -----------------------------------------------------------------------

Forge = Callable[[Sale], str]

FORGERIES: dict[str, Forge] = {
    "no sign": lambda sale: urlencode({k: v for k, v in sale.notice().items() if k != "sign"}),
    "wrong key": lambda sale: urlencode(signed(sale.notice(), "not-the-key-of-anybody")),
    "sum changed": lambda sale: urlencode({**sale.notice(), "money": "0.01"}),
    "order changed": lambda sale: urlencode({**Sale(sale.shop, sale.gateway).notice(), "out_trade_no": sale.attempt}),
    "other pid": lambda sale: urlencode(sale.notice(pid="1002")),
    "other kind of signature": lambda sale: urlencode({**sale.notice(), "sign_type": "RSA"}),
    "doubled parameter": lambda sale: urlencode(sale.notice()) + "&money=0.01",
    "doubled parameter with the same value": lambda sale: urlencode(sale.notice()) + "&money=19.9",
    "not paid": lambda sale: urlencode(sale.notice(trade_status="WAIT_BUYER_PAY")),
    "empty": lambda sale: "",
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_notice_changes_nothing_and_leaves_an_alarm(sale: Sale, forge: Forge) -> None:
    query = forge(sale)
    alarms = sale.shop.alarms()
    answer = sale.tell(query)
    assert (answer.status_code, answer.content) == (400, b"fail")
    assert sale.facts() == UNPAID
    assert sale.shop.alarms() == [*alarms, "payment.forged"]


def test_a_good_notice_still_delivers_after_forged_ones(sale: Sale) -> None:
    for forge in FORGERIES.values():
        sale.tell(forge(sale))
    assert sale.tell(urlencode(sale.notice())).content == b"success"
    assert sale.facts() == {**DELIVERED, "events": ["callback paid paid"]}


def test_fifty_forged_at_once_change_nothing(sale: Sale) -> None:
    query = urlencode(signed(sale.notice(), "not-the-key-of-anybody"))
    alarms = sale.shop.alarms()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(sale.tell, [query] * 50))
    assert {answer.content for answer in answers} == {b"fail"}
    assert sale.facts() == UNPAID
    assert sale.shop.alarms() == [*alarms, *["payment.forged"] * 50]


def test_fifty_good_ones_at_once_deliver_once(sale: Sale) -> None:
    query = urlencode(sale.notice())
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(sale.tell, [query] * 50))
    assert {answer.content for answer in answers} == {b"success"}
    assert sale.facts() == {**DELIVERED, "events": ["callback paid paid"]}
    assert len(sale.buyer.reveal(sale.ref)) == 1


def test_a_replay_changes_nothing(sale: Sale) -> None:
    query = urlencode(sale.notice())
    sale.tell(query)
    before = sale.facts()
    for _ in range(3):
        assert sale.tell(query).content == b"success"
    assert sale.facts() == before == {**DELIVERED, "events": ["callback paid paid"]}


def test_a_signed_notice_of_an_unknown_order_is_refused_with_an_alarm(sale: Sale) -> None:
    alarms = sale.shop.alarms()
    answer = sale.tell(urlencode(sale.notice(out_trade_no="VNOBODY-1")))
    assert (answer.status_code, answer.content) == (400, b"fail")
    assert sale.shop.alarms() == [*alarms, "payment.unknown"]
    assert sale.shop.sql("SELECT count(*) FROM payments_event WHERE order_id IS NULL") == "0"
    assert sale.facts() == UNPAID


def test_a_signed_notice_with_another_sum_delivers_nothing(sale: Sale) -> None:
    alarms = sale.shop.alarms()
    sale.gateway.script(notify_money="0.01")
    sale.pay_at_cashier()
    assert sale.facts() == {
        "payment": "mismatch",
        "fulfilment": "review",
        "paid": 1,
        "attempts": ["paid"],
        "events": ["callback paid underpaid"],
        "review": ["underpaid"],
        "codes": 0,
    }
    assert sale.shop.alarms() == [*alarms, "payment.wrong_amount"]


def test_nobody_is_told_of_other_doors(shop: RealShop) -> None:
    for path in ("/pay/nobody/notify", "/pay/sandbox/notify", "/pay/manual/notify"):
        assert shop.gateways.get(shop.url + path).status_code == 404


def test_an_endless_notice_is_cut_off(sale: Sale) -> None:
    answer = sale.shop.gateways.post(f"{sale.shop.url}/pay/epay/notify", content=b"a=" + b"1" * 1_000_000)
    assert answer.status_code == 413
    assert sale.facts() == UNPAID


# -- with the worker ----------------------------------------------------------------------


def test_a_late_notice_takes_stock_again(sale: Sale, the_worker: Child) -> None:
    notice = urlencode(sale.notice())
    sale.shop.expire(sale.ref)
    assert sale.tell(notice).content == b"success"
    assert sale.facts() == {**DELIVERED, "events": ["callback paid paid_late"]}
    assert len(sale.buyer.reveal(sale.ref)) == 1


def test_a_late_notice_without_stock_waits_for_a_person(
    shop: RealShop, gateway: FakeEpay, the_worker: Child, tmp_path: Path
) -> None:
    shop.stock("EPAYLAST", ["EPAY-LAST-ONE-CODE"], tmp_path)
    late = Sale(shop, gateway, "EPAYLAST")
    notice = urlencode(late.notice())
    shop.expire(late.ref)
    quick = Sale(shop, gateway, "EPAYLAST")
    quick.pay_at_cashier()
    assert late.tell(notice).content == b"success"
    assert late.facts() == {
        "payment": "paid",
        "fulfilment": "review",
        "paid": PRICE,
        "attempts": ["paid"],
        "events": ["callback paid paid_late"],
        "review": ["paid_late"],
        "codes": 0,
    }
    assert quick.facts() == {**DELIVERED, "events": ["callback paid paid"]}


def test_a_lost_notice_is_found_by_asking(sale: Sale, the_worker: Child) -> None:
    sale.gateway.script(pay_without_notify=True)
    sale.pay_at_cashier()
    assert sale.facts() == UNPAID
    sale.shop.ask_now(sale.ref)
    sale.shop.until(lambda: sale.facts() == {**DELIVERED, "events": ["query paid paid"]}, job=ASK)
    assert sale.tell(urlencode(sale.notice())).content == b"success"
    assert sale.facts() == {**DELIVERED, "events": ["query paid paid"]}


def test_coming_back_makes_the_shop_ask_at_once(sale: Sale, the_worker: Child) -> None:
    sale.gateway.script(pay_without_notify=True)
    sale.buyer.http.get(sale.pay_at_cashier())
    sale.shop.until(lambda: sale.facts() == {**DELIVERED, "events": ["query paid paid"]}, job=ASK)


def test_a_sick_gateway_is_asked_again(sale: Sale, the_worker: Child) -> None:
    sale.gateway.script(pay_without_notify=True, garbage=["api.php"])
    sale.pay_at_cashier()

    def asked() -> int:
        return int(sale.shop.sql(f"SELECT queries FROM payments_attempt WHERE ref = '{sale.attempt}'"))

    before = asked()
    sale.shop.ask_now(sale.ref)
    sale.shop.until(lambda: asked() > before, job=ASK)
    assert sale.facts() == UNPAID
    sale.gateway.script()
    sale.shop.ask_now(sale.ref)
    sale.shop.until(lambda: sale.facts() == {**DELIVERED, "events": ["query paid paid"]}, job=ASK)
