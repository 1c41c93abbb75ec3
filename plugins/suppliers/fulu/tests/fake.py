"""Fulu's gateway over real HTTP, with its own book of orders. It shares no code with the plugin.

``python -m plugins.suppliers.fulu.tests.fake`` runs it as a process of its own.
"""

import base64
import hashlib
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from core.api import CallbackRequest, Money
from core.api.testing import FakeSupplier, Fault, serve

APP_KEY = "i4esv1l+76l/7NQCL3QudG90Fq+YgVfFGJAWgT+7qO1Bm9o/adG/1iwO2qXsAXNB"
APP_SECRET = "0a091b3aa4324435aab703142518a8f7"
CARD, TOP_UP, GAME, LOCKED = "10000587", "10000585", "10000586", "10000588"
PHONE, BAD_PHONE = "15972368779", "13971553804"
"""The sandbox's numbers: the first succeeds, the second fails."""

TEMPLATES = {
    "T-PHONE": [{"Id": "ChargeAccount", "Name": "手机号", "Type": "text", "SortId": 1}],
    "T-GAME": [
        {"Id": "ChargeServer", "Name": "服务器", "Type": "text", "SortId": 2},
        {"Id": "ChargeAccount", "Name": "游戏账号", "Type": "text", "SortId": 1},
    ],
    "T-LOCKED": [{"Id": "ChargePWD", "Name": "密码", "Type": "password", "SortId": 1}],
}


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def signature(text: str, secret: str = APP_SECRET) -> str:
    return hashlib.md5(("".join(sorted(text)) + secret).encode()).hexdigest()


def sealed(text: str) -> str:
    raw = text.encode()
    gap = 16 - len(raw) % 16
    encryptor = Cipher(algorithms.AES(APP_SECRET.encode()), modes.ECB()).encryptor()  # noqa: S305
    return base64.b64encode(encryptor.update(raw + bytes([gap]) * gap) + encryptor.finalize()).decode()


@dataclass
class Order:
    number: str
    facts: dict[str, Any]
    state: str = "processing"
    cards: list[dict[str, Any]] = field(default_factory=list)


