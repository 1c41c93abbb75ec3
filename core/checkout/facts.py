"""The facts of one order that its diagnosis is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core import db
from core.checkout.diagnosis import Back, Bought, Facts, Sent, Try
from core.checkout.trace import Row
from core.ledger import chart
from core.web.i18n import in_words


async def facts_of(order: Mapping[str, Any], rows: Sequence[Row]) -> Facts:
    order_id = order["id"]
    told = await db.fetchrow(
        "SELECT received_at, source FROM payments_event WHERE order_id = $1 AND state = 'paid' ORDER BY id LIMIT 1",
        order_id,
    )
    asked = await db.fetch(
        "SELECT kind, created_at FROM review_item WHERE order_id = $1 AND state = 'open' ORDER BY id", order_id
    )
    first = {kind: at for kind, at in reversed([(row.kind, row.at) for row in rows])}
    return Facts(
        payment=order["payment_state"],
        goods=order["fulfilment_state"],
        placed=order["created_at"],
        expires=order["expires_at"],
        paid=order["paid_at"],
        delivered=order["delivered_at"],
        held=order["held"],
        told=told["received_at"] if told else None,
        told_by=told["source"] if told else "",
        tries=await _tries(order_id, rows),
        forged=first.get("forged"),
        purchases=await _purchases(order_id),
        by_hand=any(line["source"] == "hand" and line["state"] == "preparing" for line in order["lines"] or []),
        seen=first.get("shown"),
        messages=await _messages(order_id),
        refunds=await _refunds(order_id),
        questions=[(row["kind"], row["created_at"]) for row in asked],
        ended=first.get("expired") or first.get("cancelled"),
    )


async def _tries(order_id: int, rows: Sequence[Row]) -> list[Try]:
    newest = {row.about: row.at for row in rows if row.kind in ("callback", "query")}
    return [
        Try(
            in_words(row["label"]) or chart.method_title(row["method"]),
            row["state"],
            row["created_at"],
            row["error"],
            newest.get(row["ref"]),
        )
        for row in await db.fetch("SELECT * FROM payments_attempt WHERE order_id = $1 ORDER BY id", order_id)
    ]


async def _purchases(order_id: int) -> list[Bought]:
    rows = await db.fetch("SELECT * FROM supply_purchase WHERE order_id = $1 ORDER BY id", order_id)
    return [Bought(row["supplier"], row["state"], row["sent_at"] or row["created_at"], row["error"]) for row in rows]


async def _messages(order_id: int) -> list[Sent]:
    rows = await db.fetch("SELECT * FROM messages_message WHERE order_id = $1 ORDER BY id", order_id)
    return [Sent(row["state"], row["sent_at"] or row["created_at"], row["error"]) for row in rows]


async def _refunds(order_id: int) -> list[Back]:
    rows = await db.fetch("SELECT * FROM payments_refund WHERE order_id = $1 ORDER BY id", order_id)
    return [Back(row["state"], row["ended_at"] or row["sent_at"] or row["asked_at"], row["error"]) for row in rows]
