"""Test orders: taken out with everything that hangs on them. They were never in the books, what they spent is."""

from __future__ import annotations

from core.db import Tx
from core.hooks import telling
from core.orders import facts, uses
from core.vault import quarantine

# What was bought from a supplier was bought for real, whatever the order was.
TRIED = """
SELECT id, ref, (SELECT code FROM shops_shop WHERE id = $1) AS shop FROM orders_order o WHERE shop_id = $1 AND test
AND NOT EXISTS (SELECT 1 FROM supply_purchase WHERE order_id = o.id) ORDER BY id FOR UPDATE
"""

OF_LINES = "line_id IN (SELECT id FROM orders_line WHERE order_id = ANY($1))"
DEMO_CODES = f"DELETE FROM vault_code WHERE {OF_LINES} AND batch_id IN (SELECT id FROM vault_batch WHERE demo)"  # noqa: S608
FREE_AGAIN = f"""
UPDATE vault_code SET state = 'free', line_id = NULL, reserved_until = NULL WHERE {OF_LINES} AND state = 'reserved'
"""  # noqa: S608
SPENT = f"""
WITH gone AS (
    UPDATE vault_code SET state = 'void', line_id = NULL, delivered_at = NULL, replaced_by = NULL
    WHERE {OF_LINES} AND state = 'delivered' RETURNING id, batch_id
)
SELECT min(gone.id) AS first, coalesce(sum(batch.unit_cost), 0)::bigint AS cost
FROM gone JOIN vault_batch batch ON batch.id = gone.batch_id
"""  # noqa: S608

# Found anew each time: plugins bring tables of their own. What the database takes along by itself is left to it.
POINTERS = """
SELECT con.conrelid::regclass::text AS child, there.attname AS col, here.attname AS key
FROM pg_constraint con
JOIN pg_attribute there ON there.attrelid = con.conrelid AND there.attnum = con.conkey[1]
JOIN pg_attribute here ON here.attrelid = con.confrelid AND here.attnum = con.confkey[1]
WHERE con.contype = 'f' AND con.confrelid = $1::text::regclass AND con.conrelid <> con.confrelid
  AND cardinality(con.conkey) = 1 AND con.confdeltype = 'a'
ORDER BY 1, 2
"""


async def take_out(tx: Tx, shop_id: int) -> int:
    """Delete the test orders of a shop; gives how many.

    A demo code goes with its order, one that was only held is free again. A real code that was spent on a test is
    void: somebody has seen it. What it cost is booked like that of codes written off.
    """
    tried = await tx.fetch(TRIED, shop_id)
    ids = [row["id"] for row in tried]
    if not ids:
        return 0
    await tx.execute("SELECT set_config('vouchsafe.taking_out_trials', 'yes', true)")
    await uses.release(tx, ids)
    await tx.execute(DEMO_CODES, ids)
    await tx.execute(FREE_AGAIN, ids)
    await quarantine.book_off(tx, shop_id, await tx.fetchrow(SPENT, ids))
    await _delete(tx, "orders_order", "id = ANY($1)", ids)
    await tx.execute("SELECT set_config('vouchsafe.taking_out_trials', '', true)")
    await telling.tell_many(tx, [facts.removed(row["shop"], row["ref"]) for row in tried], "order_removed")
    return len(ids)


async def _delete(tx: Tx, table: str, condition: str, ids: list[int]) -> None:
    """What points at the rows goes first."""
    for row in await tx.fetch(POINTERS, table):
        of_them = f"{row['col']} IN (SELECT {row['key']} FROM {table} WHERE {condition})"  # noqa: S608 - names of the database
        await _delete(tx, row["child"], of_them, ids)
    await tx.execute(f"DELETE FROM {table} WHERE {condition}", ids)  # noqa: S608 - likewise
