"""A gateway that speaks EPay V1, as a process of its own: ``python tests/gateways/epay.py --port 0 --key KEY``.

It prints its address on one line. It shares no code with the shop, so that both have to agree over the wire.

What a gateway offers: ``/submit.php``, ``/mapi.php``, ``/api.php`` and the page behind them, ``/cashier.php``.
What a test needs: ``GET /_log`` (trades, calls of the merchant, requests), ``POST /_script`` (a JSON object of
the fields of `Script`; what is left out is normal again), ``POST /_pay?out_trade_no=`` (the buyer pays with the
phone), ``POST /_notify?out_trade_no=`` (call the merchant once more) and ``GET /_notify?out_trade_no=`` (only
give the signed address).
"""

import argparse
import asyncio
import hashlib
import html
import itertools
import json
import re
import sys
import time
from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from aiohttp import ClientError, ClientSession, ClientTimeout, web
from yarl import URL

CHANNELS = {"alipay": "支付宝", "wxpay": "微信支付", "qqpay": "QQ钱包", "bank": "网银支付", "usdt": "USDT"}
MINUTE = 60
RETRIES = (1 * MINUTE, 2 * MINUTE, 16 * MINUTE, 36 * MINUTE, 60 * MINUTE)
TEN_DAYS = 864_000
SAME = ("money", "name", "notify_url", "return_url", "param")
numbers = itertools.count(10_001)


@dataclass
class Script:
    """What goes wrong, until the next script."""

    pay_without_notify: bool = False
    never: bool = False
    notify_first_n_fail: int = 0
    notify_times: int = 1
    notify_late: float = 0.0
    notify_money: str = ""
    notify_pid: str = ""
    notify_status: str = "TRADE_SUCCESS"
    notify_key: str = ""
    notify_name: str = ""
    slow: float = 0.0
    broken: list[str] = field(default_factory=list)
    garbage: list[str] = field(default_factory=list)
    mapi_answer: str = "payurl"
    query_money: str = ""
    query_pid: str = ""
    query_order: str = ""
    refusal: str = ""
    refund: str = ""
    """``no``: refused. ``no, -1``; ``done, -1``; ``done, 0``: it happens, the answer is unclear. ``done, garbage``."""


@dataclass
class Trade:
    trade_no: str
    out_trade_no: str
    type: str
    name: str
    money: str
    notify_url: str
    return_url: str
    param: str
    clientip: str
    created: float
    status: int = 0
    tries: int = 0
    notified: bool = False
    refunds: list[dict[str, str]] = field(default_factory=list)


class Problem(Exception):
    """The gateway says no; ``code`` as mapi.php gives it."""

    def __init__(self, text: str, code: int = -1) -> None:
        super().__init__(text)
        self.code = code


