"""Show delivered codes to whom they belong. Every showing is written down in the statement that reads them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from core import db
from core.vault.cipher import Secret, open_batch


@dataclass(frozen=True, slots=True)
class RevealedCode:
    code_id: int
    line_id: int
    mask: str
    text: str = field(repr=False)
    burn_at: datetime | None = None
    """When it is erased for good."""


# OFFSET 0 makes it ask for the codes of each line: freely joined, the planner may start from every code ever sold.
CODES_OF_ORDER = """
SELECT code.id, code.line_id, code.blob, code.mask, code.shop_id, code.sku_id, code.batch_id,
       batch.wrapped_key, batch.key_version, code.burn_at, code.shown_to, sku.burn_hours
FROM orders_line line
CROSS JOIN LATERAL (SELECT * FROM vault_code WHERE line_id = line.id AND state = 'delivered' OFFSET 0) AS code
JOIN vault_batch batch ON batch.id = code.batch_id JOIN catalog_sku sku ON sku.id = code.sku_id
"""

# Under copy-and-burn the first session that asks gets the code, and it alone gets it again until the window is over.
# Asked by two at once, the row decides; asked twice at once by one, both answers carry it.
# These are the parts of a WITH: the order ($1) shown to a session ($2, its $3 address and $4 agent) now ($6), where
# $5 is the shop's burn_hours: so long after its first showing a code is erased, 0 for never; a SKU may say otherwise.
# The try is counted in bucket $7 and window $8; after $9 of them nothing is shown. Staff not seen since $10 has to
# sign in again.
SHOWING = f"""
mine AS (
    SELECT orders_order.id FROM orders_order
    JOIN orders_access ON orders_access.order_id = orders_order.id AND orders_access.session_hash = $2
    JOIN people_session ON people_session.id_hash = $2 AND people_session.expires_at > $6
        AND (people_session.kind = 'buyer' OR people_session.seen_at > $10)
    WHERE orders_order.ref = $1
), tried AS (
    INSERT INTO web_limit AS l (bucket, window_start, hits) SELECT $7, $8, 1 FROM mine
    ON CONFLICT (bucket, window_start) DO UPDATE SET hits = l.hits + 1 RETURNING hits
), code AS MATERIALIZED (
    {CODES_OF_ORDER} WHERE line.order_id = (SELECT id FROM mine) AND code.burned_at IS NULL AND line.state <> 'void'
      AND code.replaced_by IS NULL AND (SELECT hits FROM tried) <= $9
), claimed AS (
    UPDATE vault_code SET shown_to = $2,
        burn_at = coalesce(vault_code.burn_at, $6::timestamptz + make_interval(hours => coalesce(code.burn_hours, $5)))
    FROM code WHERE vault_code.id = code.id AND code.burn_at IS NULL AND coalesce(code.burn_hours, $5) > 0
      AND vault_code.burned_at IS NULL AND (vault_code.shown_to IS NULL OR vault_code.shown_to = $2)
    RETURNING vault_code.id, vault_code.burn_at
), shown AS MATERIALIZED (
    SELECT * FROM code WHERE CASE
        WHEN burn_at IS NOT NULL THEN shown_to = $2 AND burn_at > $6
        WHEN coalesce(burn_hours, $5) > 0 THEN id IN (SELECT id FROM claimed)
        ELSE true END
), log AS (
    INSERT INTO vault_reveal (code_id, line_id, session_hash, ip, agent)
    SELECT id, line_id, $2, $3, $4 FROM shown
), event AS (
    INSERT INTO orders_event (order_id, kind, actor, data)
    SELECT id, 'revealed', 'buyer', jsonb_build_object('codes', (SELECT count(*) FROM shown)) FROM mine
    WHERE EXISTS (SELECT 1 FROM shown)
)
"""  # noqa: S608 - put together from constants

# An array of rows comes without their names.
SEALED = ("id", "line_id", "mask", "blob", "shop_id", "sku_id", "batch_id", "wrapped_key", "key_version")
SHOWN = f"""
ARRAY(SELECT ROW({", ".join(SEALED)}, coalesce(shown.burn_at, claimed.burn_at))
      FROM shown LEFT JOIN claimed USING (id) ORDER BY line_id, id)
"""  # noqa: S608 - put together from constants


CODES_FOR_MAIL = f"""
{CODES_OF_ORDER} WHERE line.order_id = $1 AND code.burned_at IS NULL AND code.burn_at IS NULL AND line.state <> 'void'
  AND code.replaced_by IS NULL
  AND coalesce(sku.burn_hours, $2) = 0
ORDER BY code.line_id, code.id
"""


def shown_codes(rows: list[Any]) -> list[RevealedCode]:
    """The codes in the clear, from what ``SHOWN`` gave."""
    codes = opened([dict(zip(SEALED, row, strict=False)) for row in rows])
    return [replace(code, burn_at=row[len(SEALED)]) for code, row in zip(codes, rows, strict=True)]


def burned(row: Any, now: datetime) -> bool:
    """Erased, or past its window: the timer comes by once a minute."""
    return row["blob"] is None or (row["burn_at"] is not None and row["burn_at"] <= now)


async def codes_for_mail(order_id: int, burn_hours: int = 0) -> list[RevealedCode]:
    """The codes of an order for a mail that the merchant chose to send with codes; written down as such.

    A code sold as copy-and-burn goes into no mail, where it would stay for ever.
    """
    return await db.transaction(_codes_for_mail, order_id, burn_hours)


async def _codes_for_mail(tx: db.Tx, order_id: int, burn_hours: int) -> list[RevealedCode]:
    rows = await tx.fetch(CODES_FOR_MAIL, order_id, burn_hours)
    if rows:
        await tx.execute(
            "INSERT INTO orders_event (order_id, kind, actor, data) VALUES ($1, 'codes_mailed', 'system', $2)",
            order_id,
            {"codes": len(rows)},
        )
    return opened(rows)


def opened(rows: list[Any]) -> list[RevealedCode]:
    return [RevealedCode(row["id"], row["line_id"], row["mask"], open_row(row).reveal()) for row in rows]


def open_row(row: Any) -> Secret:
    """The code of one row of ``vault_code`` that also has the key of its batch."""
    batch = open_batch(row["wrapped_key"], row["key_version"], row["shop_id"], row["sku_id"], row["batch_id"])
    return batch.open(row["id"], row["blob"])
