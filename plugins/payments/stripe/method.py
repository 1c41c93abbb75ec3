"""Stripe Checkout as a way to be paid."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from core.api import (
    Answer,
    Attempt,
    CallbackRequest,
    Claim,
    ClaimState,
    Forged,
    GatewayRefused,
    GatewayUnavailable,
    NotSent,
    PaymentMethod,
    PluginContext,
    Redirect,
    Refund,
    RefundAnswer,
    RefundState,
    Started,
    StatementLine,
    _,
)

from .amounts import from_stripe, to_stripe
from .books import line
from .gateway import NOT_FOUND, Gateway, Refused
from .settings import StripeSettings
from .signature import signed_at

TITLE = {"en": "Card (Stripe)", "zh-CN": "银行卡（Stripe）"}
TOLERANCE_SECONDS = 300
SESSION_LIVES = timedelta(minutes=35)
"""Stripe wants half an hour at least. Counted from the attempt, so that a repeat says the same and is known as one."""
NAME_SIGNS = 200
MINUTE = 60

SESSION_EVENTS = frozenset(
    {
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.async_payment_failed",
        "checkout.session.expired",
    }
)
DISPUTE_EVENTS = frozenset({"charge.dispute.created", "charge.dispute.funds_withdrawn"})
ONLY_ASKED = "warning_"
"""The state of a dispute in which the bank only asks and takes nothing."""

REFUNDS = {
    "succeeded": RefundState.DONE,
    "pending": RefundState.PENDING,
    "requires_action": RefundState.PENDING,
    "failed": RefundState.FAILED,
    "canceled": RefundState.FAILED,
}


class Stripe(PaymentMethod):
    key = "stripe"
    title = TITLE
    refunds = True
    query_after = (15, 30, *(minutes * MINUTE for minutes in (1, 2, 5, 10, 20, 36, 60, 120, 720, 1440, 4320)))
    refund_query_after = (15, MINUTE, 10 * MINUTE, 60 * MINUTE, 1440 * MINUTE, 4320 * MINUTE)
    accepted = Answer(body=b"ok")

    def __init__(self, settings: StripeSettings, ctx: PluginContext[StripeSettings]) -> None:
        self._clock = ctx.clock
        self._secret = settings.webhook_secret.reveal()
        self._is_live = not settings.is_test
        self._gateway = Gateway(settings, ctx.http)
        self.test_only = settings.is_test
        self.statements = settings.statements

    # -- paying -------------------------------------------------------------------------

    async def start(self, attempt: Attempt) -> Started:
        item = "line_items[0]"
        form = {
            "mode": "payment",
            "client_reference_id": attempt.ref,
            "success_url": attempt.return_url,
            "cancel_url": attempt.return_url,
            "expires_at": str(int((attempt.created_at + SESSION_LIVES).timestamp())),
            "locale": "zh" if attempt.locale.startswith("zh") else "auto",
            f"{item}[quantity]": "1",
            f"{item}[price_data][currency]": attempt.amount.currency.lower(),
            f"{item}[price_data][unit_amount]": str(to_stripe(attempt.amount)),
            f"{item}[price_data][product_data][name]": attempt.title[:NAME_SIGNS],
            "metadata[attempt]": attempt.ref,
            "payment_intent_data[metadata][attempt]": attempt.ref,
            "payment_intent_data[description]": attempt.order_ref,
        }
        try:
            session = await self._gateway.post("checkout/sessions", form, attempt.ref)
        except NotSent as error:
            raise GatewayUnavailable(str(error)) from None
        address, number = session.get("url"), session.get("id")
        if not isinstance(address, str) or not address.startswith(("https://", "http://")) or not number:
            raise GatewayUnavailable("Stripe gave no page for this payment")
        return Started(Redirect(address), str(number))

    async def parse_callback(self, request: CallbackRequest) -> Claim | None:
        moment = signed_at(request.headers.get("stripe-signature", ""), self._secret, request.body)
        if moment is None:
            raise Forged(_("the signature is missing or wrong"))
        if abs(self._clock.now().timestamp() - moment) > TOLERANCE_SECONDS:
            raise Forged(_("it was signed too long ago, or one of the two clocks is wrong"))
        try:
            event = json.loads(request.body, parse_float=str)
            kind, about, is_live = str(event["type"]), dict(event["data"]["object"]), event["livemode"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise Forged(_("it cannot be read")) from None
        if is_live is not self._is_live:
            raise Forged(_("it is of the other mode, live or test"))
        try:
            if kind in SESSION_EVENTS:
                return _of_session(about, failed=kind.endswith("async_payment_failed"))
            if kind in DISPUTE_EVENTS:
                return await self._of_dispute(about)
        except ValueError as error:
            raise Forged(str(error)) from None
        return None

    async def query(self, attempt: Attempt) -> Claim | None:
        if not attempt.gateway_ref:
            return None  # whoever does not know the page cannot have paid there
        try:
            session = await self._gateway.get(f"checkout/sessions/{attempt.gateway_ref}")
            claim = _of_session(session)
        except Refused as refused:
            if refused.status == NOT_FOUND:
                return None
            raise
        except ValueError as error:
            raise GatewayUnavailable(f"Stripe's answer cannot be used: {error}") from None
        if claim is not None and claim.attempt_ref != attempt.ref:
            raise GatewayUnavailable("Stripe told of another payment than it was asked about")
        return claim

    # -- disputes -----------------------------------------------------------------------

    async def _of_dispute(self, dispute: Mapping[str, Any]) -> Claim | None:
        intent = str(dispute.get("payment_intent") or "")
        if str(dispute.get("status", "")).startswith(ONLY_ASKED) or not intent:
            return None
        ref = await self._attempt_of(intent)
        if not ref:
            return None  # something else that the merchant sells with this account
        return Claim(
            attempt_ref=ref,
            state=ClaimState.CHARGED_BACK,
            amount=from_stripe(dispute.get("amount"), dispute.get("currency")),
            gateway_ref=intent,
            event_key=f"{dispute.get('id')}:charged_back",
        )

    async def _attempt_of(self, intent: str) -> str:
        try:
            found = await self._gateway.get(f"payment_intents/{intent}")
        except GatewayRefused as refused:
            raise GatewayUnavailable(str(refused)) from None
        return str((found.get("metadata") or {}).get("attempt") or "")

    # -- giving back --------------------------------------------------------------------

    async def refund(self, refund: Refund) -> RefundAnswer:
        if not refund.gateway_ref:
            raise GatewayRefused("Stripe has not told of this payment; give it back in Stripe's own dashboard")
        form = {
            "payment_intent": refund.gateway_ref,
            "amount": str(to_stripe(refund.amount)),
            "metadata[refund]": refund.ref,
        }
        return _of_refund(await self._gateway.post("refunds", form, refund.ref), refund)

    async def query_refund(self, refund: Refund) -> RefundAnswer | None:
        if not refund.gateway_ref:
            return None
        for found in await self._gateway.all_of("refunds", payment_intent=refund.gateway_ref):
            if (found.get("metadata") or {}).get("refund") == refund.ref:
                return _of_refund(found, refund)
        return None

    # -- the balance --------------------------------------------------------------------

    async def statement(self, day: date) -> list[StatementLine]:
        begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
        span = {
            "created[gte]": str(int(begins.timestamp())),
            "created[lt]": str(int((begins + timedelta(days=1)).timestamp())),
        }
        rows = await self._gateway.all_of("balance_transactions", **span, **{"expand[]": "data.source"})
        try:
            found = [await line(row, self._attempt_of) for row in rows]
        except (ValueError, TypeError, KeyError) as error:
            raise GatewayUnavailable(f"a balance transaction cannot be used: {error}") from None
        return [one for one in found if one is not None]


def _of_session(session: Mapping[str, Any], *, failed: bool = False) -> Claim | None:
    """:raises ValueError: it says that it was paid, and not what."""
    ref, number = session.get("client_reference_id"), session.get("id")
    if not ref or not number or (session.get("metadata") or {}).get("attempt") != ref:
        return None  # something else that the merchant sells with this account
    state = ClaimState.FAILED if failed else _state(session)
    if state is None:
        return None
    intent = session.get("payment_intent")
    if state is ClaimState.PAID and not isinstance(intent, str):
        raise ValueError("it names no payment")
    return Claim(
        attempt_ref=str(ref),
        state=state,
        amount=from_stripe(session.get("amount_total"), session.get("currency")),
        # A payment is given back by its intent; until there is one, the session is what can be asked about.
        gateway_ref=str(intent if state is ClaimState.PAID else number),
        event_key=f"{number}:{state}",
    )


def _state(session: Mapping[str, Any]) -> ClaimState | None:
    match session.get("status"), session.get("payment_status"):
        case "complete", "paid":
            return ClaimState.PAID
        case "complete", "unpaid":
            return ClaimState.PENDING
        case "expired", _:
            return ClaimState.EXPIRED
    return None


def _of_refund(found: Mapping[str, Any], refund: Refund) -> RefundAnswer:
    state = REFUNDS.get(str(found.get("status")))
    try:
        is_it = from_stripe(found.get("amount"), found.get("currency")) == refund.amount
    except ValueError:
        is_it = False
    if state is None or not is_it:
        raise GatewayUnavailable("Stripe's answer to a refund cannot be used")
    return RefundAnswer(state, str(found.get("id") or ""), str(found.get("failure_reason") or ""))