class Gateway:
    def __init__(self, pid: str, key: str, retry_scale: float) -> None:
        self.pid, self.key, self.retry_scale = pid, key, retry_scale
        self.trades: dict[str, Trade] = {}
        self.calls: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.script = Script()
        self.running: set[asyncio.Task[None]] = set()

    # --- the merchant's requests

    def verify(self, given: dict[str, str]) -> None:
        if given.get("pid") != self.pid:
            raise Problem("商户不存在！")
        if sign(given, self.key) != given.get("sign"):
            raise Problem("签名校验失败，请返回重试！")

    def open_trade(self, given: dict[str, str]) -> Trade:
        self.verify(given)
        for name in ("out_trade_no", "notify_url", "return_url", "name", "money"):
            if not given.get(name):
                raise Problem(f"{name}不能为空")
        if not re.fullmatch(r"[0-9]+(\.[0-9]{1,2})?", given["money"]) or Decimal(given["money"]) <= 0:
            raise Problem("金额不合法")
        if not re.fullmatch(r"[a-zA-Z0-9._\-|]+", given["out_trade_no"]):
            raise Problem("订单号(out_trade_no)格式不正确")
        given = {**given, "name": cut(given["name"], 127)}
        old = self.trades.get(given["out_trade_no"])
        if old and time.time() - old.created < TEN_DAYS:
            return self.same_trade(old, given)
        trade = Trade(
            trade_no=f"{time.strftime('%Y%m%d%H%M%S')}{next(numbers)}",
            created=time.time(),
            **{name: given.get(name, "") for name in ("out_trade_no", "type", "clientip", *SAME)},
        )
        self.trades[trade.out_trade_no] = trade
        return trade

    def same_trade(self, old: Trade, given: dict[str, str]) -> Trade:
        if old.status > 0:
            raise Problem(f"该订单({old.out_trade_no})已完成支付，请勿重复发起支付")
        if any(getattr(old, name) != given.get(name, "") for name in SAME):
            raise Problem(f"该订单({old.out_trade_no})支付参数有变化，请更换订单号重新发起支付")
        old.type = given.get("type", "")
        return old

    def by_number(self, trade_no: str) -> Trade:
        for trade in self.trades.values():
            if trade.trade_no == trade_no:
                return trade
        raise web.HTTPNotFound(text="no such trade")

    # --- the buyer pays

    async def pay(self, trade: Trade) -> None:
        """Mark as paid; returns once the merchant was called the first time."""
        if self.script.never or trade.status:
            return
        trade.status = 1
        if self.script.pay_without_notify:
            return
        first_try = asyncio.Event()
        task = asyncio.create_task(self.keep_notifying(trade, first_try))
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        if not self.script.notify_late:
            await first_try.wait()

    async def keep_notifying(self, trade: Trade, first_try: asyncio.Event) -> None:
        await asyncio.sleep(self.script.notify_late)
        answers = await asyncio.gather(*(self.notify(trade) for _ in range(self.script.notify_times)))
        first_try.set()
        for pause in RETRIES if not any(answers) else ():
            await asyncio.sleep(pause * self.retry_scale)
            if await self.notify(trade):
                return

    async def notify(self, trade: Trade) -> bool:
        trade.tries += 1
        started = time.time()
        if trade.tries <= self.script.notify_first_n_fail:
            self.record(trade, started, None, "lost on the way")
            return False
        try:
            async with (
                ClientSession(timeout=ClientTimeout(total=10)) as session,
                session.get(self.with_query(trade.notify_url, trade), allow_redirects=False) as answer,
            ):
                text = await answer.text()
                self.record(trade, started, answer.status, text)
        except (ClientError, TimeoutError) as error:
            self.record(trade, started, None, type(error).__name__)
            return False
        trade.notified = trade.notified or any(word in text for word in ("success", "SUCCESS", "Success"))
        return trade.notified

    def record(self, trade: Trade, started: float, status: int | None, answer: str) -> None:
        self.calls.append(
            {
                "out_trade_no": trade.out_trade_no,
                "status": status,
                "answer": answer[:500],
                "at": started,
                "seconds": time.time() - started,
            }
        )

    def with_query(self, address: str, trade: Trade) -> URL:
        # As the gateway wrote it: yarl would rewrite escapes that the signature does not cover.
        return URL(f"{address}{'&' if '?' in address else '?'}{self.signed_query(trade)}", encoded=True)

    def signed_query(self, trade: Trade) -> str:
        params = {
            "pid": self.script.notify_pid or self.pid,
            "trade_no": trade.trade_no,
            "out_trade_no": trade.out_trade_no,
            "type": trade.type,
            "name": self.script.notify_name or trade.name,
            "money": as_php_float(self.script.notify_money or trade.money),
            "trade_status": self.script.notify_status,
        }
        if trade.param:
            params["param"] = trade.param
        params["sign"] = sign(params, self.script.notify_key or self.key)
        params["sign_type"] = "MD5"
        return urlencode(params)


def sign(params: dict[str, str], key: str) -> str:
    text = ""
    for name in sorted(params):
        if name not in ("sign", "sign_type") and params[name] != "":
            text += f"{name}={params[name]}&"
    return hashlib.md5((text[:-1] + key).encode(), usedforsecurity=False).hexdigest()


def as_php_float(money: str) -> str:
    return format(Decimal(money).normalize(), "f")


def cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


# --- pages and calls

GATEWAY = web.AppKey("gateway", Gateway)
routes = web.RouteTableDef()


@web.middleware
async def faults(request: web.Request, handler: Any) -> web.StreamResponse:
    gateway = request.app[GATEWAY]
    path = request.path.strip("/")
    if path.startswith("_"):
        return await handler(request)
    gateway.requests.append({"method": request.method, "path": request.path, "params": await sent(request)})
    if gateway.script.slow and path in ("mapi.php", "api.php"):
        await asyncio.sleep(gateway.script.slow)
    if path in gateway.script.broken:
        raise web.HTTPInternalServerError(text="<html>500 Internal Server Error</html>")
    if path in gateway.script.garbage:
        return web.Response(text="<b>Warning</b>: mysqli_connect() in config.php on line 3", content_type="text/html")
    return await handler(request)


