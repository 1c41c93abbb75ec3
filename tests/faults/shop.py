"""A real shop on the module's database that may be started again, and a buyer whose browser survives it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx

from plugins.payments.epay.signature import sign
from tests.payments.real_shop import PRICE, TLS

PID, KEY = "1001", "fault-test-merchant-key"
SETTINGS = {
    "VOUCHSAFE_PAYMENTS_EPAY_GATEWAY": "http://127.0.0.1:9",
    "VOUCHSAFE_PAYMENTS_EPAY_PID": PID,
    "VOUCHSAFE_PAYMENTS_EPAY_KEY": KEY,
}
SEED = """
UPDATE shops_shop SET test_mode = false;
INSERT INTO hooks_plugin (id, enabled) VALUES ('payments.epay', true);
"""
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')


def notice(attempt: str, money: str = f"{PRICE / 100:g}", **changes: str) -> str:
    """The gateway's signed query for a paid trade."""
    params = {
        "pid": PID,
        "trade_no": f"T{attempt}",
        "out_trade_no": attempt,
        "type": "alipay",
        "name": "Month card",
        "money": money,
        "trade_status": "TRADE_SUCCESS",
        **changes,
    }
    return urlencode({**params, "sign": sign(params, KEY), "sign_type": "MD5"})


@dataclass
class Browser:
    """A buyer without JavaScript: opens the counter, fills the form, may send it again."""

    contact: str = field(default_factory=lambda: f"{secrets.token_hex(6)}@example.com")
    form: dict[str, str] = field(default_factory=dict)
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30, verify=TLS))

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def open_counter(self, url: str, sku: str) -> None:
        page = self.http.get(f"{url}/checkout", params={"sku": sku, "quantity": "1"})
        assert page.status_code == 200, page.text
        self.form = dict(HIDDEN.findall(page.text.partition('action="/checkout')[2]))
        self.form |= {"sku": sku, "quantity": "1", "contact": self.contact, "method": "epay:alipay"}

    def send(self, url: str) -> str:
        """Send the form; gives the order's ref."""
        answer = self.http.post(f"{url}/checkout", data=self.form, headers={"Origin": url})
        assert answer.status_code == 303, (answer.status_code, answer.text)
        return answer.headers["location"].removeprefix("/o/")

    def reveal(self, url: str, ref: str) -> list[str]:
        headers = {"Origin": url}
        answer = self.http.post(f"{url}/o/{ref}/reveal", data={"csrf": self.form["csrf"]}, headers=headers)
        assert answer.status_code == 200, answer.text
        return re.findall(r'<output class="code">([^<]+)</output>', answer.text)


def tell(url: str, query: str) -> httpx.Response:
    return httpx.get(f"{url}/pay/epay/notify?{query}", timeout=30, verify=TLS)


@dataclass
class Ledger:
    """The two books outside the shop: what the gateway took, and what the buyers were shown."""

    taken: dict[str, int] = field(default_factory=dict)
    shown: dict[str, list[str]] = field(default_factory=dict)

    def took(self, attempt: str, amount: int) -> None:
        self.taken[attempt] = amount

    def saw(self, ref: str, codes: list[str]) -> None:
        self.shown[ref] = codes

    def differences(self, sql: Callable[[str], str]) -> list[str]:
        """Where they and the database disagree about these orders."""
        found = []
        for attempt, amount in self.taken.items():
            booked = sql(f"""
                SELECT coalesce(sum(event.amount), 0), o.fulfilment_state, (SELECT count(*) FROM vault_code code
                    JOIN orders_line line ON line.id = code.line_id WHERE line.order_id = o.id)
                FROM payments_attempt attempt JOIN orders_order o ON o.id = attempt.order_id
                LEFT JOIN payments_event event ON event.attempt_id = attempt.id AND event.state = 'paid'
                WHERE attempt.ref = '{attempt}' GROUP BY o.id""")
            if booked != f"{amount}|delivered|1":
                found.append(f"{attempt}: the gateway took {amount}, the shop has {booked}")
        seen = [code for codes in self.shown.values() for code in codes]
        if len(seen) != len(set(seen)) or len(seen) != len(self.taken):
            found.append(f"{len(self.taken)} buyers paid and saw {len(set(seen))} codes")
        return found


