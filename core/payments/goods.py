"""What happens to an order's codes when its money goes back."""

from __future__ import annotations

from typing import Any

from core.db import Tx
from core.redemption import redeem
from core.review import service as review
from core.vault import stock
from core.web.i18n import _

CODES_OUT = "codes_out"
"""The question about codes that a buyer holds who was given the money back."""

# Delivered codes stay with their line for ever; they are only named.
HANDED_OVER = """
SELECT code.id, code.mask FROM vault_code code JOIN orders_line line ON line.id = code.line_id
WHERE line.order_id = $1 AND code.state = 'delivered' ORDER BY code.id
"""

QUARANTINE = """
UPDATE vault_code SET state = 'quarantined', line_id = NULL, reserved_until = NULL, note = $2
WHERE line_id IN (SELECT id FROM orders_line WHERE order_id = $1) AND state = 'reserved'
"""


async def give_up(tx: Tx, order: Any, *, take_codes: bool = False) -> None:
    """Nothing will be delivered: held codes go back on sale, or with ``take_codes`` out of use."""
    if take_codes:
        await tx.execute(QUARANTINE, order["id"], order["ref"])
    lines = await tx.fetch("UPDATE orders_line SET state = 'void' WHERE order_id = $1 RETURNING id", order["id"])
    await stock.release(tx, [line["id"] for line in lines])
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
