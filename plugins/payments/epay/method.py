"""EPay as a way to be paid; what V2 does in another way is in ``method_v2``."""

from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from core.api import (
    Attempt,
    CallbackRequest,
    Claim,
    ClaimState,
    Forged,
    GatewayRefused,
    GatewayUnavailable,
    Money,
    PaymentMethod,
    PaymentOption,
    QrCode,
    Redirect,
    Refund,
    RefundAnswer,
    RefundState,
    Started,
    Step,
    _,
)

from .gateway import Gateway
from .gateway_v2 import GatewayV2
from .settings import CHANNELS, EpaySettings

CURRENCY = "CNY"
TITLE = {"en": "Pay online", "zh-CN": "在线支付"}
NAME_BYTES = 127
SUCCESS = "TRADE_SUCCESS"
STATUSES = {"1": ClaimState.PAID, "2": ClaimState.FAILED, "3": ClaimState.PENDING}
"""1 paid, 2 refunded, 3 frozen: the money came but is held back. 0, not paid yet, says nothing new."""

ICONS = {"wxpay": "brand-wechat"}
WALLETS = ("https", "weixin", "alipay", "alipays", "mqqapi", "mqqwallet", "upwallet", "uppaywallet")
MINUTE = 60
REFUNDED = "2"


G = TypeVar("G", Gateway, GatewayV2)


class EpayMethod(PaymentMethod, Generic[G]):
    """What V1 and V2 have in common."""

    key = "epay"
    title = TITLE
    refunds = True

    def __init__(self, settings: EpaySettings, gateway: G) -> None:
        self._settings = settings
        self._gateway: G = gateway
        self.options = tuple(
            PaymentOption(name, CHANNELS[name], ICONS.get(name, "credit-card")) for name in settings.channels()
        )
        if settings.query:
            self.query_after = (15, 30, *(minutes * MINUTE for minutes in (1, 2, 5, 10, 15, 30, 60, 120)))
            self.refund_query_after = (15, MINUTE, 5 * MINUTE)

    def currencies(self) -> frozenset[str]:
        return frozenset({CURRENCY})

    def _trade(self, attempt: Attempt) -> dict[str, str]:
        if attempt.amount.currency != CURRENCY:
            raise GatewayRefused(f"EPay takes {CURRENCY}, not {attempt.amount.currency}")
        channel = {"type": attempt.option} if attempt.option else {}
        return {
            "pid": self._settings.pid,
            **channel,
            "out_trade_no": attempt.ref,
            "notify_url": attempt.notify_url,
            "return_url": attempt.return_url,
            # Signed without escapes: a name with & could be read as further parameters, and make this a notice.
            "name": cut(attempt.title.replace("&", "＆"), NAME_BYTES),
            "money": attempt.amount.plain(),
        }

    async def parse_callback(self, request: CallbackRequest) -> Claim:
        params = request.form_params() if request.method == "POST" and request.body else request.query_params()
        self._gateway.check_notice(params)
        if params.get("pid") != self._settings.pid:
            raise Forged(_("it is for another merchant number"))
        if params.get("trade_status") != SUCCESS:
            raise Forged(_("it does not say that the payment succeeded"))
        try:
            return _claim(params, ClaimState.PAID)
        except ValueError as error:
            raise Forged(str(error)) from None

    async def query(self, attempt: Attempt) -> Claim | None:
        order = await self._gateway.order(attempt.ref)
        state = STATUSES.get(str(order.get("status"))) if order else None
        if order is None or state is None:
            return None
        if str(order.get("pid")) != self._settings.pid or order.get("out_trade_no") != attempt.ref:
            raise GatewayUnavailable("the gateway told of another order than it was asked about")
        try:
            return _claim(order, state)
        except ValueError as error:
            raise GatewayUnavailable(f"the gateway's answer cannot be used: {error}") from None


class Epay(EpayMethod[Gateway]):
    """EPay V1."""

    def __init__(self, settings: EpaySettings, gateway: Gateway) -> None:
        super().__init__(settings, gateway)
        self.starts_here = settings.mode == "page"

    async def start(self, attempt: Attempt) -> Started:
        params = self._trade(attempt)
        if self._settings.mode == "page":
            # A link, not a form: browsers hold a form's redirects to our content policy, and cashiers redirect.
            return Started(Redirect(self._gateway.page(params)))
        answer = await self._gateway.create({**params, **buyer(attempt)})
        return Started(next_step(answer), str(answer["trade_no"]) if answer.get("trade_no") else None)

    async def refund(self, refund: Refund) -> RefundAnswer:
        trade = {"trade_no": refund.gateway_ref} if refund.gateway_ref else {"out_trade_no": refund.attempt_ref}
        said = await self._gateway.refund(**trade, out_refund_no=refund.ref, money=refund.amount.plain())
        return RefundAnswer(RefundState.DONE, text=said)

    async def query_refund(self, refund: Refund) -> RefundAnswer | None:
        """EPay V1 only tells that an order was refunded, not how much of it."""
        order = await self._gateway.order(refund.attempt_ref)
        whole = refund.amount == refund.paid
        if order is None or not whole or str(order.get("status")) != REFUNDED:
            return None
        return RefundAnswer(RefundState.DONE, text="status 2")


def buyer(attempt: Attempt) -> dict[str, str]:
    return {"clientip": attempt.client_ip or "0.0.0.0", "device": attempt.device}  # noqa: S104


def _claim(facts: dict[str, Any], state: ClaimState) -> Claim:
    trade_no, ref = facts.get("trade_no"), facts.get("out_trade_no")
    if not trade_no or not ref:
        raise ValueError("it names no trade")
    return Claim(
        attempt_ref=str(ref),
        state=state,
        amount=Money.parse(str(facts.get("money")), CURRENCY),
        gateway_ref=str(trade_no),
        event_key=f"{trade_no}:{state}",
    )


def next_step(answer: dict[str, Any]) -> Step:
    page, code, wallet = (str(answer.get(name) or "") for name in ("payurl", "qrcode", "urlscheme"))
    if page:
        if urlsplit(page).scheme not in ("http", "https"):
            raise GatewayUnavailable("the gateway sent an address that is none")
        return Redirect(page)
    if code or wallet:
        return QrCode(code or wallet, _deep_link(wallet) or _web_link(code))
    raise GatewayRefused("the gateway offers this channel on its own page only; choose that in the settings")


def _deep_link(text: str) -> str | None:
    return text if urlsplit(text).scheme in WALLETS else None


def _web_link(code: str) -> str | None:
    """WeChat's codes (weixin://wxpay/…) work only when scanned; the others are pages that open their wallet."""
    return code if urlsplit(code).scheme == "https" else None


def cut(text: str, size: int) -> str:
    """At most ``size`` bytes of UTF-8, never half a sign."""
    return text.encode()[:size].decode(errors="ignore")