@dataclass
class Books:
    """What must hold whatever happened, read from outside the program."""

    sql: Callable[[str], str]

    def problems(self) -> list[str]:
        return [
            f"{name}: {found}" for name, statement in CHECKS.items() if (found := self.sql(statement)) not in ("", "0")
        ]

    def order(self, ref: str) -> tuple[Any, ...]:
        row = self.sql(f"SELECT payment_state, fulfilment_state, paid FROM orders_order WHERE ref = '{ref}'")
        return tuple(row.split("|"))


CHECKS = {
    "a line with more or fewer codes than it should have": """
        SELECT count(*) FROM orders_line line WHERE state = 'delivered' AND quantity <>
            (SELECT count(*) FROM vault_code WHERE line_id = line.id AND state = 'delivered')""",
    "a code held by no living order": """
        SELECT count(*) FROM vault_code code LEFT JOIN orders_line line ON line.id = code.line_id
        LEFT JOIN orders_order o ON o.id = line.order_id
        WHERE code.state = 'reserved' AND (o.id IS NULL OR o.payment_state <> 'unpaid')""",
    "a paid order without goods and without a question": """
        SELECT count(*) FROM orders_order o WHERE payment_state IN ('paid', 'mismatch')
            AND fulfilment_state NOT IN ('delivered', 'void')
            AND NOT EXISTS (SELECT 1 FROM review_item WHERE order_id = o.id AND state = 'open')""",
    "more given back than came, or another sum than the refunds say": """
        SELECT count(*) FROM payments_event event WHERE state = 'paid' AND (refunds > amount OR refunds <>
            (SELECT coalesce(sum(amount), 0) FROM payments_refund WHERE payment_id = event.id
             AND state NOT IN ('failed', 'declined')))""",
    "a refund that nobody will end": """
        SELECT count(*) FROM payments_refund refund WHERE state = 'unknown' AND NOT EXISTS (
            SELECT 1 FROM review_item WHERE key = 'refund_unknown:' || refund.ref AND state = 'open')""",
    "an order whose payments do not make up what it says was paid": """
        SELECT count(*) FROM orders_order o WHERE paid <>
            (SELECT coalesce(sum(amount), 0) FROM payments_event WHERE order_id = o.id AND state = 'paid')""",
    "money that is not in the books": """
        SELECT coalesce(sum(CASE event.state WHEN 'paid' THEN event.amount
                                             WHEN 'charged_back' THEN -event.amount END), 0)
            - (SELECT coalesce(sum(refund.amount), 0) FROM payments_refund refund
               JOIN orders_order o ON o.id = refund.order_id
               WHERE refund.state = 'done' AND refund.way <> 'balance' AND NOT o.test)
            - (SELECT coalesce(sum(posting.amount), 0) FROM ledger_posting posting
               JOIN ledger_account account ON account.id = posting.account_id WHERE account.code LIKE 'gateway:%')
        FROM payments_event event JOIN orders_order o ON o.id = event.order_id
        WHERE event.outcome <> 'same_money' AND NOT o.test""",
    "sales that were not delivered": """
        SELECT coalesce(sum(total), 0) - (SELECT coalesce(sum(amount), 0) FROM ledger_entry WHERE kind = 'sale')
        FROM orders_order WHERE delivered_at IS NOT NULL AND NOT test""",
    "a message written twice": """
        SELECT count(*) FROM (SELECT 1 FROM messages_message WHERE order_id IS NOT NULL AND event <> 'order_refunded'
            GROUP BY order_id, event HAVING count(*) > 1) AS twice""",
}
