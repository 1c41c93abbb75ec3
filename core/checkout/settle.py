"""Settle a verified payment: money is written down first, then the goods follow. One short transaction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import asyncpg

from core import db
from core.audit import service as audit
from core.checkout import ordinary
from core.crash_point import crash_point
from core.db import Tx
from core.fulfilment import service as fulfilment
from core.ledger import service as ledger
from core.messages import service as messages
from core.money import Money
from core.orders import timeline
from core.orders.states import PAYMENT
from core.payments.method import Claim, ClaimState
from core.review import service as review
from core.vault import stock
from core.web.i18n import _


class Outcome(StrEnum):
    DELIVERED = "delivered"
    NEEDS_REVIEW = "needs_review"
    REPEAT = "repeat"
    NOTED = "noted"
    WRONG_AMOUNT = "wrong_amount"
    PAID_TWICE = "paid_twice"
    UNKNOWN_ATTEMPT = "unknown_attempt"


@dataclass(frozen=True, slots=True)
class Settled:
    outcome: Outcome
    order_ref: str = ""
    jobs: tuple[int, ...] = ()


LOCK = """
SELECT o.*, attempt.id AS attempt_id, attempt.state AS attempt_state, attempt.amount AS attempt_amount,
       attempt.currency AS attempt_currency
FROM payments_attempt attempt JOIN orders_order o ON o.id = attempt.order_id
WHERE attempt.ref = $1 AND attempt.method = $2 FOR UPDATE
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
    VALUES ($1, $2, $3, $4, $5, 'paid', $6, $7, $8, $9)
), attempt AS (
    UPDATE payments_attempt SET state = 'paid', gateway_ref = $8, settled_at = clock_timestamp(), next_query_at = NULL
    WHERE id = $3
), placed AS (
    UPDATE orders_order SET payment_state = $10, paid = paid + $6, paid_at = coalesce(paid_at, clock_timestamp())
    WHERE id = $4
)
INSERT INTO orders_event (order_id, kind, actor, data)
VALUES ($4, $11, $12, jsonb_build_object('method', $1::text, 'amount', $6::bigint, 'currency', $7::text,
                                         'gateway_ref', $8::text, 'outcome', $9::text))
"""


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


async def _settle(method: str, claim: Claim, source: str, staff_id: int | None, ip: str | None) -> Settled:
    if claim.state is ClaimState.PAID and staff_id is None:
        done = await ordinary.settle(method, claim, source)
        if done is not None:
            return Settled(Outcome.DELIVERED, done["ref"], (done["job_id"],) if done["job_id"] else ())
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
    if claim.state is not ClaimState.PAID:
        return await _note(tx, method, order, claim, source)
    if await _seen(tx, method, order, claim):
        return Settled(Outcome.REPEAT, order["ref"])
    money_fits = claim.amount == Money(order["attempt_amount"], order["attempt_currency"])
    if not money_fits:
        return await _wrong_amount(tx, method, order, claim, source, ip)
    if not PAYMENT.allows(order["payment_state"], "paid") or order["payment_state"] == "mismatch":
        return await _paid_again(tx, method, order, claim, source)
    return await _pay(tx, method, order, claim, source, staff_id, ip)


async def _seen(tx: Tx, method: str, order: Any, claim: Claim) -> bool:
    """An order that was unpaid when we locked it cannot have seen this event as paid."""
    if order["attempt_state"] != "paid":
        return False
    return await tx.fetchval(
        "SELECT EXISTS (SELECT 1 FROM payments_event WHERE method = $1 AND event_key = $2)", method, claim.event_key
    )


async def _note(tx: Tx, method: str, order: Any, claim: Claim, source: str) -> Settled:
    """Pending, failed or expired: remembered once; it never takes a payment back."""
    if await tx.fetchval(
        "SELECT EXISTS (SELECT 1 FROM payments_event WHERE method = $1 AND event_key = $2)", method, claim.event_key
    ):
        return Settled(Outcome.REPEAT, order["ref"])
    await tx.execute(
        EVENT,
        method,
        claim.event_key,
        order["attempt_id"],
        order["id"],
        source,
        claim.state,
        claim.amount.amount,
        claim.amount.currency,
        claim.gateway_ref,
        Outcome.NOTED,
    )
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
    tx: Tx, method: str, order: Any, claim: Claim, source: str, staff_id: int | None, ip: str | None
) -> Settled:
    late = order["payment_state"] != "unpaid"
    outcome = "paid_late" if late else "paid"
    await _write_money(tx, method, order, claim, source, outcome, "paid", "paid", staff_id)
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
    delivered = await fulfilment.fulfil(tx, order, "paid_late" if late else "out_of_stock")
    jobs = await messages.order_settled(tx, order, delivered=delivered)
    return Settled(Outcome.DELIVERED if delivered else Outcome.NEEDS_REVIEW, order["ref"], tuple(jobs))


async def _paid_again(tx: Tx, method: str, order: Any, claim: Claim, source: str) -> Settled:
    """The order needs no money any more: keep the record, and let a person give it back."""
    state = order["payment_state"]
    await _write_money(tx, method, order, claim, source, Outcome.PAID_TWICE, state, "paid_again")
    await review.open_item(
        tx,
        order["shop_id"],
        "paid_twice",
        f"paid_twice:{claim.attempt_ref}:{claim.event_key}",
        _("the order was paid again"),
        order_id=order["id"],
        attempt_id=order["attempt_id"],
        data={"amount": claim.amount.amount, "currency": claim.amount.currency},
    )
    return Settled(Outcome.PAID_TWICE, order["ref"])


async def _wrong_amount(tx: Tx, method: str, order: Any, claim: Claim, source: str, ip: str | None) -> Settled:
    open_order = PAYMENT.allows(order["payment_state"], "mismatch")
    state = "mismatch" if open_order else order["payment_state"]
    await _write_money(tx, method, order, claim, source, Outcome.WRONG_AMOUNT, state, "paid_wrong_amount")
    if open_order:
        lines = [row["id"] for row in await tx.fetch("SELECT id FROM orders_line WHERE order_id = $1", order["id"])]
        await stock.release(tx, lines)
        await tx.execute("UPDATE orders_order SET fulfilment_state = 'review' WHERE id = $1", order["id"])
        await tx.execute("UPDATE orders_line SET state = 'review' WHERE order_id = $1", order["id"])
    detail = {
        "attempt": claim.attempt_ref,
        "asked": order["attempt_amount"],
        "asked_currency": order["attempt_currency"],
        "came": claim.amount.amount,
        "came_currency": claim.amount.currency,
    }
    await review.open_item(
        tx,
        order["shop_id"],
        "wrong_amount",
        f"wrong_amount:{claim.attempt_ref}:{claim.event_key}",
        _("the amount that came is not the amount asked for"),
        order_id=order["id"],
        attempt_id=order["attempt_id"],
        data=detail,
    )
    await audit.alarm(
        tx,
        "payment.wrong_amount",
        f"gateway:{method}",
        _("amount or currency differ"),
        detail,
        shop_id=order["shop_id"],
        ip=ip,
    )
    return Settled(Outcome.WRONG_AMOUNT, order["ref"])


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
) -> None:
    actor = f"staff:{staff_id}" if staff_id is not None else f"gateway:{method}"
    await tx.execute(
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
