"""Stock of codes: claim some for an order line, give them back, hand them over. Always in the caller's transaction."""

from __future__ import annotations

import secrets

from core import db
from core.db import Tx

COUNTED_UP_TO = 1000

# Claims start at a random slot and wrap round. From the head of the queue every buyer would first walk
# over the rows that the others hold locked.
CLAIM = """
WITH first AS MATERIALIZED (
    SELECT id FROM vault_code WHERE sku_id = $2 AND state = 'free' AND slot >= $5
    ORDER BY slot LIMIT $3 FOR UPDATE SKIP LOCKED
), rest AS MATERIALIZED (
    SELECT id FROM vault_code WHERE sku_id = $2 AND state = 'free' AND slot < $5
    ORDER BY slot LIMIT $3 - (SELECT count(*) FROM first) FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE vault_code SET state = 'reserved', line_id = $1, reserved_until = $4
    WHERE id IN (SELECT id FROM first UNION ALL SELECT id FROM rest) RETURNING 1
)
SELECT count(*) FROM claimed
"""


async def reserve(tx: Tx, line_id: int, sku_id: int, quantity: int, until: object) -> int:
    """Reserve up to ``quantity`` free codes for a line; says how many. Fewer means: roll back or send to review."""
    return await tx.fetchval(CLAIM, line_id, sku_id, quantity, until, random_slot())


def random_slot() -> int:
    return secrets.randbelow(2**32) - 2**31


async def release(tx: Tx, line_ids: list[int]) -> int:
    """Put reserved codes of these lines back on sale."""
    rows = await tx.fetch(
        "UPDATE vault_code SET state = 'free', line_id = NULL, reserved_until = NULL"
        " WHERE line_id = ANY($1) AND state = 'reserved' RETURNING id",
        line_ids,
    )
    return len(rows)


async def hand_over(tx: Tx, line_ids: list[int]) -> int:
    """Reserved codes of these lines become delivered, for ever. Says how many."""
    rows = await tx.fetch(
        "UPDATE vault_code SET state = 'delivered', delivered_at = clock_timestamp(), reserved_until = NULL"
        " WHERE line_id = ANY($1) AND state = 'reserved' RETURNING id",
        line_ids,
    )
    return len(rows)


async def free_count(sku_id: int) -> int:
    """How many codes are free, counted up to a thousand: nobody needs to know more at the counter."""
    return await db.fetchval(
        "SELECT count(*) FROM (SELECT 1 FROM vault_code WHERE sku_id = $1 AND state = 'free' LIMIT $2) AS counted",
        sku_id,
        COUNTED_UP_TO,
    )


async def free_counts(sku_ids: list[int]) -> dict[int, int]:
    rows = await db.fetch(
        """
        SELECT sku.id, (SELECT count(*) FROM (
            SELECT 1 FROM vault_code WHERE sku_id = sku.id AND state = 'free' LIMIT $2) AS counted) AS free
        FROM unnest($1::bigint[]) AS sku (id)
        """,
        sku_ids,
        COUNTED_UP_TO,
    )
    return {row["id"]: row["free"] for row in rows}
