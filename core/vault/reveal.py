"""Show delivered codes to whom they belong. Every showing is written down in the statement that reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from core import db
from core.vault.cipher import open_batch


@dataclass(frozen=True, slots=True)
class RevealedCode:
    code_id: int
    line_id: int
    mask: str
    text: str = field(repr=False)


# OFFSET 0 makes it ask for the codes of each line: freely joined, the planner may start from every code ever sold.
CODES_OF_ORDER = """
SELECT code.id, code.line_id, code.blob, code.mask, code.shop_id, code.sku_id, code.batch_id,
       batch.wrapped_key, batch.key_version
FROM orders_line line
CROSS JOIN LATERAL (SELECT * FROM vault_code WHERE line_id = line.id AND state = 'delivered' OFFSET 0) AS code
JOIN vault_batch batch ON batch.id = code.batch_id
"""

REVEAL_TO_BUYER = f"""
WITH mine AS (
    SELECT orders_order.id FROM orders_order
    JOIN orders_access ON orders_access.order_id = orders_order.id AND orders_access.session_hash = $2
    WHERE orders_order.ref = $1
), code AS MATERIALIZED (
    {CODES_OF_ORDER} WHERE line.order_id = (SELECT id FROM mine)
), log AS (
    INSERT INTO vault_reveal (code_id, line_id, session_hash, ip, agent)
    SELECT id, line_id, $2, $3, $4 FROM code
), event AS (
    INSERT INTO orders_event (order_id, kind, actor, data)
    SELECT id, 'revealed', 'buyer', jsonb_build_object('codes', (SELECT count(*) FROM code)) FROM mine
    WHERE EXISTS (SELECT 1 FROM code)
)
SELECT * FROM code ORDER BY line_id, id
"""  # noqa: S608 - put together from constants


async def reveal_to_buyer(ref: str, session_hash: bytes, ip: str | None, agent: str) -> list[RevealedCode]:
    """The delivered codes of an order, if that session may see the order; else an empty list."""
    return opened(await db.fetch(REVEAL_TO_BUYER, ref, session_hash, ip, agent[:300]))


async def codes_for_mail(order_id: int) -> list[RevealedCode]:
    """The codes of an order for a mail that the merchant chose to send with codes; written down as such."""
    return await db.transaction(_codes_for_mail, order_id)


async def _codes_for_mail(tx: db.Tx, order_id: int) -> list[RevealedCode]:
    rows = await tx.fetch(f"{CODES_OF_ORDER} WHERE line.order_id = $1 ORDER BY code.line_id, code.id", order_id)
    await tx.execute(
        "INSERT INTO orders_event (order_id, kind, actor, data) VALUES ($1, 'codes_mailed', 'system', $2)",
        order_id,
        {"codes": len(rows)},
    )
    return opened(rows)


def opened(rows: list[Any]) -> list[RevealedCode]:
    return [
        RevealedCode(
            code_id=row["id"],
            line_id=row["line_id"],
            mask=row["mask"],
            text=open_batch(row["wrapped_key"], row["key_version"], row["shop_id"], row["sku_id"], row["batch_id"])
            .open(row["id"], row["blob"])
            .reveal(),
        )
        for row in rows
    ]