async def sent(request: web.Request) -> dict[str, str]:
    """As PHP reads it: the query when it holds a pid, else the form."""
    return dict(request.query if "pid" in request.query else await request.post())


def say(data: dict[str, Any]) -> web.Response:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return web.Response(text=text, content_type="application/json")


def show(title: str, body: str) -> web.Response:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    head += '<link rel="icon" href="data:,">'
    return web.Response(text=f"<!doctype html>{head}<h1>{title}</h1>{body}", content_type="text/html")


@routes.route("*", "/submit.php")
async def submit(request: web.Request) -> web.StreamResponse:
    try:
        trade = request.app[GATEWAY].open_trade(await sent(request))
    except Problem as problem:
        return show("站点提示信息", f"<p>{html.escape(str(problem))}</p>")
    raise web.HTTPFound(f"/cashier.php?trade_no={trade.trade_no}")


@routes.route("*", "/mapi.php")
async def mapi(request: web.Request) -> web.StreamResponse:
    gateway = request.app[GATEWAY]
    given = await sent(request)
    if not given:
        return say({"code": -4, "msg": "未传入任何参数"})
    try:
        gateway.verify(given)
        if gateway.script.refusal:
            raise Problem(gateway.script.refusal)
        for name, text in (("clientip", "用户IP地址(clientip)"), ("type", "支付方式(type)")):
            if not given.get(name):
                raise Problem(f"{text}不能为空")
        if given["type"] not in CHANNELS:
            raise Problem("支付方式(type)不存在", -2)
        trade = gateway.open_trade(given)
    except Problem as problem:
        return say({"code": problem.code, "msg": str(problem)})
    page = f"{request.url.origin()}/cashier.php?trade_no={trade.trade_no}"
    answers = {
        "payurl": page,
        "qrcode": page,
        "urlscheme": f"weixin://dl/business/?ticket={trade.trade_no}",
        "html": f'<form action="{page}"></form>',
    }
    kind = gateway.script.mapi_answer
    return say({"code": 1, "trade_no": trade.trade_no, kind: answers.get(kind, kind)})


@routes.get("/api.php")
async def api(request: web.Request) -> web.StreamResponse:
    gateway, query = request.app[GATEWAY], request.query
    act = query.get("act")
    if act not in ("query", "order"):
        return say({"code": -5, "msg": "No Act!"})
    if query.get("pid") != gateway.pid:
        return say({"code": -3, "msg": "商户ID不存在"})
    if query.get("key") != gateway.key:
        return say({"code": -3, "msg": "商户密钥错误"})
    if act == "query":
        return say(merchant(gateway))
    return say(order(gateway, query.get("trade_no"), query.get("out_trade_no")))


@routes.post("/api.php")
async def give_back(request: web.Request) -> web.StreamResponse:
    """``act=refund``. As at the real ones, a second call with the same number pays a second time."""
    gateway, form = request.app[GATEWAY], await request.post()
    if request.query.get("act") != "refund":
        return say({"code": -5, "msg": "No Act!"})
    if form.get("pid") != gateway.pid or form.get("key") != gateway.key:
        return say({"code": -3, "msg": "商户密钥错误"})
    known = [
        trade
        for trade in gateway.trades.values()
        if form.get("trade_no") == trade.trade_no or form.get("out_trade_no") == trade.out_trade_no
    ]
    if not known or not known[0].status:
        return say({"code": -1, "msg": "当前订单不存在！"})
    [trade], money, said = known, str(form.get("money")), gateway.script.refund
    if said == "no":
        return say({"code": -2, "msg": "商户未开启订单退款API接口"})
    if said == "no, -1":
        return say({"code": -1, "msg": "商户余额不足"})
    trade.refunds.append({"out_refund_no": str(form.get("out_refund_no", "")), "money": money})
    if sum(Decimal(one["money"]) for one in trade.refunds) >= Decimal(trade.money):
        trade.status = 2
    if said == "done, garbage":
        return web.Response(text="<b>Fatal error</b>", content_type="text/html")
    code = {"done, -1": -1, "done, 0": 0}.get(said, 1)
    return say({"code": code, "msg": "退款成功" if code == 1 else "订单退款中"})


def merchant(gateway: Gateway) -> dict[str, Any]:
    return {
        "code": 1,
        "pid": int(gateway.pid),
        "key": gateway.key,
        "active": "1",
        "money": "0.00",
        "type": "1",
        "account": "merchant@example.com",
        "username": "merchant",
        "orders": len(gateway.trades),
        "orders_today": len(gateway.trades),
        "orders_lastday": 0,
    }


