"""Settle a verified payment: money is written down first, then the goods follow. One short transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import asyncpg

from core import db
from core.audit import service as audit
from core.checkout import ordinary
from core.crash_point import crash_point
from core.db import Tx
from core.fulfilment import service as fulfilment
from core.fulfilment.service import Standing
from core.hooks import telling
from core.ledger import service as ledger
from core.money import Money
from core.orders import timeline
from core.payments import chargebacks, money
from core.payments.method import Claim, ClaimState
from core.review import service as review
from core.vault import stock
from core.web.i18n import Text, _


class Outcome(StrEnum):
    DELIVERED = "delivered"
    PREPARING = "preparing"
    NEEDS_REVIEW = "needs_review"
    REPEAT = "repeat"
    NOTED = "noted"
    UNDERPAID = "underpaid"
    WRONG_CURRENCY = "wrong_currency"
    PAID_TWICE = "paid_twice"
    SAME_MONEY = "same_money"
    CHARGED_BACK = "charged_back"
    UNKNOWN_ATTEMPT = "unknown_attempt"


STANDINGS = {
    Standing.DELIVERED: Outcome.DELIVERED,
    Standing.PREPARING: Outcome.PREPARING,
    Standing.REVIEW: Outcome.NEEDS_REVIEW,
}


@dataclass(frozen=True, slots=True)
class Settled:
    outcome: Outcome
    order_ref: str = ""
    jobs: tuple[int, ...] = ()


LOCK = """
SELECT o.*, attempt.id AS attempt_id, attempt.state AS attempt_state, attempt.amount AS attempt_amount,
       attempt.currency AS attempt_currency, shop.test_mode
FROM orders_order o JOIN payments_attempt attempt ON attempt.order_id = o.id JOIN shops_shop shop ON shop.id = o.shop_id
WHERE attempt.ref = $1 AND attempt.method = $2 FOR UPDATE OF o, attempt
"""

EVENT = """
INSERT INTO payments_event (method, event_key, attempt_id, order_id, source, state, amount, currency,
                            gateway_ref, outcome)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""

PAID = """
WITH event AS (
    INSERT INTO payments_event (method, event_key, attempt_id, order_id, source, state, amount, currency,
                                gateway_ref, outcome)
    VALUES ($1, $2, $3, $4, $5, 'paid', $6, $7, $8, $9) RETURNING id
), attempt AS (
    UPDATE payments_attempt SET state = 'paid', gateway_ref = $8, settled_at = clock_timestamp(), next_query_at = NULL
    WHERE id = $3
), placed AS (
    -- a price that comes in pieces is paid with the last of them
    UPDATE orders_order SET payment_state = $10, paid = paid + $6, paid_at = CASE
        WHEN payment_state = 'mismatch' AND $10 = 'paid' THEN clock_timestamp()
        ELSE coalesce(paid_at, clock_timestamp()) END
    WHERE id = $4
)
INSERT INTO orders_event (order_id, kind, actor, data)
VALUES ($4, $11, $12, jsonb_build_object('method', $1::text, 'amount', $6::bigint, 'currency', $7::text,
                                         'gateway_ref', $8::text, 'outcome', $9::text))
RETURNING (SELECT id FROM event)
"""

# Staff said that the money of an attempt came, and the gateway has not yet said so itself.
CONFIRMED_BY_HAND = """
SELECT said.id, said.amount, said.currency, said.refunds FROM payments_event said
WHERE said.order_id = $1 AND said.attempt_id = $2 AND said.state = 'paid' AND said.source = 'staff'
  AND NOT EXISTS (SELECT 1 FROM payments_event later WHERE later.order_id = $1 AND later.attempt_id = $2
                  AND later.state = 'confirmed')
"""

OPEN = ("unpaid", "expired", "cancelled", "mismatch")


async def settle(
    method: str, claim: Claim, source: str, *, staff_id: int | None = None, ip: str | None = None
) -> Settled:
    """Let a verified claim have its one effect.

    ``source`` is ``callback``, ``query`` or ``staff`` (then ``staff_id`` is who confirmed, and it is audited).
    A repeat changes nothing. Whatever the claim is, money that came in is written down before anything else.
    """
    try:
        settled = await _settle(method, claim, source, staff_id, ip)
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "payments_event_method_event_key_key":
            raise
        return Settled(Outcome.REPEAT)
    crash_point("settle.committed")
    return settled


