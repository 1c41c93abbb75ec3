"""Alipay as a way to be paid: a QR code or a page, by the buyer's device."""

import asyncio
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from core.api import (
    Attempt,
    CallbackRequest,
    Claim,
    ClaimState,
    Forged,
    GatewayRefused,
    GatewayUnavailable,
    Money,
    NotSent,
    PaymentMethod,
    PluginContext,
    QrCode,
    Redirect,
    Refund,
    RefundAnswer,
    RefundState,
    Started,
    StatementLine,
    _,
)

from . import bill
from .bill import our_number, our_ref
from .gateway import BEIJING, TIME, Gateway, Refused
from .settings import AlipaySettings

CURRENCY = "CNY"
TITLE = {"en": "Alipay", "zh-CN": "支付宝"}
SUBJECT_SIGNS = 128
STATES = {
    "TRADE_SUCCESS": ClaimState.PAID,
    "TRADE_FINISHED": ClaimState.PAID,
    "TRADE_CLOSED": ClaimState.EXPIRED,
}
"""Closed is what was not paid in time, and also what was given back whole; core never takes a payment back for it."""
NOT_YET = "WAIT_BUYER_PAY"
UNKNOWN_TRADE = "ACQ.TRADE_NOT_EXIST"
NO_BILL = "BILL_NOT_EXIST"
BILL_MAY_BE_LATE = timedelta(hours=36)
MINUTE = 60


