"""What happens to an order's codes when its money goes back."""

from __future__ import annotations

from typing import Any

from core.db import Tx
from core.redemption import redeem
from core.review import service as review
from core.vault import quarantine, stock
from core.web.i18n import _

CODES_OUT = "codes_out"
"""The question about codes that a buyer holds who was given the money back."""

# Delivered codes stay with their line for ever; they are only named.
HANDED_OVER = """
SELECT code.id, code.mask FROM vault_code code JOIN orders_line line ON line.id = code.line_id
WHERE line.order_id = $1 AND code.state = 'delivered' ORDER BY code.id
"""


async def give_up(tx: Tx, order: Any, *, set_aside_by: int | None = None) -> None:
    """Nothing will be delivered: held codes go back on sale, or are set aside by that member of staff."""
    rows = await tx.fetch("UPDATE orders_line SET state = 'void' WHERE order_id = $1 RETURNING id", order["id"])
    lines = [row["id"] for row in rows]
    if set_aside_by is not None:
        await quarantine.mark_held_by_lines(tx, order["shop_id"], lines, order["ref"], set_aside_by)
    await stock.release(tx, lines)
    await tx.execute("UPDATE orders_order SET fulfilment_state = 'void' WHERE id = $1", order["id"])


async def take_back(tx: Tx, order: Any) -> None:
    """Delivered codes are shown no more. Our own are void; a person is asked to void others where they come from."""
    await tx.execute("UPDATE orders_line SET state = 'void' WHERE order_id = $1", order["id"])
    await tx.execute("UPDATE orders_order SET fulfilment_state = 'void' WHERE id = $1", order["id"])
    handed_over = await tx.fetch(HANDED_OVER, order["id"])
    void = await redeem.void_codes(tx, [code["id"] for code in handed_over], order["ref"])
    codes = [code for code in handed_over if code["id"] not in void]
    if codes:
        await review.open_item(
            tx,
            order["shop_id"],
            CODES_OUT,
            f"{CODES_OUT}:{order['ref']}",
            _("the money went back, the codes are with the buyer"),
            order_id=order["id"],
            data={"codes": [{"id": code["id"], "mask": code["mask"]} for code in codes]},
        )
