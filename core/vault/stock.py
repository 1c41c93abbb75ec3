"""Stock of codes: claim some for an order line, give them back. Always in the caller's transaction."""

from __future__ import annotations

import secrets
from datetime import date, datetime
from zoneinfo import ZoneInfo

from core import clock, db
from core.db import Tx

COUNTED_UP_TO = 1000
FIRST_DAY = date(2020, 1, 1)
DAYS = 2**14
SLOTS_OF_DAY = 2**17
SLOTS = 2**31

# Whatever lies before this slot has too few days left to be sold; $1 is now.
SELLABLE_FROM = "vault_first_slot(($1::timestamptz AT TIME ZONE shop.timezone)::date + sku.min_days_left)"

# The codes that end first are sold first, in the order of their days. Within a day, and among codes without a
# date, claims start at a random slot and wrap round: from the head of the queue every buyer would first walk over
# the rows that the others hold locked. A code that has too few days left lies before ``sellable`` and is never seen.
CLAIM = f"""
WITH item AS MATERIALIZED (
    SELECT sellable.slot AS first_slot, coalesce(nearest.bucket + ($6 & 131071), $6) AS low,
           coalesce(nearest.bucket + 131071, 2147483647) AS high
    FROM (SELECT {SELLABLE_FROM} AS slot FROM catalog_sku sku JOIN shops_shop shop ON shop.id = sku.shop_id
          WHERE sku.id = $3) AS sellable
    LEFT JOIN LATERAL (
        SELECT slot >> 17 << 17 AS bucket FROM vault_code
        WHERE sku_id = $3 AND state = 'free' AND slot >= sellable.slot AND slot < 0
        ORDER BY slot LIMIT 1) AS nearest ON true
), claimed AS MATERIALIZED (
    SELECT code.id FROM item CROSS JOIN LATERAL (
        WITH first AS MATERIALIZED (
            SELECT id FROM vault_code WHERE sku_id = $3 AND state = 'free' AND slot >= item.low AND slot <= item.high
            ORDER BY slot LIMIT $4 FOR UPDATE SKIP LOCKED
        ), rest AS MATERIALIZED (
            SELECT id FROM vault_code WHERE sku_id = $3 AND state = 'free' AND slot >= item.first_slot
                AND NOT (slot >= item.low AND slot <= item.high)
            ORDER BY slot LIMIT $4 - (SELECT count(*) FROM first) FOR UPDATE SKIP LOCKED
        )
        SELECT id FROM first UNION ALL SELECT id FROM rest
    ) AS code
), reserved AS (
    UPDATE vault_code SET state = 'reserved', line_id = $2, reserved_until = $5
    WHERE id = ANY(ARRAY(SELECT id FROM claimed)) RETURNING 1
)
SELECT count(*) FROM reserved
"""  # noqa: S608 - put together from constants


def first_slot(day: date) -> int:
    """The first slot of the codes that are good until that day or longer."""
    number = min(max((day - FIRST_DAY).days, 0), DAYS - 1)
    return (number - DAYS) * SLOTS_OF_DAY


def slot(mark: bytes, expires_on: date | None) -> int:
    """Where a code stands in the order of sale: a random place, which follows the fingerprint."""
    number = int.from_bytes(mark[:4], "big")
    return number >> 1 if expires_on is None else first_slot(expires_on) + (number >> 15)


def random_slot() -> int:
    return secrets.randbelow(SLOTS)


def today(timezone: str, now: datetime | None = None) -> date:
    """The date at the shop: an expiry date is one of its days, not of Greenwich's."""
    return (now or clock.now()).astimezone(ZoneInfo(timezone)).date()


async def reserve(tx: Tx, line_id: int, sku_id: int, quantity: int, until: object) -> int:
    """Reserve up to ``quantity`` free codes for a line; says how many. Fewer means: roll back or send to review."""
    return await tx.fetchval(CLAIM, clock.now(), line_id, sku_id, quantity, until, random_slot())


async def release(tx: Tx, line_ids: list[int]) -> int:
    """Put reserved codes of these lines back on sale; suspect ones are set aside."""
    rows = await tx.fetch(
        "UPDATE vault_code SET state = CASE WHEN hold_id IS NULL THEN 'free' ELSE 'quarantined' END,"
        " line_id = NULL, reserved_until = NULL"
        " WHERE line_id = ANY($1) AND state = 'reserved' RETURNING id",
        line_ids,
    )
    return len(rows)


async def let_suspect_go(tx: Tx, line_ids: list[int]) -> None:
    """Set reserved codes of these lines aside that staff marked as suspect: their lines need others."""
    await tx.execute(
        "UPDATE vault_code SET state = 'quarantined', line_id = NULL, reserved_until = NULL"
        " WHERE line_id = ANY($1) AND state = 'reserved' AND hold_id IS NOT NULL",
        line_ids,
    )


FREE = f"""
SELECT sku.id, (SELECT count(*) FROM (
    SELECT 1 FROM vault_code WHERE sku_id = sku.id AND state = 'free' AND slot >= {SELLABLE_FROM}
    LIMIT $3) AS counted) AS free
FROM catalog_sku sku JOIN shops_shop shop ON shop.id = sku.shop_id WHERE sku.id = ANY($2::bigint[])
"""  # noqa: S608 - put together from constants


async def free_counts(sku_ids: list[int]) -> dict[int, int]:
    """How many codes may be sold now, counted up to a thousand: nobody needs to know more at the counter."""
    rows = await db.fetch(FREE, clock.now(), sku_ids, COUNTED_UP_TO)
    return {row["id"]: row["free"] for row in rows}


# No claim sees these any more; this takes them out of every number of free codes. Codes that staff set aside have
# a hold. When the SKU's limit is lowered, or a date was far enough after all, they come back by themselves.
SET_ASIDE = f"""
UPDATE vault_code code SET state = 'quarantined' FROM catalog_sku sku JOIN shops_shop shop ON shop.id = sku.shop_id
WHERE code.sku_id = sku.id AND code.state = 'free' AND code.slot < {SELLABLE_FROM}
"""  # noqa: S608 - put together from constants
TAKE_BACK = f"""
UPDATE vault_code code SET state = 'free' FROM catalog_sku sku JOIN shops_shop shop ON shop.id = sku.shop_id
WHERE code.sku_id = sku.id AND code.state = 'quarantined' AND code.hold_id IS NULL AND code.slot < 0
  AND code.slot >= {SELLABLE_FROM}
"""  # noqa: S608 - put together from constants


async def set_aside_ending() -> None:
    """Take codes that have too few days left off the shelf."""
    await db.execute(SET_ASIDE, clock.now())
    await db.execute(TAKE_BACK, clock.now())
