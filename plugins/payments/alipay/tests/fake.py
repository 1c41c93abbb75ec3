"""A gateway that speaks Alipay's protocol and keeps a log of trades and refunds. It shares no code with the plugin."""

import base64
import io
import json
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import web
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from core.api import CallbackRequest, Money
from core.api.testing import FakeGateway

APP, SELLER = "2021000000000001", "2088000000000001"
COLUMNS = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,"
    "商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,"
    "卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注"
).split(",")


@cache
def key_pair(whose: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_text(key: rsa.RSAPrivateKey) -> str:
    kind = serialization.PrivateFormat.TraditionalOpenSSL
    return base64.b64encode(key.private_bytes(serialization.Encoding.DER, kind, serialization.NoEncryption())).decode()


def public_text(key: rsa.RSAPrivateKey) -> str:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(key.public_key().public_bytes(serialization.Encoding.DER, kind)).decode()


@cache
def certificate(whose: str) -> str:
    """A certificate of that key, issued by a root of its own."""
    parts = ((NameOID.COUNTRY_NAME, "CN"), (NameOID.ORGANIZATION_NAME, "Ant"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "CA"))
    issuer = x509.Name(
        [*(x509.NameAttribute(oid, text) for oid, text in parts), x509.NameAttribute(NameOID.COMMON_NAME, "R1")]
    )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(issuer if whose == "root" else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, whose)]))
        .issuer_name(issuer)
        .public_key(key_pair(whose).public_key())
        .serial_number(int.from_bytes(whose.encode()))
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key_pair("root"), hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def sign(text: str, key: rsa.RSAPrivateKey) -> str:
    return base64.b64encode(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()


def joined(params: dict[str, str], *without: str) -> str:
    return "&".join(f"{name}={params[name]}" for name in sorted(params) if name not in without)


def beijing(moment: datetime | None = None) -> str:
    return ((moment or datetime.now(UTC)) + timedelta(hours=8)).strftime("%Y-%m-%d %H:%M:%S")


@dataclass
class Trade:
    number: str
    total: str
    subject: str
    notify_url: str
    status: str = "WAIT_BUYER_PAY"
    paid_at: str = ""
    refunds: dict[str, str] = field(default_factory=dict)


class AlipayGateway(FakeGateway):
    def __init__(self) -> None:
        super().__init__()
        self.ours, self.merchant = key_pair("alipay"), key_pair("merchant")
        self.sign_with = self.ours
        self.certificate_number = ""
        self.slipped_in = ""
        """What somebody on the way adds to its answers."""
        self.asked: list[dict[str, Any]] = []
        self.codes: dict[str, dict[str, str]] = {}
        self.trades: dict[str, Trade] = {}
        self.no_permission = False
        self.refund_says = "Y"
        """``Y``: it moved money. ``N``: it did not yet. Anything else: a sub_code, and nothing moved."""
        self.bill: bytes | None = None

    def routes(self):
        return [
            web.post("/gateway.do", self._call),
            web.get("/gateway.do", self._page),
            web.get("/bill.zip", self._download),
        ]

    # -- the gateway

    async def _call(self, request: web.Request) -> web.Response:
        assert request.query["charset"] == "utf-8"
        params = {**request.query, **(await request.post())}
        node = params["method"].replace(".", "_") + "_response"
        wrong = self._wrong(params)
        if wrong:
            return web.json_response(
                {"error_response": {"code": "40002", "msg": "Invalid Arguments", "sub_code": wrong}}
            )
        if self.no_permission:
            facts = {"code": "40006", "msg": "Insufficient Permissions", "sub_code": "isv.insufficient-isv-permissions"}
            return self._say(node, facts)
        content = json.loads(params["biz_content"])
        self.asked.append({**params, "content": content})
        acts = {
            "alipay.trade.precreate": self._precreate,
            "alipay.trade.query": self._query,
            "alipay.trade.refund": self._refund,
            "alipay.trade.fastpay.refund.query": self._refund_query,
            "alipay.data.dataservice.bill.downloadurl.query": self._bill,
        }
        return self._say(node, acts[params["method"]](content, params))

    def _wrong(self, params: dict[str, str]) -> str:
        if params.get("app_id") != APP:
            return "isv.invalid-app-id"
        try:
            signature = base64.b64decode(params.get("sign", ""))
            text = joined({name: value for name, value in params.items() if value}, "sign")
            self.merchant.public_key().verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            return "isv.invalid-signature"
        return ""

    def _say(self, node: str, facts: dict[str, Any]) -> web.Response:
        # Written by hand: the signature covers these very signs, with a slash escaped as PHP does it.
        text = json.dumps({"code": "10000", "msg": "Success", **facts}, ensure_ascii=False).replace("/", "\\/")
        more = f',"alipay_cert_sn":"{self.certificate_number}"' if self.certificate_number else ""
        whole = f'{{"{node}":{text}{more}{self.slipped_in},"sign":"{sign(text, self.sign_with)}"}}'
        return web.Response(text=whole, content_type="text/html")

    def _failed(self, sub_code: str) -> dict[str, str]:
        return {"code": "40004", "msg": "Business Failed", "sub_code": sub_code, "sub_msg": f"no: {sub_code}"}

    def _precreate(self, content: dict[str, str], params: dict[str, str]) -> dict[str, str]:
        assert content["out_trade_no"].replace("_", "").isalnum()
        self.codes[content["out_trade_no"]] = {**content, "notify_url": params["notify_url"]}
        return {"out_trade_no": content["out_trade_no"], "qr_code": f"https://qr.alipay.com/{content['out_trade_no']}"}

    async def _page(self, request: web.Request) -> web.Response:
        params = dict(request.query)
        if self._wrong(params):
            return web.Response(status=400, text="isv.invalid-signature")
        content = json.loads(params["biz_content"])
        self.asked.append({**params, "content": content})
        self.codes[content["out_trade_no"]] = {**content, "notify_url": params["notify_url"]}
        return web.Response(text=f"<h1>收银台</h1><p>{content['total_amount']}")

    def _found(self, content: dict[str, str]) -> tuple[str, Trade] | None:
        for ref, trade in self.trades.items():
            if content.get("trade_no") == trade.number or content.get("out_trade_no") == ref:
                return ref, trade
        return None

    def _query(self, content: dict[str, str], params: dict[str, str]) -> dict[str, Any]:
        found = self._found(content)
        if found is None:
            return self._failed("ACQ.TRADE_NOT_EXIST")
        ref, trade = found
        return {
            "out_trade_no": ref,
            "trade_no": trade.number,
            "trade_status": trade.status,
            "total_amount": trade.total,
            "receipt_amount": trade.total,
        }

    def _refund(self, content: dict[str, str], params: dict[str, str]) -> dict[str, Any]:
        found = self._found(content)
        if found is None or not found[1].paid_at:
            return self._failed("ACQ.TRADE_NOT_EXIST")
        ref, trade = found
        if self.refund_says not in ("Y", "N"):
            return self._failed(self.refund_says)
        request = content["out_request_no"]
        again = request in trade.refunds
        if self.refund_says == "Y":
            trade.refunds.setdefault(request, content["refund_amount"])
        back = sum(map(Decimal, trade.refunds.values()))
        if back >= Decimal(trade.total):
            trade.status = "TRADE_CLOSED"
        moved = "Y" if self.refund_says == "Y" and not again else "N"
        return {"out_trade_no": ref, "trade_no": trade.number, "fund_change": moved, "refund_fee": str(back)}

    def _refund_query(self, content: dict[str, str], params: dict[str, str]) -> dict[str, Any]:
        found = self._found(content)
        amount = found[1].refunds.get(content["out_request_no"]) if found else None
        if found is None or amount is None:
            return {}
        return {
            "out_trade_no": found[0],
            "trade_no": found[1].number,
            "out_request_no": content["out_request_no"],
            "refund_amount": amount,
            "refund_status": "REFUND_SUCCESS",
        }

    # -- the daily bill

    def _bill(self, content: dict[str, str], params: dict[str, str]) -> dict[str, Any]:
        if self.bill is None:
            return self._failed("isp.BILL_NOT_EXIST")
        return {"bill_download_url": f"{self.address}/bill.zip"}

    async def _download(self, request: web.Request) -> web.Response:
        return web.Response(body=self.bill)

    # -- what a test does and counts

    def settings(self):
        return {
            "gateway": f"{self.address}/gateway.do",
            "app_id": APP,
            "seller_id": SELLER,
            "private_key": private_text(self.merchant),
            "alipay_key": public_text(self.ours),
        }

    def foreign_settings(self):
        strangers = {"private_key": private_text(key_pair("stranger")), "alipay_key": public_text(key_pair("other"))}
        return {**self.settings(), **strangers}

    def certificate_settings(self):
        more = {"app_certificate": "merchant", "alipay_certificate": "alipay", "root_certificate": "root"}
        texts = {name: certificate(whose) for name, whose in more.items()}
        return {**self.settings(), "alipay_key": None, "mode": "certificates", **texts}

    def scan(self, ref: str) -> Trade:
        """The buyer opens the code or the page: only now there is a trade."""
        number, wanted = ref.replace("-", "_"), self.codes[ref.replace("-", "_")]
        if number not in self.trades:
            trade_no = f"2026112222001{len(self.trades):015d}"
            self.trades[number] = Trade(trade_no, wanted["total_amount"], wanted["subject"], wanted["notify_url"])
        return self.trades[number]

    def pay_now(self, ref: str) -> Trade:
        trade = self.scan(ref)
        trade.status, trade.paid_at = "TRADE_SUCCESS", beijing()
        return trade

    async def pay(self, attempt, started):
        if not self.codes.get(attempt.ref.replace("-", "_")):
            await self.open(started.step.url)
        self.pay_now(attempt.ref)

    async def open(self, link: str) -> None:
        """Follow a link to one of its own pages as a browser would."""
        called = await self.call(f"{self.address}/gateway.do?{urlsplit(link).query}", "GET")
        assert called is not None and called.status == 200, called

    def notice(self, ref: str, **changes: str) -> dict[str, str]:
        """What it tells the shop, signed."""
        number = ref.replace("-", "_")
        trade = self.trades[number]
        facts = {
            "notify_id": f"{trade.number}{trade.status}",
            "notify_type": "trade_status_sync",
            "notify_time": beijing(),
            "charset": "utf-8",
            "version": "1.0",
            "app_id": APP,
            "seller_id": SELLER,
            "out_trade_no": number,
            "trade_no": trade.number,
            "trade_status": trade.status,
            "total_amount": trade.total,
            "subject": trade.subject,
            "fund_bill_list": '[{"amount":"19.90","fundChannel":"ALIPAYACCOUNT"}]',
            **changes,
        }
        return {**facts, "sign_type": "RSA2", "sign": sign(joined(facts), self.sign_with)}

    async def callback(self, attempt):
        return as_call(self.notice(attempt.ref))

    async def tell(self, ref: str, **changes: str):
        """Call the shop's notify address."""
        number = ref.replace("-", "_")
        return await self.call(self.trades[number].notify_url, data=self.notice(ref, **changes))

    def payments(self, ref):
        return int(ref.replace("-", "_") in {**self.codes, **self.trades})

    def refunds(self, ref):
        number = ref.replace("-", "_")
        sums = [trade.refunds[number] for trade in self.trades.values() if number in trade.refunds]
        return [Money.parse(text, "CNY") for text in sums]


def as_call(params: dict[str, str]) -> CallbackRequest:
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    return CallbackRequest("POST", b"", urlencode(params).encode(), headers, "198.51.100.1")


def bill_of(rows: list[dict[str, str]], *, payments: int | None = None) -> bytes:
    """A bill as Alipay packs it: GBK inside, names in GBK without saying so, every text cell with a tab at its end."""
    count = sum(row["业务类型"] == "交易" for row in rows) if payments is None else payments
    lines = [
        "#支付宝业务明细查询",
        "#账号：[20880000000000010156]",
        "#起始日期：[2026年11月21日 00:00:00]   终止日期：[2026年11月22日 00:00:00]",
        "#-----------------------------------------业务明细列表----------------------------------------",
        ",".join(COLUMNS),
        *(",".join(f"{row.get(name, '')}\t" for name in COLUMNS) for row in rows),
        "#-----------------------------------------业务明细列表结束------------------------------------",
        f"#交易合计：{count}笔，商家实收共0.00元，商家优惠共0.00元",
        f"#退款合计：{len([row for row in rows if row['业务类型'] == '退款'])}笔，商家实收退款共0.00元",
    ]
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as files:
        for name, text in (("业务明细(汇总)", "#汇总"), ("业务明细", "\r\n".join(lines))):
            files.writestr(GbkName(f"20880000000000010156_20261121_{name}.csv"), text.encode("gb18030"))
    return whole.getvalue()


class GbkName(zipfile.ZipInfo):
    """zipfile would write the name in UTF-8 and say so; Alipay does neither."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.filename.encode("gb18030"), 0


def parsed(link: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(link).query))


def row(kind: str, trade: str, order: str, amount: str, fee: str, request: str = "") -> dict[str, str]:
    """One line of a bill."""
    return {
        "支付宝交易号": trade,
        "商户订单号": order,
        "业务类型": kind,
        "商品名称": "VIP会员",
        "创建时间": "2026-11-21 12:00:00",
        "完成时间": "2026-11-21 12:00:05",
        "订单金额（元）": amount,
        "商家实收（元）": amount,
        "退款批次号/请求号": request,
        "服务费（元）": fee,
        "分润（元）": "0.00",
    }
