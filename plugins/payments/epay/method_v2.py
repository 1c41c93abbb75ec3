"""What EPay V2 does in another way than V1: refunds have numbers of their own, so that parts are told apart."""

from typing import Any

from core.api import Attempt, GatewayUnavailable, Money, Redirect, Refund, RefundAnswer, RefundState, Started

from .gateway_v2 import GatewayV2
from .method import CURRENCY, EpayMethod, buyer, next_step
from .settings import EpaySettings

REFUNDED = "1"


class EpayV2(EpayMethod[GatewayV2]):
    def __init__(self, settings: EpaySettings, gateway: GatewayV2) -> None:
        super().__init__(settings, gateway)
        self.starts_here = not self.options
        # V2 always tells about refunds, and says of most of them only that they were taken on.
        self.refund_query_after = (15, 60, 300, 1800, 7200)

    async def start(self, attempt: Attempt) -> Started:
        params = self._trade(attempt)
        if not attempt.option:
            # The cashier, where the buyer chooses; its address is good for five minutes.
            return Started(Redirect(self._gateway.page(params)))
        method = "jump" if self._settings.mode == "page" else "web"
        answer = await self._gateway.create({**params, **buyer(attempt)}, method)
        return Started(next_step(answer), str(answer["trade_no"]) if answer.get("trade_no") else None)

    async def refund(self, refund: Refund) -> RefundAnswer:
        trade = {"trade_no": refund.gateway_ref} if refund.gateway_ref else {"out_trade_no": refund.attempt_ref}
        said = await self._gateway.refund(**trade, out_refund_no=refund.ref, money=refund.amount.plain())
        number = str(said.get("refund_no") or "")
        return await self.query_refund(refund) or RefundAnswer(RefundState.PENDING, number)

    async def query_refund(self, refund: Refund) -> RefundAnswer | None:
        found = await self._gateway.refund_state(refund.ref)
        if found is None or str(found.get("status")) != REFUNDED:
            return None
        if not _is_of(refund, found):
            raise GatewayUnavailable("the gateway told of another refund than it was asked about")
        return RefundAnswer(RefundState.DONE, str(found.get("refund_no") or ""), "status 1")


def _is_of(refund: Refund, found: dict[str, Any]) -> bool:
    """What the answer names must be ours; what it leaves out is not held against it."""
    try:
        same_sum = "money" not in found or Money.parse(str(found["money"]), CURRENCY) == refund.amount
    except ValueError:
        return False
    return same_sum and str(found.get("out_refund_no") or refund.ref) == refund.ref