async def settle_in(tx: Tx, method: str, claim: Claim, source: str) -> Settled:
    """The same within the caller's transaction, for an order that was placed in it."""
    return await _step_by_step(tx, method, claim, source, None, None)


async def _settle(method: str, claim: Claim, source: str, staff_id: int | None, ip: str | None) -> Settled:
    if claim.state is ClaimState.PAID and staff_id is None:
        done = await ordinary.settle(method, claim, source)
        if done is not None:
            return Settled(Outcome.DELIVERED, done["ref"], tuple(done["jobs"] or ()))
    return await db.transaction(_step_by_step, method, claim, source, staff_id, ip)


async def _step_by_step(
    tx: Tx, method: str, claim: Claim, source: str, staff_id: int | None, ip: str | None
) -> Settled:
    order = await tx.fetchrow(LOCK, claim.attempt_ref, method)
    if order is None:
        await audit.alarm(
            tx,
            "payment.unknown",
            f"gateway:{method}",
            _("a verified callback names an attempt that does not exist"),
            {"attempt": claim.attempt_ref, "gateway_ref": claim.gateway_ref},
            ip=ip,
        )
        return Settled(Outcome.UNKNOWN_ATTEMPT)
    if claim.state is ClaimState.CHARGED_BACK:
        return await _charged_back(tx, method, order, claim, source, ip)
    if claim.state is not ClaimState.PAID:
        return await _note(tx, method, order, claim, source)
    if order["test"] and not order["test_mode"] and staff_id is None:
        # The shop has opened since: what a test gateway calls paid is no money, and real codes would go for it.
        return await _note(tx, method, order, replace(claim, state=ClaimState.FAILED), source)
    given_up = order["payment_state"] not in OPEN or order["fulfilment_state"] == "void"
    if await _seen(tx, method, order, claim) or (staff_id is not None and given_up):
        # Staff speaks of money it has seen: when the gateway told of it first, that is the same money.
        return Settled(Outcome.REPEAT, order["ref"])
    if order["attempt_state"] == "paid":
        said = await tx.fetchrow(CONFIRMED_BY_HAND, order["id"], order["attempt_id"])
        if said is not None and said["currency"] == claim.amount.currency:
            return await _same_money(tx, method, order, claim, source, said, ip)
    if given_up:
        return await _paid_again(tx, method, order, claim, source, ip)
    return await _take(tx, method, order, claim, source, staff_id, ip)


async def _take(
    tx: Tx, method: str, order: Any, claim: Claim, source: str, staff_id: int | None, ip: str | None
) -> Settled:
    """New money: what it means for the order is decided by all that is here for it."""
    await _alarm_if_wrong(tx, method, order, claim, ip)
    if claim.amount.currency != order["currency"]:
        return await _not_enough(tx, method, order, claim, source, Outcome.WRONG_CURRENCY)
    here = claim.amount.amount
    if order["paid"]:
        here += await money.here(tx, order["id"], order["currency"])
    if here < order["total"]:
        return await _not_enough(tx, method, order, claim, source, Outcome.UNDERPAID)
    return await _pay(tx, method, order, claim, source, here - order["total"], staff_id, ip)


async def _seen(tx: Tx, method: str, order: Any, claim: Claim) -> bool:
    """An order that was unpaid when we locked it cannot have seen this event as paid."""
    return order["attempt_state"] == "paid" and await _known_event(tx, method, claim)


async def _known_event(tx: Tx, method: str, claim: Claim) -> bool:
    return bool(
        await tx.fetchval(
            "SELECT EXISTS (SELECT 1 FROM payments_event WHERE method = $1 AND event_key = $2)", method, claim.event_key
        )
    )


async def _write_event(tx: Tx, method: str, order: Any, claim: Claim, source: str, state: str, outcome: str) -> None:
    await tx.execute(
        EVENT,
        method,
        claim.event_key,
        order["attempt_id"],
        order["id"],
        source,
        state,
        claim.amount.amount,
        claim.amount.currency,
        claim.gateway_ref,
        str(outcome),
    )


