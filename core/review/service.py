"""One queue for everything a person must decide."""

from __future__ import annotations

from typing import Any

from core.db import Tx
from core.hooks import telling
from core.web.i18n import Text, source

KINDS = (
    "paid_late",
    "out_of_stock",
    "underpaid",
    "wrong_currency",
    "overpaid",
    "paid_twice",
    "chargeback",
    "codes_out",
    "refund_failed",
    "refund_unknown",
    "job_failed",
    "risk",
    "statement",
    "purchase_failed",
    "purchase_unknown",
    "purchase_odd",
    "by_hand",
    "cost_jump",
)

ELSEWHERE = ("chargeback", "codes_out", "refund_unknown", "purchase_odd")
"""About what happened at a bank, a gateway or a supplier: nothing that becomes of the order answers them."""


async def open_item(
    tx: Tx,
    shop_id: int,
    kind: str,
    key: str,
    reason: Text | str,
    *,
    order_id: int | None = None,
    attempt_id: int | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Ask a person to decide. ``key`` is unique: one question is asked once."""
    new = await tx.fetchval(
        "INSERT INTO review_item (shop_id, kind, key, order_id, attempt_id, reason, data)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (key) DO NOTHING RETURNING id",
        shop_id,
        kind,
        key,
        order_id,
        attempt_id,
        source(reason),
        data or {},
    )
    if new is not None:
        await telling.tell(tx, str(new), "review_opened")


async def resolve(tx: Tx, item_id: int, staff_id: int, resolution: str, note: str = "") -> bool:
    """Close an open item; False when somebody was faster."""
    return (
        await tx.fetchval(
            "UPDATE review_item SET state = 'done', resolution = $3, resolved_by = $2, resolved_at = now(), note = $4"
            " WHERE id = $1 AND state = 'open' RETURNING id",
            item_id,
            staff_id,
            resolution,
            note,
        )
        is not None
    )


async def resolve_of_order(
    tx: Tx, order_id: int, staff_id: int | None, resolution: str, *, but: tuple[str, ...] = ()
) -> list[int]:
    """Close what was asked about an order that has been dealt with; questions of the kinds ``but`` stay open, and
    those about what happened elsewhere."""
    rows = await tx.fetch(
        "UPDATE review_item SET state = 'done', resolution = $3, resolved_by = $2, resolved_at = now()"
        " WHERE order_id = $1 AND state = 'open' AND kind <> ALL($4::text[]) RETURNING id",
        order_id,
        staff_id,
        resolution,
        [*ELSEWHERE, *but],
    )
    return [row["id"] for row in rows]


async def reopen(tx: Tx, item_ids: list[int]) -> None:
    """What was decided came to nothing: ask again."""
    await tx.execute(
        "UPDATE review_item SET state = 'open', resolution = '', resolved_by = NULL, resolved_at = NULL"
        " WHERE id = ANY($1)",
        item_ids,
    )
