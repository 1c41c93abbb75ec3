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
    tries = await db.fetch("SELECT * FROM payments_attempt WHERE order_id = $1 ORDER BY id", order_id)
    told = await db.fetchrow(
        "SELECT received_at, source FROM payments_event WHERE order_id = $1 AND state = 'paid' ORDER BY id LIMIT 1",
        order_id,
    )
    bought = await db.fetch("SELECT * FROM supply_purchase WHERE order_id = $1 ORDER BY id", order_id)
    sent = await db.fetch("SELECT * FROM messages_message WHERE order_id = $1 ORDER BY id", order_id)
    back = await db.fetch("SELECT * FROM payments_refund WHERE order_id = $1 ORDER BY id", order_id)
    asked = await db.fetch(
        "SELECT kind, created_at FROM review_item WHERE order_id = $1 AND state = 'open' ORDER BY id", order_id
    )
    newest = {row.about: row.at for row in rows if row.kind in ("callback", "query")}
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
        tries=[
            Try(
                in_words(row["label"]) or chart.method_title(row["method"]),
                row["state"],
                row["created_at"],
                row["error"],
                newest.get(row["ref"]),
            )
            for row in tries
        ],
        forged=first.get("forged"),
        purchases=[
            Bought(row["supplier"], row["state"], row["sent_at"] or row["created_at"], row["error"]) for row in bought
        ],
        by_hand=any(line["source"] == "hand" and line["state"] == "preparing" for line in order["lines"] or []),
        seen=first.get("shown"),
        messages=[Sent(row["state"], row["sent_at"] or row["created_at"], row["error"]) for row in sent],
        refunds=[
            Back(row["state"], row["ended_at"] or row["sent_at"] or row["asked_at"], row["error"]) for row in back
        ],
        questions=[(row["kind"], row["created_at"]) for row in asked],
        ended=first.get("expired") or first.get("cancelled"),
    )