class Alipay(PaymentMethod):
    key = "alipay"
    title = TITLE
    refunds = True
    query_after = (10, 20, 40, *(minutes * MINUTE for minutes in (1, 2, 5, 10, 15, 30, 60, 120)))
    refund_query_after = (15, MINUTE, 5 * MINUTE, 30 * MINUTE)
    statement_zone = "Asia/Shanghai"
    statement_after = 10 * 60 * MINUTE

    def __init__(self, settings: AlipaySettings, ctx: PluginContext[AlipaySettings]) -> None:
        self._settings, self._clock = settings, ctx.clock
        self._gateway = Gateway(settings, ctx)
        self.test_only = settings.server == "sandbox"
        self.starts_here = (settings.desktop, settings.phone) == ("page", "wap")
        self.statements = settings.bill

    def currencies(self) -> frozenset[str]:
        return frozenset({CURRENCY})

    # -- paying -------------------------------------------------------------------------

    async def start(self, attempt: Attempt) -> Started:
        if attempt.amount.currency != CURRENCY:
            raise GatewayRefused(f"Alipay takes {CURRENCY}, not {attempt.amount.currency}")
        trade = {
            "out_trade_no": our_number(attempt.ref),
            "total_amount": attempt.amount.plain(),
            # Alipay signs it in its notices without escapes: what follows an & could be read as further parameters.
            "subject": attempt.title.replace("&", "＆")[:SUBJECT_SIGNS],
            "time_expire": attempt.expires_at.astimezone(BEIJING).strftime(TIME),
        }
        way = self._settings.desktop if attempt.device == "pc" else self._settings.phone
        if way == "qr":
            return await self._code(trade, attempt)
        method, product = ("wap", "QUICK_WAP_PAY") if way == "wap" else ("page", "FAST_INSTANT_TRADE_PAY")
        addresses = {"notify_url": attempt.notify_url, "return_url": attempt.return_url}
        content = {**trade, "product_code": product}
        return Started(Redirect(self._gateway.link(f"alipay.trade.{method}.pay", content, **addresses)))

    async def _code(self, trade: Mapping[str, str], attempt: Attempt) -> Started:
        try:
            said = await self._gateway.call("alipay.trade.precreate", trade, notify_url=attempt.notify_url)
        except NotSent as error:
            raise GatewayUnavailable(str(error)) from None
        code = str(said.get("qr_code") or "")
        if not code or said.get("out_trade_no") != trade["out_trade_no"]:
            raise GatewayUnavailable("Alipay gave no code for this payment")
        opens_app = attempt.device != "pc" and code.startswith("https://")
        return Started(QrCode(code, code if opens_app else None))

    async def parse_callback(self, request: CallbackRequest) -> Claim | None:
        params = request.form_params()
        self._gateway.check_notice(params)
        if params.get("app_id") != self._settings.app_id:
            raise Forged(_("it is for another application"))
        if params.get("seller_id") != self._settings.seller_id:
            raise Forged(_("it is for another seller"))
        if params.get("refund_fee") or params.get("gmt_refund") or params.get("trade_status") == NOT_YET:
            # True, and nothing new: money that went back, or a buyer who has scanned and not paid yet.
            return None
        state = STATES.get(params.get("trade_status", ""))
        if state is None:
            raise Forged(_("it does not say what became of the payment"))
        try:
            return _claim(params, state)
        except ValueError as error:
            raise Forged(str(error)) from None

    async def query(self, attempt: Attempt) -> Claim | None:
        number = our_number(attempt.ref)
        try:
            said = await self._gateway.call("alipay.trade.query", {"out_trade_no": number})
        except NotSent as error:
            raise GatewayUnavailable(str(error)) from None
        except Refused as refused:
            if refused.sub_code == UNKNOWN_TRADE:
                return None  # a code that nobody has scanned yet is no trade
            raise
        if said.get("out_trade_no") != number:
            raise GatewayUnavailable("Alipay told of another payment than it was asked about")
        state = STATES.get(str(said.get("trade_status")))
        try:
            return _claim(said, state) if state else None
        except ValueError as error:
            raise GatewayUnavailable(f"Alipay's answer cannot be used: {error}") from None

    # -- giving back --------------------------------------------------------------------

    async def refund(self, refund: Refund) -> RefundAnswer:
        content = {
            **_trade(refund),
            "refund_amount": refund.amount.plain(),
            "out_request_no": our_number(refund.ref),
            **({"refund_reason": refund.reason[:200]} if refund.reason else {}),
        }
        try:
            said = await self._gateway.call("alipay.trade.refund", content)
        except Refused as refused:
            if refused.is_certain:
                raise
            raise GatewayUnavailable(str(refused)) from None
        if said.get("fund_change") == "Y":
            return RefundAnswer(RefundState.DONE, str(said.get("trade_no") or ""))
        return await self.query_refund(refund) or RefundAnswer(RefundState.PENDING)

    async def query_refund(self, refund: Refund) -> RefundAnswer | None:
        content = {**_trade(refund), "out_request_no": our_number(refund.ref)}
        try:
            said = await self._gateway.call("alipay.trade.fastpay.refund.query", content)
        except NotSent as error:
            raise GatewayUnavailable(str(error)) from None
        except Refused as refused:
            raise GatewayUnavailable(str(refused)) from None
        if said.get("refund_status") != "REFUND_SUCCESS":
            return None
        if said.get("out_request_no") != our_number(refund.ref) or _sum(said, "refund_amount") != refund.amount:
            raise GatewayUnavailable("Alipay told of another refund than it was asked about")
        return RefundAnswer(RefundState.DONE, str(said.get("trade_no") or ""))

    # -- the bill -----------------------------------------------------------------------

    async def statement(self, day: date) -> list[StatementLine] | None:
        content = {"bill_type": "trade", "bill_date": day.isoformat()}
        try:
            said = await self._gateway.call("alipay.data.dataservice.bill.downloadurl.query", content)
        except Refused as refused:
            if refused.sub_code.upper().endswith(NO_BILL):
                return [] if self._clock.now() > _end(day) + BILL_MAY_BE_LATE else None
            raise
        archive = await self._gateway.download(str(said.get("bill_download_url") or ""))
        return await asyncio.to_thread(bill.read, archive)


def _end(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), BEIJING)


def _trade(refund: Refund) -> dict[str, str]:
    if refund.gateway_ref:
        return {"trade_no": refund.gateway_ref}
    return {"out_trade_no": our_number(refund.attempt_ref)}


def _sum(said: Mapping[str, Any], name: str) -> Money | None:
    try:
        return Money.parse(str(said.get(name)), CURRENCY)
    except ValueError:
        return None


def _claim(facts: Mapping[str, Any], state: ClaimState) -> Claim:
    trade_no, number = facts.get("trade_no"), facts.get("out_trade_no")
    if not trade_no or not number:
        raise ValueError("it names no trade")
    return Claim(
        attempt_ref=our_ref(str(number)),
        state=state,
        amount=Money.parse(str(facts.get("total_amount")), CURRENCY),
        gateway_ref=str(trade_no),
        event_key=f"{trade_no}:{state}",
    )
