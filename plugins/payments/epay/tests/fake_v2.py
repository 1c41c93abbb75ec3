"""A gateway that speaks EPay V2 and keeps its own log of trades and refunds. It shares no code with the plugin."""

import base64
import json
import time
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from core.api import CallbackRequest, Money
from core.api.testing import FakeGateway, serve

PID = "1007"


@cache
def key_pair(whose: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_text(key: rsa.RSAPrivateKey) -> str:
    """One line of base64, as the gateways' consoles show it."""
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return base64.b64encode(der).decode()


def public_text(key: rsa.RSAPrivateKey) -> str:
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def content(params: dict[str, Any]) -> bytes:
    kept = [name for name in sorted(params) if name not in ("sign", "sign_type") and params[name] not in ("", None)]
    parts = [f"{name}={params[name]}" for name in kept]
    return "&".join(parts).encode()


def signed(params: dict[str, Any], key: rsa.RSAPrivateKey) -> dict[str, Any]:
    signature = base64.b64encode(key.sign(content(params), padding.PKCS1v15(), hashes.SHA256())).decode()
    return {**params, "sign": signature, "sign_type": "RSA"}


@dataclass
class Trade:
    number: str
    asked: dict[str, str]
    status: int = 0
    refunds: dict[str, str] = field(default_factory=dict)


class EpayV2(FakeGateway):
    def __init__(self) -> None:
        super().__init__()
        self.ours = key_pair("platform")
        self.merchant = key_pair("merchant")
        self.trades: dict[str, Trade] = {}
        self.clock_off = 0
        self.sign_with = self.ours
        self.refund_says = "done"
        """``done``; ``later``: taken on, not yet done; ``no``: refused; ``done, no``: it happens and is denied."""
        self.pay_type = ""
        self.closed = False

    def routes(self):
        return [
            web.post("/api/pay/create", self._create),
            web.get("/api/pay/submit", self._submit),
            web.post("/api/pay/query", self._query),
            web.post("/api/pay/refund", self._refund),
            web.post("/api/pay/refundquery", self._refund_query),
            web.post("/api/merchant/info", self._merchant),
            web.get("/cashier/{ref}", self._cashier),
        ]

    # -- the merchant's requests

    async def _form(self, request: web.Request) -> dict[str, str]:
        given = dict(request.query if request.method == "GET" else await request.post())
        if given.get("pid") != PID:
            raise web.HTTPOk(text=json.dumps({"code": -3, "msg": "商户不存在"}))
        try:
            signature = base64.b64decode(given.get("sign", ""))
            self.merchant.public_key().verify(signature, content(given), padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            raise web.HTTPOk(text=json.dumps({"code": -3, "msg": "RSA签名校验失败"})) from None
        if abs(time.time() - int(given.get("timestamp", 0))) > 300:
            raise web.HTTPOk(text=json.dumps({"code": -3, "msg": "时间戳字段不正确"}))
        return given

    def _say(self, **facts: Any) -> web.Response:
        answer = {"msg": "ok", **facts, "timestamp": str(int(time.time()) + self.clock_off)}
        return web.json_response(signed(answer, self.sign_with))

    def _open(self, given: dict[str, str]) -> Trade:
        ref = given["out_trade_no"]
        if ref not in self.trades:
            self.trades[ref] = Trade(f"E{len(self.trades) + 100000}", given)
        return self.trades[ref]

    async def _create(self, request: web.Request) -> web.Response:
        given = await self._form(request)
        if not given.get("type"):
            return web.json_response({"code": -1, "msg": "支付方式(type)不能为空"})
        trade = self._open(given)
        kind = self.pay_type or ("jump" if given["method"] == "jump" else "qrcode")
        page = f"{self.address}/cashier/{given['out_trade_no']}"
        return self._say(code=0, trade_no=trade.number, pay_type=kind, pay_info=page)

    async def _submit(self, request: web.Request) -> web.Response:
        given = await self._form(request)
        self._open(given)
        raise web.HTTPFound(f"/cashier/{given['out_trade_no']}")

    async def _query(self, request: web.Request) -> web.Response:
        given = await self._form(request)
        trade = self.trades.get(given["out_trade_no"])
        if trade is None:
            return web.json_response({"code": -1, "msg": "订单号不存在"})
        return self._say(
            code=0,
            trade_no=trade.number,
            out_trade_no=given["out_trade_no"],
            pid=int(PID),
            type=trade.asked.get("type", ""),
            money=trade.asked["money"],
            status=trade.status,
            refundmoney=str(sum(map(Decimal, trade.refunds.values()))),
            param=None,
        )

    async def _refund(self, request: web.Request) -> web.Response:
        given = await self._form(request)
        wanted = given.get("trade_no") or given.get("out_trade_no")
        known = [one for ref, one in self.trades.items() if wanted in (ref, one.number)]
        if not known or not known[0].status or self.refund_says == "no":
            return web.json_response({"code": -1, "msg": "退款失败"})
        number = given["out_refund_no"]
        if self.refund_says != "later":
            known[0].refunds.setdefault(number, given["money"])
        if self.refund_says == "done, no":
            return web.json_response({"code": -1, "msg": "接口超时"})
        return self._say(code=0, refund_no=f"R{number}", out_refund_no=number, money=given["money"])

    async def _refund_query(self, request: web.Request) -> web.Response:
        number = (await self._form(request))["out_refund_no"]
        sums = self.refunds(number)
        if not sums:
            return web.json_response({"code": -1, "msg": "退款记录不存在"})
        return self._say(code=0, refund_no=f"R{number}", out_refund_no=number, money=sums[0].plain(), status=1)

    async def _merchant(self, request: web.Request) -> web.Response:
        await self._form(request)
        return self._say(code=0, pid=int(PID), active="0" if self.closed else "1", money="0.00")

    async def _cashier(self, request: web.Request) -> web.Response:
        return web.Response(text=f"<h1>收银台</h1><p>{self.trades[request.match_info['ref']].asked['money']}")

    # -- what a test does and counts

    def settings(self):
        return {
            "gateway": self.address,
            "version": "v2",
            "pid": PID,
            "private_key": private_text(self.merchant),
            "platform_key": public_text(self.ours),
        }

    def foreign_settings(self):
        strangers = {"private_key": private_text(key_pair("stranger")), "platform_key": public_text(key_pair("other"))}
        return {**self.settings(), **strangers}

    async def pay(self, attempt, started):
        self.trades[attempt.ref].status = 1

    def notice(self, ref: str, **changes: str) -> dict[str, str]:
        """What it tells the shop, signed."""
        trade = self.trades[ref]
        facts = {
            "pid": PID,
            "trade_no": trade.number,
            "out_trade_no": ref,
            "type": trade.asked.get("type", ""),
            "name": trade.asked["name"],
            "money": trade.asked["money"],
            "trade_status": "TRADE_SUCCESS",
            "timestamp": str(int(time.time())),
        }
        return signed({**facts, **changes}, self.sign_with)

    async def callback(self, attempt):
        return CallbackRequest("GET", urlencode(self.notice(attempt.ref)).encode(), b"", {}, "198.51.100.1")

    def payments(self, ref):
        return int(ref in self.trades)

    def refunds(self, ref):
        sums = [one.refunds[ref] for one in self.trades.values() if ref in one.refunds]
        return [Money.parse(text, "CNY") for text in sums]


def query(address: str) -> dict[str, str]:
    return dict(parse_qsl(address.partition("?")[2]))


if __name__ == "__main__":
    serve(EpayV2)
