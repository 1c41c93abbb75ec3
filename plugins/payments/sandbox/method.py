"""The test gateway as a way to be paid. Its page stands behind the shop's own door, as does everything it reports."""

from dataclasses import replace
from datetime import timedelta

from core.api import (
    Answer,
    Attempt,
    CallbackRequest,
    Claim,
    Forged,
    PaymentMethod,
    PluginContext,
    Redirect,
    Refund,
    RefundAnswer,
    RefundState,
    Started,
    _,
)

from . import page
from .trade import Act, Trade, number

TITLE = {"en": "Test payment", "zh-CN": "测试支付"}
HTML = "text/html; charset=utf-8"
PENDING_SECONDS = 10
AFTER_EXPIRY = timedelta(seconds=30)
"""The shop looks for expired orders every few seconds; a payment is late only after that."""


class Sandbox(PaymentMethod):
    key = "sandbox"
    title = TITLE
    icon = "flask"
    test_only = True
    starts_here = True
    refunds = True
    query_after = (PENDING_SECONDS, 20, 30, *range(60, 7260, 60))

    def __init__(self, ctx: PluginContext[None]) -> None:
        self._ctx = ctx

    async def start(self, attempt: Attempt) -> Started:
        return Started(Redirect(Trade.of(attempt).link(self._ctx.secret)))

    async def parse_callback(self, request: CallbackRequest) -> Claim | Answer:
        if request.method == "GET":
            trade = Trade.read(request.query_params(), self._ctx.secret)
            return _html(page.choices(trade.but(Act.CHOOSE), self._ctx.secret))
        trade = Trade.read(request.form_params(), self._ctx.secret)
        if trade.act is Act.CHOOSE:
            raise Forged(_("it reports no outcome"))
        return replace(trade.claim(), answer=_html(page.reported(trade, self._ctx.secret)))

    async def query(self, attempt: Attempt) -> Claim | None:
        now = self._ctx.clock.now()
        due = {
            number(attempt.ref, Act.PENDING): attempt.created_at + timedelta(seconds=PENDING_SECONDS),
            number(attempt.ref, Act.LATE): attempt.expires_at + AFTER_EXPIRY,
        }.get(attempt.gateway_ref or "")
        return Trade.of(attempt).but(Act.PAID).claim() if due and now >= due else None

    async def refund(self, refund: Refund) -> RefundAnswer:
        return RefundAnswer(RefundState.DONE, gateway_ref=f"back-{refund.ref}")


def _html(text: str) -> Answer:
    return Answer(text.encode(), content_type=HTML)