async def _note(tx: Tx, method: str, order: Any, claim: Claim, source: str) -> Settled:
    """Pending, failed or expired: remembered once; it never takes a payment back."""
    if await _known_event(tx, method, claim):
        return Settled(Outcome.REPEAT, order["ref"])
    await _write_event(tx, method, order, claim, source, claim.state, Outcome.NOTED)
    await tx.execute(
        "UPDATE payments_attempt SET gateway_ref = $2 WHERE id = $1", order["attempt_id"], claim.gateway_ref
    )
    if claim.state in (ClaimState.FAILED, ClaimState.EXPIRED):
        await tx.execute(
            "UPDATE payments_attempt SET state = $2, next_query_at = NULL"
            " WHERE id = $1 AND state IN ('created', 'waiting')",
            order["attempt_id"],
            claim.state,
        )
    await timeline.add(
        tx, order["id"], f"payment_{claim.state}", f"gateway:{method}", {"gateway_ref": claim.gateway_ref}
    )
    return Settled(Outcome.NOTED, order["ref"])


async def _pay(
    tx: Tx,
    method: str,
    order: Any,
    claim: Claim,
    source: str,
    surplus: int,
    staff_id: int | None,
    ip: str | None,
) -> Settled:
    late = order["payment_state"] in ("expired", "cancelled")
    outcome = "overpaid" if surplus else "paid_late" if late else "paid"
    payment_id = await _write_money(tx, method, order, claim, source, outcome, "paid", "paid", staff_id)
    crash_point("settle.money_written")
    if staff_id is not None:
        await audit.record(
            tx,
            f"staff:{staff_id}",
            "order.confirm_paid",
            f"order:{order['ref']}",
            {"attempt": claim.attempt_ref, "amount": claim.amount.amount, "currency": claim.amount.currency},
            shop_id=order["shop_id"],
            ip=ip,
        )
    if order["payment_state"] == "mismatch":
        await review.resolve_of_order(tx, order["id"], None, "paid", but=("wrong_currency",))
    if surplus:
        await _ask(tx, order, claim, "overpaid", _("more came than was asked for"), payment_id, surplus)
    told = await telling.tell(tx, order["ref"], "order_paid")
    done = await fulfilment.fulfil(tx, order, "paid_late" if late else "out_of_stock")
    return Settled(STANDINGS[done.standing], order["ref"], (*told, *done.jobs))


async def _paid_again(tx: Tx, method: str, order: Any, claim: Claim, source: str, ip: str | None) -> Settled:
    """The order needs no money any more: keep the record, and let a person give it back."""
    await _alarm_if_wrong(tx, method, order, claim, ip)
    state = order["payment_state"]
    payment_id = await _write_money(tx, method, order, claim, source, Outcome.PAID_TWICE, state, "paid_again")
    words = _("the order was paid again")
    await _ask(tx, order, claim, "paid_twice", words, payment_id, claim.amount.amount)
    return Settled(Outcome.PAID_TWICE, order["ref"])


async def _not_enough(tx: Tx, method: str, order: Any, claim: Claim, source: str, outcome: Outcome) -> Settled:
    """Too little, or the wrong currency. The buyer may pay what is missing; the codes go back on sale until then."""
    payment_id = await _write_money(tx, method, order, claim, source, outcome, "mismatch", "paid_wrong_amount")
    lines = [row["id"] for row in await tx.fetch("SELECT id FROM orders_line WHERE order_id = $1", order["id"])]
    await stock.release(tx, lines)
    await tx.execute("UPDATE orders_order SET fulfilment_state = 'review' WHERE id = $1", order["id"])
    await tx.execute("UPDATE orders_line SET state = 'review' WHERE order_id = $1", order["id"])
    words = {
        Outcome.UNDERPAID: _("less came than was asked for"),
        Outcome.WRONG_CURRENCY: _("money came in another currency"),
    }
    await _ask(tx, order, claim, outcome, words[outcome], payment_id, claim.amount.amount)
    return Settled(outcome, order["ref"])


async def _ask(tx: Tx, order: Any, claim: Claim, kind: str, words: Text, payment_id: int, amount: int) -> None:
    """Put money that is not as it should be before a person; ``amount`` of that payment is in question."""
    await review.open_item(
        tx,
        order["shop_id"],
        kind,
        f"{kind}:{claim.attempt_ref}:{claim.event_key}",
        words,
        order_id=order["id"],
        attempt_id=order["attempt_id"],
        data={"payment": payment_id, "amount": amount, "currency": claim.amount.currency},
    )