class FuluGateway(FakeSupplier):
    item = CARD
    top_up = TOP_UP
    account = {"charge_account": PHONE}
    price = Money(4850, "CNY")

    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[str, Order] = {}
        self.price_each = "48.5000"
        self.game_price: Any = None
        """What is said of the price of points for a game, where that is something else."""
        self.stock = "充足"
        self.at_once = False
        """Whether an order is finished as soon as it is taken."""
        self.breaks_after_price: Fault | None = None
        """What happens to the answer to an order, whose price was asked just before."""
        self._numbers = itertools.count(19102237851777001)
        self._codes = itertools.count(1)

    def routes(self):
        return [
            web.post("/api/getway", self._gateway),
            web.post("/_orders", self._tell_orders),
            web.post("/_change", self._change),
            web.post("/_finish", self._finish_all),
        ]

    def settings(self):
        return {
            "app_key": APP_KEY,
            "app_secret": APP_SECRET,
            "platform": "other",
            "address": f"{self.address}/api/getway",
        }

    # -- what a test asks and does --------------------------------------------------------

    def sales(self, ref: str) -> int:
        return sum(one.facts["customer_order_no"] == ref for one in self.orders.values())

    def sell_out(self) -> None:
        self.stock = "断货"

    def raise_prices(self) -> None:
        self.price_each = "97.0000"

    async def finish(self, ref: str) -> None:
        for one in self.orders.values():
            if one.facts["customer_order_no"] == ref and one.state == "processing":
                self._finish(one)

    async def callback(self, purchase) -> CallbackRequest:
        return CallbackRequest("POST", b"", self.notice(purchase.ref), {}, "203.0.113.7")

    def notice(self, ref: str, **changes: str) -> bytes:
        (order,) = [one for one in self.orders.values() if one.facts["customer_order_no"] == ref]
        facts = {
            "order_id": order.number,
            "charge_finish_time": "2026-11-22 20:17:57",
            "customer_order_no": ref,
            "order_status": order.state,
            "recharge_description": "充值成功",
            "product_id": str(order.facts["product_id"]),
            "price": self.price_each,
            "buy_num": str(order.facts["buy_num"]),
            "operator_serial_number": "--",
            **changes,
        }
        return compact({**facts, "sign": signature(compact(facts))}).encode()

    # -- the gateway ------------------------------------------------------------------------

    async def _gateway(self, request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        given = asked.pop("sign")
        if asked["app_key"] != APP_KEY or given != signature(compact(asked)):
            return self._no(1005, "签名错误")
        content = json.loads(asked["biz_content"])
        method = asked["method"].removeprefix("fulu.").replace(".", "_")
        return getattr(self, f"_{method}")(content)

    def _yes(self, result: Any) -> web.Response:
        text = compact(result)
        return web.json_response({"code": 0, "message": "接口调用成功", "result": text, "sign": signature(text)})

    def _no(self, code: int, message: str) -> web.Response:
        return web.json_response({"code": code, "message": message, "result": None, "sign": ""})

    def _user_info_get(self, _content: Any) -> web.Response:
        return self._yes({"name": "OpenApi2.0对接专用商户", "balance": 344283.1608, "is_open": 1})

    def _goods(self) -> list[dict[str, Any]]:
        def goods(number: str, kind: str, name: str, template: str = "") -> dict[str, Any]:
            return {
                "product_id": int(number),
                "product_name": name,
                "product_type": kind,
                "face_value": 50.0,
                "purchase_price": self.game_price if self.game_price and number == GAME else float(self.price_each),
                "sales_status": "上架",
                "stock_status": self.stock,
                "template_id": template,
                "details": "",
            }

        return [
            goods(CARD, "卡密", "音乐会员月卡"),
            goods(TOP_UP, "直充", "话费直充", "T-PHONE"),
            goods(GAME, "直充", "游戏点券", "T-GAME"),
            goods(LOCKED, "直充", "需要密码的商品", "T-LOCKED"),
        ]

    def _goods_list_get(self, _content: Any) -> web.Response:
        return self._yes(self._goods())

    def _goods_info_get(self, content: Any) -> web.Response:
        if self.breaks_after_price is not None:
            self.fails("*", self.breaks_after_price)
        found = [one for one in self._goods() if str(one["product_id"]) == str(content["product_id"])]
        return self._yes(found[0]) if found else self._no(3001, "商品不存在")

    def _goods_template_get(self, content: Any) -> web.Response:
        inputs = TEMPLATES[content["template_id"]]
        return self._yes(
            {"AddressId": content["template_id"], "IsServiceArea": False, "ElementInfo": {"Inputs": inputs}}
        )

    def _order_card_add(self, content: Any) -> web.Response:
        return self._take(content)

    def _order_direct_add(self, content: Any) -> web.Response:
        return self._take(content) if content.get("charge_account") else self._no(2001, "充值账号不能为空")

    def _take(self, content: dict[str, Any]) -> web.Response:
        if self.stock == "断货":
            return self._no(3005, "商品库存不足")
        if self.sales(content["customer_order_no"]):
            return self._no(4001, "外部订单号重复")
        order = Order(str(next(self._numbers)), content)
        self.orders[order.number] = order
        if self.at_once:
            self._finish(order)
        return self._yes(self._shown(order, with_cards=False))

    def _finish(self, order: Order) -> None:
        if order.facts.get("charge_account") == BAD_PHONE:
            order.state = "failed"
            return
        order.state = "success"
        if "charge_account" in order.facts:
            return
        for _ in range(int(order.facts["buy_num"])):
            number = next(self._codes)
            card = {"card_number": sealed(f"CD1000{number:08d}"), "card_pwd": sealed(f"PW{number:06d}")}
            order.cards.append({**card, "card_type": 0, "card_deadline": "2030-12-31 23:59:59"})

    def _order_info_get(self, content: Any) -> web.Response:
        for order in self.orders.values():
            if order.facts["customer_order_no"] == content["customer_order_no"]:
                return self._yes(self._shown(order, with_cards=order.state == "success"))
        return self._no(4004, "订单不存在")

    def _shown(self, order: Order, *, with_cards: bool) -> dict[str, Any]:
        return {
            "order_id": order.number,
            "customer_order_no": order.facts["customer_order_no"],
            "product_id": order.facts["product_id"],
            "buy_num": order.facts["buy_num"],
            "order_price": float(self.price_each) * int(order.facts["buy_num"]),
            "order_type": 4 if "charge_account" in order.facts else 3,
            "order_state": order.state,
            "cards": order.cards if with_cards else [],
        }

    # -- from another process -----------------------------------------------------------------

    async def _tell_orders(self, _request: web.Request) -> web.Response:
        return web.json_response([one.facts for one in self.orders.values()])

    async def _finish_all(self, _request: web.Request) -> web.Response:
        """Gives the call about each order that ended now."""
        going = [one for one in self.orders.values() if one.state == "processing"]
        for one in going:
            self._finish(one)
        return web.json_response([self.notice(one.facts["customer_order_no"]).decode() for one in going])

    async def _change(self, request: web.Request) -> web.Response:
        for name, value in (await request.json()).items():
            setattr(self, name, value)
        return web.json_response({})


if __name__ == "__main__":
    serve(FuluGateway)
