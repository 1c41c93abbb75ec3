"""Paying from the balance that a buyer keeps with the shop. There is no gateway: the money is here already."""

from core.api import (
    Attempt,
    CallbackRequest,
    Claim,
    ClaimState,
    Forged,
    GatewayRefused,
    Instructions,
    PaymentMethod,
    Plugin,
    PluginContext,
    Purse,
    Started,
    _,
    hookimpl,
)

TITLE = {"en": "My balance", "zh-CN": "账户余额"}
PAYING = {
    "en": "Your balance is being charged. This takes a moment.",
    "zh-CN": "正在从您的余额中扣款，请稍候。",
}


class Balance(PaymentMethod):
    key = "balance"
    title = TITLE
    icon = "receipt"
    from_balance = True
    query_after = (0, 2, 5, 10, 30, 60, 300, 900, 3600, 86400)

    async def start(self, attempt: Attempt) -> Started:
        await _purse(attempt).take()
        return Started(Instructions(PAYING), gateway_ref=attempt.ref)

    async def query(self, attempt: Attempt) -> Claim | None:
        if not await _purse(attempt).taken():
            return None
        return Claim(attempt.ref, ClaimState.PAID, attempt.amount, attempt.ref, f"{attempt.ref}:paid")

    async def parse_callback(self, request: CallbackRequest) -> None:
        raise Forged(_("payments from a balance are never reported from outside"))


def _purse(attempt: Attempt) -> Purse:
    if attempt.purse is None:
        raise GatewayRefused("the shop handed over no purse")
    return attempt.purse


class BalancePlugin(Plugin):
    @hookimpl
    def register_payment_methods(self, ctx: PluginContext[None]) -> list[Balance]:
        return [Balance()]


plugin = BalancePlugin()
