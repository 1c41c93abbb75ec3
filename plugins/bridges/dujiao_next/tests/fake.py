"""A Dujiao-Next shop over real HTTP, with its own book of orders. It shares no code with the plugin."""

import hashlib
import hmac
import itertools
import json
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from core.api import CallbackRequest, Money
from core.api.testing import FakeSupplier

KEY, SECRET = "dj_key_0001", "dj_secret_0123456789"
CARD, TOP_UP = "1-11", "2-21"
ROOT = "/api/v1/upstream"


def signed(secret: str, method: str, path: str, stamp: str, body: bytes) -> str:
    text = f"{method}\n{path}\n{stamp}\n{hashlib.md5(body).hexdigest()}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


@dataclass
class Order:
    number: int
    facts: dict[str, Any]
    status: str
    codes: list[str] = field(default_factory=list)


class DujiaoShop(FakeSupplier):
    item = CARD
    top_up = TOP_UP
    account = {"qq": "10001"}
    price = Money(790, "CNY")

    def __init__(self, *, finds_by_reference: bool = True, at_once: bool = True) -> None:
        super().__init__()
        self.finds_by_reference = finds_by_reference
        """Whether it answers the question by our reference, which the published interface does not have."""
        self.at_once = at_once
        self.orders: dict[int, Order] = {}
        self.balance = "1000.00"
        self.price_each = "7.90"
        self.top_up_price: str | None = None
        """What is said of the top-up's price, where that is something else."""
        self.stock = 100
        self.payment_fails = False
        self._numbers = itertools.count(101)

    def routes(self):
        return [
            web.post(f"{ROOT}/ping", self._ping),
            web.get(f"{ROOT}/categories", self._categories),
            web.get(f"{ROOT}/products", self._products),
            web.get(f"{ROOT}/products/{{id}}", self._product),
            web.post(f"{ROOT}/orders", self._order),
            web.get(f"{ROOT}/orders", self._find),
            web.get(f"{ROOT}/orders/{{id}}", self._tell),
        ]

    def settings(self):
        return {"address": f"{self.address}{ROOT}/", "api_key": KEY, "api_secret": SECRET}

    # -- what a test asks and does --------------------------------------------------------

    def sales(self, ref: str) -> int:
        return sum(one.facts["downstream_order_no"] == ref for one in self.orders.values())

    def sell_out(self) -> None:
        self.stock = 0

    def raise_prices(self) -> None:
        self.price_each = "15.80"

    def order_of(self, ref: str) -> Order:
        (order,) = [one for one in self.orders.values() if one.facts["downstream_order_no"] == ref]
        return order

    async def finish(self, ref: str) -> None:
        self._deliver(self.order_of(ref))

    async def callback(self, purchase) -> CallbackRequest:
        order = self.order_of(purchase.ref)
        return self.call({"event": "order.delivered", "timestamp": int(time.time()), **self._facts(order)})

    def call(self, said: dict[str, Any], *, secret: str = SECRET, stamp: int | None = None) -> CallbackRequest:
        """Signed for the published path, wherever it is sent."""
        body, when = json.dumps(said).encode(), str(stamp or int(time.time()))
        headers = {
            "dujiao-next-api-key": KEY,
            "dujiao-next-timestamp": when,
            "dujiao-next-signature": signed(secret, "POST", f"{ROOT}/callback", when, body),
        }
        return CallbackRequest("POST", b"", body, headers, "203.0.113.7")

    # -- the shop ---------------------------------------------------------------------------

    async def _wrong(self, request: web.Request) -> web.Response | None:
        given = request.headers
        stamp = given.get("Dujiao-Next-Timestamp", "")
        if given.get("Dujiao-Next-Api-Key") != KEY:
            return self._no(401, "invalid_api_key")
        if abs(int(stamp) - time.time()) > 60:
            return self._no(401, "timestamp_expired")
        fits = signed(SECRET, request.method, request.path, stamp, await request.read())
        return None if given.get("Dujiao-Next-Signature") == fits else self._no(401, "invalid_signature")

    def _no(self, status: int, code: str) -> web.Response:
        return web.json_response({"ok": False, "error_code": code, "error_message": code}, status=status)

    async def _ping(self, request: web.Request) -> web.Response:
        facts = {
            "site_name": "Upstream",
            "protocol_version": "1.0",
            "user_id": 42,
            "balance": self.balance,
            "currency": "CNY",
            "member_level": None,
        }
        return await self._wrong(request) or web.json_response({"ok": True, **facts})

    async def _categories(self, request: web.Request) -> web.Response:
        names = [{"id": 1, "parent_id": 0, "slug": "games", "name": {"zh-CN": "游戏"}, "icon": "", "sort_order": 10}]
        return await self._wrong(request) or web.json_response({"ok": True, "categories": names})

    def _goods(self) -> list[dict[str, Any]]:
        def sku(number: int) -> dict[str, Any]:
            return {
                "id": number,
                "sku_code": f"SKU{number}",
                "spec_values": {"Color": "Red", "Size": "128GB"} if number == 21 else {},
                "price_amount": self.top_up_price if self.top_up_price and number == 21 else self.price_each,
                "stock_status": "in_stock" if self.stock else "out_of_stock",
                "stock_quantity": self.stock,
                "is_active": True,
            }

        def product(number: int, kind: str, sku_id: int, schema: Any) -> dict[str, Any]:
            return {
                "id": number,
                "slug": f"product-{number}",
                "title": {"zh-CN": f"商品 {number}", "en": f"Product {number}"},
                "description": {"zh-CN": "这是一个示例"},
                "content": {},
                "seo_meta": {},
                "images": ["https://example.com/img1.jpg"],
                "tags": ["hot"],
                "price_amount": self.price_each,
                "fulfillment_type": kind,
                "manual_form_schema": schema,
                "is_active": True,
                "category_id": 1,
                "skus": [sku(sku_id)],
                "created_at": "2026-03-01T12:00:00Z",
                "updated_at": "2026-03-01T12:00:00Z",
            }

        asked = {"fields": [{"key": "qq", "type": "text", "required": True, "label": {"zh-CN": "QQ 号", "en": "QQ"}}]}
        return [product(1, "auto", 11, None), product(2, "manual", 21, asked)]

    async def _products(self, request: web.Request) -> web.Response:
        number, size = int(request.query["page"]), int(request.query["page_size"])
        items = self._goods()
        page = items[(number - 1) * size : number * size]
        facts = {"items": page, "total": len(items), "page": number, "page_size": size}
        return await self._wrong(request) or web.json_response({"ok": True, **facts})

    async def _product(self, request: web.Request) -> web.Response:
        found = [one for one in self._goods() if str(one["id"]) == request.match_info["id"]]
        if wrong := await self._wrong(request):
            return wrong
        return web.json_response({"ok": True, "product": found[0]}) if found else self._no(404, "product_not_found")

    async def _order(self, request: web.Request) -> web.Response:
        if wrong := await self._wrong(request):
            return wrong
        facts = json.loads(await request.read())
        before = [
            one for one in self.orders.values() if one.facts["downstream_order_no"] == facts["downstream_order_no"]
        ]
        if before:
            return self._taken(before[0])
        if facts["sku_id"] == 21 and not facts.get("manual_form_data"):
            return self._no(400, "bad_request")
        if self.stock < facts["quantity"]:
            return self._no(409, "insufficient_stock")
        if self.payment_fails:
            failed = {"ok": False, "order_id": 7, "order_no": "DJ7", "status": "canceled"}
            return web.json_response({**failed, "error_code": "payment_failed", "error_message": "wallet"})
        order = Order(next(self._numbers), facts, "paid")
        self.orders[order.number] = order
        if self.at_once:
            self._deliver(order)
        return self._taken(order)

    def _deliver(self, order: Order) -> None:
        if order.status == "paid":
            order.status = "completed"
            order.codes = [f"CODE-{order.number}-{place}" for place in range(order.facts["quantity"])]

    def _taken(self, order: Order) -> web.Response:
        facts = {"order_id": order.number, "order_no": f"DJ{order.number}", "status": "paid"}
        return web.json_response({"ok": True, **facts, "amount": self._sum(order), "currency": "CNY"})

    def _sum(self, order: Order) -> str:
        return Money(self.price.amount * order.facts["quantity"], "CNY").plain()

    def _facts(self, order: Order) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "order_id": order.number,
            "order_no": f"DJ{order.number}",
            "downstream_order_no": order.facts["downstream_order_no"],
            "status": order.status,
        }
        if order.codes:
            facts["fulfillment"] = {
                "type": "manual" if order.facts["sku_id"] == 21 else "auto",
                "status": "delivered",
                "payload": "\n".join(order.codes),
                "delivery_data": None,
                "delivered_at": "2026-03-01T12:01:00Z",
            }
        return facts

    async def _tell(self, request: web.Request) -> web.Response:
        order = self.orders.get(int(request.match_info["id"]))
        if wrong := await self._wrong(request):
            return wrong
        if order is None:
            return self._no(404, "order_not_found")
        facts = {**self._facts(order), "amount": self._sum(order), "currency": "CNY", "items": []}
        return web.json_response({"ok": True, **facts})

    async def _find(self, request: web.Request) -> web.Response:
        if not self.finds_by_reference:
            return web.Response(status=404, text="404 page not found")
        if wrong := await self._wrong(request):
            return wrong
        ref = request.query["downstream_order_no"]
        found = [one for one in self.orders.values() if one.facts["downstream_order_no"] == ref]
        if not found:
            return self._no(404, "order_not_found")
        facts = {**self._facts(found[0]), "amount": self._sum(found[0]), "currency": "CNY"}
        return web.json_response({"ok": True, **facts})
