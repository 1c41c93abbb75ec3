"""Refunds go to their gateway outside any transaction, at most once each; what is not known is asked about."""

from __future__ import annotations

import logging
from typing import Any

from core import db
from core.crash_point import crash_point
from core.db import Tx
from core.hooks import runtime, telling
from core.hooks.http import NotSent
from core.hooks.views import RefundView
from core.jobs import Lease, Retry, bell, enqueue, every, job, ring
from core.jobs.registry import Args
from core.money import Money
from core.orders.facts import order_view
from core.payments import calls, refunds, statements
from core.payments.method import (
    GatewayRefused,
    GatewayUnavailable,
    PaymentMethod,
    Refund,
    RefundAnswer,
    RefundState,
)
from core.tasks import strangers_code

log = logging.getLogger("vouchsafe.payments")

SEND_SECONDS = 30

REFUND = """
SELECT refund.*, o.ref AS order_ref, event.method, event.amount AS paid, attempt.ref AS attempt_ref,
       CASE WHEN event.source <> 'staff' OR EXISTS (
           SELECT 1 FROM payments_event later WHERE later.order_id = event.order_id
             AND later.attempt_id = event.attempt_id AND later.state = 'confirmed') THEN event.gateway_ref END AS trade
FROM payments_refund refund JOIN orders_order o ON o.id = refund.order_id
JOIN payments_event event ON event.id = refund.payment_id JOIN payments_attempt attempt ON attempt.id = event.attempt_id
WHERE refund.id = $1
"""

# Committed before the gateway hears of it: nobody sends what has once been marked.
MARK_SENT = """
UPDATE payments_refund SET state = 'sent', sent_at = clock_timestamp(), error = ''
WHERE id = $1 AND state = 'approved' RETURNING id
"""

LEFT_BEHIND = """
SELECT refund.id FROM payments_refund refund WHERE refund.way = 'source' AND refund.state IN ('approved', 'sent')
  AND refund.asked_at < now() - interval '2 minutes' AND NOT EXISTS (
    SELECT 1 FROM jobs_job job WHERE job.name = $1 AND job.state IN ('queued', 'running')
      AND (job.args ->> 'refund')::bigint = refund.id)
LIMIT 50
"""


async def _gave_up(tx: Tx, args: Args, error: str) -> None:
    """Never sent: it failed. Sent: a person decides."""
    state = await tx.fetchval("SELECT state FROM payments_refund WHERE id = $1", args["refund"])
    if state == "approved":
        await refunds.failed(tx, args["refund"], error)
    elif state == "sent":
        await refunds.unknown(tx, args["refund"], error)


@job(refunds.SEND, tries=12, backoff_seconds=10, timeout_seconds=120, on_failed=_gave_up)
async def send(args: Args, lease: Lease) -> None:
    row = await db.fetchrow(REFUND, args["refund"])
    if row is None or row["ended_at"] is not None or row["state"] == "asked":
        return
    method = runtime.current().payment_methods.get(row["method"])
    if not isinstance(method, PaymentMethod) or not method.refunds:
        raise Retry("the plugin of this payment is off or broken")
    if row["state"] == "approved":
        await _send(method, row, lease)
    else:
        await _ask(method, row)


async def _send(method: PaymentMethod, row: Any, lease: Lease) -> None:
    if not await lease.write(_mark_sent, row["id"]):
        return
    crash_point("refund.marked")
    try:
        await _hand_over(method, row, lease)
    finally:
        await bell.ring(f"order:{row['order_ref']}", "refund")


async def _hand_over(method: PaymentMethod, row: Any, lease: Lease) -> None:
    try:
        async with strangers_code(SEND_SECONDS):
            answer = await method.refund(_view(row))
    except NotSent as error:
        await lease.write(_not_sent, row["id"], str(error))
        raise Retry(str(error)) from None
    except GatewayRefused as error:
        await db.transaction(refunds.failed, row["id"], str(error))
    except (GatewayUnavailable, TimeoutError) as error:
        await _doubt(method, row, str(error) or "the gateway did not answer in time")
    except Exception as error:
        log.exception("method %s broke when it was to refund %s", method.key, row["ref"])
        await _doubt(method, row, type(error).__name__)
    else:
        crash_point("refund.answered")
        await _take(method, row, answer)