def order(gateway: Gateway, trade_no: str | None, out_trade_no: str | None) -> dict[str, Any]:
    if not trade_no and not out_trade_no:
        return {"code": -4, "msg": "订单号不能为空"}
    for trade in gateway.trades.values():
        if trade.trade_no == trade_no or (not trade_no and trade.out_trade_no == out_trade_no):
            return order_facts(gateway, trade)
    return {"code": -1, "msg": "订单号不存在"}


def order_facts(gateway: Gateway, trade: Trade) -> dict[str, Any]:
    opened = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(trade.created))
    return {
        "code": 1,
        "msg": "succ",
        "trade_no": trade.trade_no,
        "out_trade_no": gateway.script.query_order or trade.out_trade_no,
        "api_trade_no": f"API{trade.trade_no}" if trade.status else None,
        "type": trade.type,
        "pid": gateway.script.query_pid or gateway.pid,
        "addtime": opened,
        "endtime": opened if trade.status else None,
        "name": trade.name,
        "money": gateway.script.query_money or f"{Decimal(trade.money):.2f}",
        "param": trade.param or None,
        "buyer": None,
        "status": str(trade.status),
        "payurl": None,
    }


@routes.get("/cashier.php")
async def cashier(request: web.Request) -> web.StreamResponse:
    trade = request.app[GATEWAY].by_number(request.query.get("trade_no", ""))
    if trade.status:
        return show("收银台", "<p>该订单已支付</p>")
    facts = f"<p>{html.escape(trade.name)}</p><p>¥{html.escape(trade.money)}</p>"
    return show("收银台", f'{facts}<form method="post"><button id="pay">立即支付</button></form>')


@routes.post("/cashier.php")
async def pay_button(request: web.Request) -> web.StreamResponse:
    gateway = request.app[GATEWAY]
    trade = gateway.by_number(request.query.get("trade_no", ""))
    await gateway.pay(trade)
    if not trade.status:
        return show("收银台", "<p>等待付款</p>")
    raise web.HTTPSeeOther(gateway.with_query(trade.return_url, trade))


@routes.get("/_log")
async def log(request: web.Request) -> web.StreamResponse:
    gateway = request.app[GATEWAY]
    trades = [asdict(trade) for trade in gateway.trades.values()]
    return say({"trades": trades, "calls": gateway.calls, "requests": gateway.requests})


@routes.post("/_script")
async def rewrite(request: web.Request) -> web.StreamResponse:
    given = await request.json()
    unknown = set(given) - {known.name for known in fields(Script)}
    if unknown:
        raise web.HTTPBadRequest(text=f"no such fault: {', '.join(sorted(unknown))}")
    request.app[GATEWAY].script = Script(**given)
    return say(given)


def asked_trade(request: web.Request) -> Trade:
    trade = request.app[GATEWAY].trades.get(request.query.get("out_trade_no", ""))
    if trade is None:
        raise web.HTTPNotFound(text="no such trade")
    return trade


@routes.post("/_pay")
async def pay_by_phone(request: web.Request) -> web.StreamResponse:
    trade = asked_trade(request)
    await request.app[GATEWAY].pay(trade)
    return say({"status": trade.status})


@routes.post("/_status")
async def set_status(request: web.Request) -> web.StreamResponse:
    trade = asked_trade(request)
    trade.status = int(request.query["status"])
    return say({"status": trade.status})


@routes.post("/_notify")
async def notify_again(request: web.Request) -> web.StreamResponse:
    return say({"accepted": await request.app[GATEWAY].notify(asked_trade(request))})


@routes.get("/_notify")
async def notify_address(request: web.Request) -> web.StreamResponse:
    trade = asked_trade(request)
    return say({"url": str(request.app[GATEWAY].with_query(trade.notify_url, trade))})


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--pid", default="1001")
    parser.add_argument("--key", required=True)
    parser.add_argument("--retry-scale", type=float, default=1.0, help="0.001 makes a minute of waiting 60 ms")
    parser.add_argument("--until-eof", action="store_true", help="end with whoever started us")
    chosen = parser.parse_args()
    app = web.Application(middlewares=[faults])
    app[GATEWAY] = Gateway(chosen.pid, chosen.key, chosen.retry_scale)
    app.add_routes(routes)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", chosen.port)
    await site.start()
    port = runner.addresses[0][1]
    print(f"http://127.0.0.1:{port}", flush=True)
    if chosen.until_eof:
        await asyncio.to_thread(sys.stdin.read)
    else:
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
