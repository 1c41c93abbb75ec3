"""A delivered code that does not work: the buyer says so once, and staff give another of the same SKU for it.

The chain is in the codes themselves. ``replaced_by`` of the old one names the new one, each at most once: the
database refuses a second code for one, and one code for two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core import clock, db
from core.db import Tx
from core.vault.stock import SELLABLE_FROM


@dataclass(frozen=True, slots=True)
class Delivered:
    """A delivered code with its order's line."""

    id: int
    line_id: int
    sku_id: int
    batch_id: int
    mask: str
    replaced_by: int | None


@dataclass(frozen=True, slots=True)
class Given:
    id: int
    mask: str
    unit_cost: int


FIND = """
SELECT code.id, code.line_id, code.sku_id, code.batch_id, code.mask, code.replaced_by
FROM vault_code code JOIN orders_line line ON line.id = code.line_id
WHERE code.id = $1 AND line.order_id = $2 AND code.state = 'delivered' FOR UPDATE OF code
"""

REPORT = "UPDATE vault_code SET reported_at = $2 WHERE id = $1 AND reported_at IS NULL RETURNING id"

# The code that ends first, but no other place of the same reusable code: that one does not work either.
NEXT = f"""
SELECT code.id FROM vault_code code
WHERE code.sku_id = $2 AND code.state = 'free' AND code.slot >= (
    SELECT {SELLABLE_FROM} FROM catalog_sku sku JOIN shops_shop shop ON shop.id = sku.shop_id WHERE sku.id = $2)
  AND code.batch_id <> $3
ORDER BY code.slot LIMIT 1 FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - put together from constants

GIVE = """
UPDATE vault_code SET state = 'delivered', line_id = $2, delivered_at = clock_timestamp()
FROM vault_batch batch WHERE vault_code.id = $1 AND batch.id = vault_code.batch_id
RETURNING vault_code.id, vault_code.mask, CASE WHEN batch.demo THEN 0 ELSE coalesce(batch.unit_cost, 0) END AS unit_cost
"""

MARK = "UPDATE vault_code SET replaced_by = $2 WHERE id = $1 AND replaced_by IS NULL RETURNING id"


async def find(tx: Tx, order_id: int, code_id: int) -> Delivered | None:
    """A code of this order, locked."""
    row = await tx.fetchrow(FIND, code_id, order_id)
    return Delivered(**row) if row else None


async def report(tx: Tx, code_id: int) -> bool:
    """The buyer says that it does not work; False when that was said before."""
    return await tx.fetchval(REPORT, code_id, clock.now()) is not None


async def replace(tx: Tx, old: Delivered, *, shared: bool) -> Given | None:
    """Give the line another code for ``old``, which must be locked; None when there is none in stock.

    ``shared``: other codes of the old one's batch are the same text.
    """
    next_id = await tx.fetchval(NEXT, clock.now(), old.sku_id, old.batch_id if shared else 0)
    if next_id is None:
        return None
    row: Any = await tx.fetchrow(GIVE, next_id, old.line_id)
    if await tx.fetchval(MARK, old.id, row["id"]) is None:
        raise RuntimeError("the code was replaced already, although it is locked")
    return Given(**row)


async def is_shared(tx: Tx, batch_id: int) -> bool:
    return await tx.fetchval("SELECT source = 'reusable' FROM vault_batch WHERE id = $1", batch_id)


SHOWN = """
SELECT count(*) AS times, min(at) AS first, max(at) AS last FROM vault_reveal WHERE code_id = $1 AND staff_id IS NULL
"""


async def shown(tx: Tx, code_id: int) -> dict[str, Any]:
    """When and how often the buyer was shown the code."""
    row: Any = await tx.fetchrow(SHOWN, code_id)
    return {"times": row["times"], "first": _text(row["first"]), "last": _text(row["last"])}


def _text(at: Any) -> str:
    return at.isoformat() if at else ""


CHAIN = """
SELECT code.id, code.mask, code.reported_at, code.replaced_by, new.mask AS new_mask, new.delivered_at AS replaced_at
FROM vault_code code JOIN orders_line line ON line.id = code.line_id
LEFT JOIN vault_code new ON new.id = code.replaced_by
WHERE line.order_id = $1 AND code.state = 'delivered' ORDER BY code.id
"""


async def chain(order_id: int) -> list[Any]:
    """The order's codes with what was given for them."""
    return await db.fetch(CHAIN, order_id)