async def _alarm_if_wrong(tx: Tx, method: str, order: Any, claim: Claim, ip: str | None) -> None:
    if claim.amount == Money(order["attempt_amount"], order["attempt_currency"]):
        return
    await audit.alarm(
        tx,
        "payment.wrong_amount",
        f"gateway:{method}",
        _("amount or currency differ"),
        {
            "attempt": claim.attempt_ref,
            "asked": order["attempt_amount"],
            "asked_currency": order["attempt_currency"],
            "came": claim.amount.amount,
            "came_currency": claim.amount.currency,
        },
        shop_id=order["shop_id"],
        ip=ip,
    )


# -- money that staff confirmed before the gateway did ----------------------------------


async def _same_money(tx: Tx, method: str, order: Any, claim: Claim, source: str, said: Any, ip: str | None) -> Settled:
    """The gateway's own word on what staff confirmed: it brings its number, and corrects the sum if that was wrong."""
    await _write_event(tx, method, order, claim, source, "confirmed", Outcome.SAME_MONEY)
    await tx.execute("UPDATE payments_event SET gateway_ref = $2 WHERE id = $1", said["id"], claim.gateway_ref)
    await tx.execute(
        "UPDATE payments_attempt SET gateway_ref = $2 WHERE id = $1", order["attempt_id"], claim.gateway_ref
    )
    await timeline.add(tx, order["id"], "payment_confirmed", f"gateway:{method}", {"gateway_ref": claim.gateway_ref})
    more = claim.amount.amount - said["amount"]
    if more:
        await _correct(tx, method, order, claim, said, more)
        await _alarm_if_wrong(tx, method, order, claim, ip)
    return Settled(Outcome.SAME_MONEY, order["ref"])


async def _correct(tx: Tx, method: str, order: Any, claim: Claim, said: Any, more: int) -> None:
    real = max(claim.amount.amount, said["refunds"])
    await tx.execute("UPDATE payments_event SET amount = $2 WHERE id = $1", said["id"], real)
    await tx.execute("UPDATE orders_order SET paid = paid + $2 WHERE id = $1", order["id"], real - said["amount"])
    if not order["test"]:
        await _book_difference(tx, order, Money(more, claim.amount.currency), method, claim.event_key)
    if more > 0:
        await _ask(tx, order, claim, "overpaid", _("more came than was asked for"), said["id"], more)


async def _book_difference(tx: Tx, order: Any, more: Money, method: str, event_key: str) -> None:
    """What never came is no debt any more; where the sale was booked with it, it is the shop's loss."""
    kind, source, gateway = "difference", f"difference:{method}:{event_key}", ledger.GATEWAY.format(method)
    if more.amount > 0:
        await ledger.move(tx, order["shop_id"], kind, source, more, gateway, ledger.DEPOSITS, order_id=order["id"])
    else:
        less = Money(-more.amount, more.currency)
        await money.leaves(tx, order, kind, source, less, gateway, once_earned=ledger.REVENUE)


# -- money that the payer's bank took back ----------------------------------------------


async def _charged_back(tx: Tx, method: str, order: Any, claim: Claim, source: str, ip: str | None) -> Settled:
    if await _known_event(tx, method, claim):
        return Settled(Outcome.REPEAT, order["ref"])
    actor = f"gateway:{method}"
    new = await chargebacks.take(tx, order, method, order["attempt_id"], claim.amount, claim.event_key, actor, ip=ip)
    outcome = Outcome.CHARGED_BACK if new else Outcome.SAME_MONEY
    await _write_event(tx, method, order, claim, source, "charged_back", outcome)
    return Settled(outcome, order["ref"])


async def _write_money(
    tx: Tx,
    method: str,
    order: Any,
    claim: Claim,
    source: str,
    outcome: str,
    payment_state: str,
    event_kind: str,
    staff_id: int | None = None,
) -> int:
    """Write down what came, before anything else; gives the payment's id."""
    actor = f"staff:{staff_id}" if staff_id is not None else f"gateway:{method}"
    payment_id: int = await tx.fetchval(
        PAID,
        method,
        claim.event_key,
        order["attempt_id"],
        order["id"],
        source,
        claim.amount.amount,
        claim.amount.currency,
        claim.gateway_ref,
        str(outcome),
        payment_state,
        event_kind,
        actor,
    )
    if not order["test"]:
        await ledger.move(
            tx,
            order["shop_id"],
            "payment",
            f"payment:{method}:{claim.event_key}",
            claim.amount,
            debit=ledger.GATEWAY.format(method),
            credit=ledger.DEPOSITS,
            order_id=order["id"],
        )
    return payment_id