async def _mark_sent(tx: Tx, refund_id: int) -> bool:
    return await tx.fetchval(MARK_SENT, refund_id) is not None


async def _not_sent(tx: Tx, refund_id: int, error: str) -> None:
    await tx.execute(
        "UPDATE payments_refund SET state = 'approved', sent_at = NULL, error = $2 WHERE id = $1 AND state = 'sent'",
        refund_id,
        error[:500],
    )


def _view(row: Any) -> Refund:
    return Refund(
        ref=row["ref"],
        attempt_ref=row["attempt_ref"],
        gateway_ref=row["trade"] or "",
        order_ref=row["order_ref"],
        amount=Money(row["amount"], row["currency"]),
        paid=Money(row["paid"], row["currency"]),
        reason=row["note"],
    )


async def _take(method: PaymentMethod, row: Any, answer: RefundAnswer) -> None:
    """What the gateway said for certain is written down whoever runs the job by now."""
    match answer.state:
        case RefundState.DONE:
            await ring(*await db.transaction(refunds.done, row["id"], answer.gateway_ref, answer.text))
        case RefundState.FAILED:
            await db.transaction(refunds.failed, row["id"], answer.text)
        case RefundState.PENDING:
            await _again_or_doubt(method, row, answer.text or "the gateway is still at it")


async def _doubt(method: PaymentMethod, row: Any, text: str) -> None:
    await db.transaction(refunds.unknown, row["id"], text)
    _ask_later(method, row["queries"])


# -- asking about what is not known -----------------------------------------------------


async def _ask(method: PaymentMethod, row: Any) -> None:
    """It was sent once. A worker that died, or an unclear answer, is no reason to send it again."""
    answer = None
    if method.refund_query_after:
        try:
            async with strangers_code(SEND_SECONDS):
                answer = await method.query_refund(_view(row))
        except (GatewayUnavailable, GatewayRefused, NotSent, TimeoutError) as error:
            log.warning("refund %s could not be asked about: %s", row["ref"], error)
        except Exception:
            log.exception("method %s broke when asked about refund %s", method.key, row["ref"])
        await db.execute("UPDATE payments_refund SET queries = queries + 1 WHERE id = $1", row["id"])
        row = {**row, "queries": row["queries"] + 1}
    if answer is None:
        await _again_or_doubt(method, row, "the gateway was not heard to the end")
    else:
        await _take(method, row, answer)
        await bell.ring(f"order:{row['order_ref']}", "refund")


async def _again_or_doubt(method: PaymentMethod, row: Any, text: str) -> None:
    if row["state"] != "unknown":
        await db.transaction(refunds.unknown, row["id"], text)
    _ask_later(method, row["queries"])


def _ask_later(method: PaymentMethod, queries: int) -> None:
    """The question is open before a person already; ask the gateway for as long as its method says."""
    if queries < len(method.refund_query_after):
        raise Retry("the outcome is not known yet", method.refund_query_after[queries])


@every(60, "payments.refunds_left")
async def refunds_left(lease: Lease) -> None:
    """A refund whose job was taken out of the queue is not forgotten."""
    for row in await db.fetch(LEFT_BEHIND, refunds.SEND):
        await ring(await db.transaction(_again, row["id"]))


async def _again(tx: Tx, refund_id: int) -> int:
    return await enqueue(tx, refunds.SEND, {"refund": refund_id})


# -- what plugins are shown -------------------------------------------------------------


@telling.shows("order_refunded")
async def look(ref: str) -> telling.Views | None:
    row = await db.fetchrow(
        "SELECT refund.*, o.ref AS order_ref FROM payments_refund refund JOIN orders_order o ON o.id = refund.order_id"
        " WHERE refund.ref = $1",
        ref,
    )
    order = await order_view(row["order_ref"]) if row else None
    if order is None:
        return None
    refund = RefundView(row["ref"], Money(row["amount"], row["currency"]), row["way"], row["ended_at"])
    return {"order": order, "refund": refund}


@every(60, "payments.statements", timeout_seconds=900)
async def fetch_statements(lease: Lease) -> None:
    await statements.fetch_due()


@every(86_400, "payments.forget_calls")
async def forget_calls(lease: Lease) -> None:
    await calls.forget_old()
