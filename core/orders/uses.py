"""Uses of discounts that are limited: taken with the order, given back when it ends unpaid.

A refund does not give a use back: who was refunded had the discount, and could else have it again and again.
"""

from __future__ import annotations

from core.db import Tx

RELEASE = """
WITH gone AS (UPDATE orders_use SET held = false WHERE order_id = ANY($1) AND held RETURNING cap_id),
counted AS (SELECT cap_id, count(*) AS uses FROM gone GROUP BY cap_id)
UPDATE orders_cap SET used = used - counted.uses FROM counted WHERE id = counted.cap_id
"""

TAKE_AGAIN = """
WITH let_go AS (SELECT cap_id FROM orders_use WHERE order_id = $1 AND NOT held),
room AS MATERIALIZED (
    SELECT id FROM orders_cap WHERE id IN (SELECT cap_id FROM let_go) AND used < most ORDER BY id FOR UPDATE),
enough AS (SELECT (SELECT count(*) FROM room) = (SELECT count(*) FROM let_go) AS yes),
taken AS (UPDATE orders_cap SET used = used + 1 WHERE id IN (SELECT id FROM room) AND (SELECT yes FROM enough)),
again AS (UPDATE orders_use SET held = true WHERE order_id = $1 AND (SELECT yes FROM enough))
SELECT yes FROM enough
"""


async def release(tx: Tx, order_ids: list[int]) -> None:
    """These orders ended unpaid: others may have their uses."""
    await tx.execute(RELEASE, order_ids)


async def take_again(tx: Tx, order_id: int) -> bool:
    """The order is paid after it had ended. False: a limit was reached meanwhile, and nothing was taken."""
    return bool(await tx.fetchval(TAKE_AGAIN, order_id))
