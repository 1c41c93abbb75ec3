"""An order with nothing left to pay: paid and handed over in the transaction that places it, without a gateway."""

from __future__ import annotations

from core.db import Tx
from core.fulfilment import service as fulfilment
from core.hooks import telling
from core.orders import timeline

PAID = "UPDATE orders_order SET payment_state = 'paid', paid_at = clock_timestamp() WHERE id = $1"


async def settle_in(tx: Tx, order_id: int) -> list[int]:
    """Gives the jobs to ring for after the commit."""
    order = await tx.fetchrow("SELECT * FROM orders_order WHERE id = $1 FOR UPDATE", order_id)
    if order["total"] != 0 or order["payment_state"] != "unpaid":
        raise ValueError(f"order {order['ref']} is not one to give away")
    await tx.execute(PAID, order_id)
    await timeline.add(tx, order_id, "paid", "system", {"amount": 0, "currency": order["currency"]})
    told = await telling.tell(tx, order["ref"], "order_paid")
    return told + (await fulfilment.fulfil(tx, order, "out_of_stock")).jobs
