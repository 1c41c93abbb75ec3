"""The real shop with codes in it, buyers who use it over HTTP, and a look into its database from outside."""

import json
import re
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests import warm

ROOT = Path(__file__).resolve().parents[2]
PRICE = 1990
TLS = httpx.create_ssl_context()

PRODUCT = """
WITH product AS (
    INSERT INTO catalog_product (shop_id, slug, title, state)
    SELECT id, '{slug}', '{{"en": "Month card", "zh-CN": "月卡"}}', 'listed' FROM shops_shop RETURNING id, shop_id
)
INSERT INTO catalog_sku (shop_id, product_id, code, title, price, currency)
SELECT shop_id, id, '{code}', '{{"en": "Month", "zh-CN": "月"}}', {price}, 'CNY' FROM product
"""

FACTS = """
SELECT json_build_object(
    'payment', o.payment_state, 'fulfilment', o.fulfilment_state, 'paid', o.paid,
    'attempts', (SELECT json_agg(state ORDER BY id) FROM payments_attempt WHERE order_id = o.id),
    'events', (SELECT coalesce(json_agg(concat_ws(' ', source, state, outcome) ORDER BY id), '[]')
               FROM payments_event WHERE order_id = o.id),
    'review', (SELECT coalesce(json_agg(kind ORDER BY id), '[]') FROM review_item
               WHERE order_id = o.id AND state = 'open'),
    'codes', (SELECT count(*) FROM vault_code code JOIN orders_line line ON line.id = code.line_id
              WHERE line.order_id = o.id AND code.state = 'delivered'))
FROM orders_order o WHERE o.ref = '{ref}'
"""

# A worker looks for due jobs twice a second; those it does every few seconds need not be waited for.
DUE_NOW = """
UPDATE jobs_job SET run_at = now() - interval '3 seconds'
WHERE key = 'every:{job}' AND state = 'queued' AND run_at > now() - interval '2 seconds'
"""

ASK = "checkout.ask_gateways"

UNPAID = {
    "payment": "unpaid",
    "fulfilment": "reserved",
    "paid": 0,
    "attempts": ["waiting"],
    "events": [],
    "review": [],
    "codes": 0,
}
DELIVERED = {**UNPAID, "payment": "paid", "fulfilment": "delivered", "paid": PRICE, "attempts": ["paid"], "codes": 1}


@dataclass
class RealShop:
    url: str
    environ: dict[str, str]
    sql: Callable[[str], str]
    opened: ExitStack = field(default_factory=ExitStack)
    gateways: httpx.Client = field(init=False)
    """What calls the shop's doors: no cookies."""

    def __post_init__(self) -> None:
        self.gateways = self.client()

    def client(self) -> httpx.Client:
        """A browser's connections and cookies; closed with the shop."""
        return self.opened.enter_context(httpx.Client(timeout=30, verify=TLS))

    def stock(self, sku: str, codes: list[str], folder: Path) -> None:
        """Put a product with these codes on sale; the codes come in by the command line."""
        self.sql(PRODUCT.format(slug=sku.lower(), code=sku, price=PRICE))
        file = folder / f"{sku}.txt"
        file.write_text("\n".join(codes) + "\n")
        done = warm.run("import-codes", str(file), "--sku", sku, env=self.environ)
        assert done.returncode == 0, done.stderr

    def order(self, ref: str) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.sql(FACTS.format(ref=ref)))
        return facts

    def alarms(self) -> list[str]:
        return self.sql("SELECT kind FROM audit_alarm ORDER BY id").splitlines()

    def expire(self, ref: str) -> None:
        """Let the reservation time of an order be over."""
        self.sql(f"UPDATE orders_order SET expires_at = now() - interval '5 minutes' WHERE ref = '{ref}'")
        self.until(lambda: self.order(ref)["payment"] == "expired", job="checkout.expire")

    def ask_now(self, ref: str) -> None:
        """Let the shop's timer believe that the attempts of an order stayed silent for an hour."""
        self.sql(
            "UPDATE payments_attempt SET created_at = created_at - interval '1 hour', next_query_at = now()"
            f" WHERE order_id = (SELECT id FROM orders_order WHERE ref = '{ref}')"
        )

    def until(self, met: Callable[[], bool], seconds: float = 30, job: str = "") -> None:
        """Wait for it; with `job` the worker does that one of its periodic jobs at once."""
        deadline = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < deadline, "it did not happen in time"
            if job:
                self.sql(DUE_NOW.format(job=job))
            time.sleep(0.1)


@dataclass
class Buyer:
    """One browser without JavaScript."""

    shop: RealShop
    http: httpx.Client
    csrf: str = ""

    def place(self, sku: str, method: str) -> str:
        form = {
            "sku": sku,
            "quantity": "1",
            "contact": f"{secrets.token_hex(8)}@example.com",
            "method": method,
            "key": secrets.token_hex(16),
        }
        answer = self.http.post(f"{self.shop.url}/checkout", data=form, headers={"Origin": self.shop.url})
        assert answer.status_code == 303, answer.text
        self.csrf = answer.headers.get("X-CSRF-Token", self.csrf)
        return answer.headers["location"].removeprefix("/o/")

    def page(self, ref: str) -> str:
        answer = self.http.get(f"{self.shop.url}/o/{ref}")
        assert answer.status_code == 200, answer.text
        return answer.text

    def gateway_link(self, ref: str, part: str) -> str:
        """The link on the order page that leads to the gateway."""
        found = re.search(rf'href="([^"]*{re.escape(part)}[^"]*)"', self.page(ref))
        assert found, "there is no link to the gateway"
        return unescape(found[1])

    def pay_with(self, ref: str, method: str) -> None:
        """Choose another way to pay, or try again."""
        answer = self._post(f"/o/{ref}/pay", {"method": method})
        assert answer.status_code == 303, answer.text

    def reveal(self, ref: str) -> list[str]:
        """The codes, as the button shows them."""
        answer = self._post(f"/o/{ref}/reveal", {})
        assert answer.status_code == 200, answer.text
        return re.findall(r'<output class="code">([^<]+)</output>', answer.text)

    def _post(self, path: str, form: dict[str, str]) -> httpx.Response:
        headers = {"Origin": self.shop.url, "X-CSRF-Token": self.csrf}
        return self.http.post(self.shop.url + path, data=form, headers=headers)


def query_of(address: str) -> str:
    return urlsplit(address).query
