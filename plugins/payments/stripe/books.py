"""Stripe's balance transactions as statement lines."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from core.api import LineKind, Money, StatementLine

from .amounts import from_stripe

KINDS = {
    "charge": LineKind.PAYMENT,
    "charge_failure": LineKind.PAYMENT,
    "refund": LineKind.REFUND,
    "refund_failure": LineKind.REFUND,
    "dispute": LineKind.CHARGEBACK,
    "dispute_reversal": LineKind.CHARGEBACK,
    "fee": LineKind.FEE,
    "network_cost": LineKind.FEE,
    "tax": LineKind.FEE,
}
"""By Stripe's ``reporting_category``. What is missing here moves money between Stripe and the merchant's bank."""
UNDONE = frozenset({"charge_failure", "refund_failure", "dispute_reversal"})

AttemptOf = Callable[[str], Awaitable[str]]
"""Our reference of the attempt that a payment intent was made for."""


async def line(row: Mapping[str, Any], attempt_of: AttemptOf) -> StatementLine | None:
    """:raises ValueError: an amount that cannot be read."""
    category = str(row.get("reporting_category"))
    kind = KINDS.get(category)
    if kind is None:
        return None
    booked, fee = from_stripe(row["amount"], row["currency"]), from_stripe(row["fee"], row["currency"])
    source = row["source"] if isinstance(row.get("source"), dict) else {}
    intent = str(source.get("payment_intent") or "")
    if kind is LineKind.FEE:
        amount, kept = Money(-booked.amount, booked.currency), None
    else:
        # The payer's own currency, in which it was asked for; the books may be kept in another.
        amount = from_stripe(source["amount"], source["currency"]) if "amount" in source else _size(booked)
        amount, kept = (Money(-amount.amount, amount.currency) if category in UNDONE else amount), fee
    return StatementLine(
        key=str(row["id"]),
        kind=kind,
        gateway_ref=intent or str(source.get("id") or row.get("source") or row["id"]),
        our_ref=await _our_ref(kind, source, intent, attempt_of),
        amount=amount,
        at=datetime.fromtimestamp(row["created"], UTC),
        fee=kept,
    )


def _size(money: Money) -> Money:
    return Money(abs(money.amount), money.currency)


async def _our_ref(kind: LineKind, source: Mapping[str, Any], intent: str, attempt_of: AttemptOf) -> str:
    ours = source.get("metadata") or {}
    if kind is LineKind.REFUND:
        return str(ours.get("refund") or "")
    if kind is LineKind.CHARGEBACK and intent:
        return await attempt_of(intent)
    return str(ours.get("attempt") or "")
