"""Show delivered codes to whom they belong. Every showing is written down in the statement that reads them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from asyncpg import Record

from core import clock, db
from core.together import Together
from core.vault.cipher import Secret, open_batch
from core.web.limits import Try


@dataclass(frozen=True, slots=True)
class RevealedCode:
    code_id: int
    line_id: int
    mask: str
    text: str = field(repr=False)
    burn_at: datetime | None = None
    """When it is erased for good."""


# So many hours after its first showing a code is erased, 0 for never: what its SKU says, else the shop it is sold in.
BURN_HOURS = "coalesce(sku.burn_hours, (shop.settings ->> 'burn_hours')::int, 0)"

# OFFSET 0 makes it ask for the codes of each line: freely joined, the planner may start from every code ever sold.
CODES_OF_ORDER = f"""
SELECT code.id, code.line_id, line.order_id, code.blob, code.mask, code.shop_id, code.sku_id, code.batch_id,
       batch.wrapped_key, batch.key_version, code.burn_at, code.shown_to, {BURN_HOURS} AS burn_hours
FROM orders_line line
CROSS JOIN LATERAL (SELECT * FROM vault_code WHERE line_id = line.id AND state = 'delivered' OFFSET 0) AS code
JOIN vault_batch batch ON batch.id = code.batch_id JOIN catalog_sku sku ON sku.id = code.sku_id
JOIN shops_shop shop ON shop.id = sku.shop_id
"""  # noqa: S608 - put together from constants

# Under copy-and-burn the first session that asks gets the code, and it alone gets it again until the window is over.
# Asked by two at once, the row decides; asked twice at once by one, both answers carry it.
# These are the parts of a WITH, for all who ask at the moment ($1, see ``Showing``), each for another order and from
# another session.
SHOWING = f"""
asked AS MATERIALIZED (
    SELECT *, decode(session, 'hex') AS session_hash FROM jsonb_to_recordset($1) AS asked (
        place int, ref text, session text, ip inet, agent text, now timestamptz,
        idle_since timestamptz, bucket text, window_start timestamptz, most int)
), mine AS MATERIALIZED (
    SELECT asked.*, orders_order.id AS order_id FROM asked JOIN orders_order ON orders_order.ref = asked.ref
    JOIN orders_access ON orders_access.order_id = orders_order.id AND orders_access.session_hash = asked.session_hash
    JOIN people_session ON people_session.id_hash = asked.session_hash AND people_session.expires_at > asked.now
        AND (people_session.kind = 'buyer' OR people_session.seen_at > asked.idle_since)
), tried AS (
    INSERT INTO web_limit AS l (bucket, window_start, hits) SELECT bucket, window_start, 1 FROM mine
    ON CONFLICT (bucket, window_start) DO UPDATE SET hits = l.hits + 1 RETURNING bucket, hits
), let_in AS MATERIALIZED (
    SELECT mine.*, tried.hits > mine.most AS too_many FROM mine JOIN tried USING (bucket)
), code AS MATERIALIZED (
    {CODES_OF_ORDER} JOIN let_in ON let_in.order_id = line.order_id AND NOT let_in.too_many
    WHERE code.burned_at IS NULL AND line.state <> 'void' AND code.replaced_by IS NULL
), claimed AS (
    UPDATE vault_code SET shown_to = let_in.session_hash, burn_at = coalesce(
        vault_code.burn_at, let_in.now + make_interval(hours => code.burn_hours))
    FROM code JOIN let_in USING (order_id)
    WHERE vault_code.id = code.id AND code.burn_at IS NULL AND code.burn_hours > 0
      AND vault_code.burned_at IS NULL
      AND (vault_code.shown_to IS NULL OR vault_code.shown_to = let_in.session_hash)
    RETURNING vault_code.id, vault_code.burn_at
), shown AS MATERIALIZED (
    SELECT code.*, let_in.session_hash, let_in.ip, let_in.agent FROM code JOIN let_in USING (order_id) WHERE CASE
        WHEN code.burn_at IS NOT NULL THEN code.shown_to = let_in.session_hash AND code.burn_at > let_in.now
        WHEN code.burn_hours > 0 THEN code.id IN (SELECT id FROM claimed)
        ELSE true END
), log AS (
    INSERT INTO vault_reveal (code_id, line_id, session_hash, ip, agent)
    SELECT id, line_id, session_hash, ip, agent FROM shown
), event AS (
    INSERT INTO orders_event (order_id, kind, actor, data)
    SELECT order_id, 'revealed', 'buyer', jsonb_build_object('codes', count(*)) FROM shown GROUP BY order_id
)
"""  # noqa: S608 - put together from constants

# An array of rows comes without their names.
SEALED = ("id", "line_id", "mask", "blob", "shop_id", "sku_id", "batch_id", "wrapped_key", "key_version")
SHOWN = f"""
ARRAY(SELECT ROW({", ".join(SEALED)}, coalesce(shown.burn_at, claimed.burn_at))
      FROM shown LEFT JOIN claimed USING (id) WHERE shown.order_id = view.id ORDER BY line_id, id)
"""  # noqa: S608 - put together from constants


CODES_FOR_MAIL = f"""
{CODES_OF_ORDER} WHERE line.order_id = $1 AND code.burned_at IS NULL AND code.burn_at IS NULL AND line.state <> 'void'
  AND code.replaced_by IS NULL
  AND {BURN_HOURS} = 0
ORDER BY code.line_id, code.id
"""


@dataclass(frozen=True, slots=True)
class Showing:
    """Who asks to see the codes of an order, and the try that is counted for it."""

    ref: str
    session_hash: bytes
    ip: str | None
    agent: str
    staff_idle: timedelta
    """Staff not seen for so long have to sign in again."""
    tried: Try

    async def ask(self, statement: Together) -> Record | None:
        """What ``statement``, made of ``SHOWING``, gives back; None where this session may not see the order."""
        now = clock.now()
        row = {
            "ref": self.ref,
            "session": self.session_hash.hex(),
            "ip": self.ip,
            "agent": self.agent[:300],
            "now": now.isoformat(),
            "idle_since": (now - self.staff_idle).isoformat(),
            "bucket": self.tried.bucket,
            "window_start": self.tried.window_start.isoformat(),
            "most": self.tried.most,
        }
        return await statement.run(row, self.ref, row["session"])


def shown_codes(rows: list[Any]) -> list[RevealedCode]:
    """The codes in the clear, from what ``SHOWN`` gave."""
    codes = opened([dict(zip(SEALED, row, strict=False)) for row in rows])
    return [replace(code, burn_at=row[len(SEALED)]) for code, row in zip(codes, rows, strict=True)]


def burned(row: Any, now: datetime) -> bool:
    """Erased, or past its window: the timer comes by once a minute."""
    return row["blob"] is None or (row["burn_at"] is not None and row["burn_at"] <= now)


async def codes_for_mail(order_id: int) -> list[RevealedCode]:
    """The codes of an order for a mail that the merchant chose to send with codes; written down as such.

    A code sold as copy-and-burn goes into no mail, where it would stay for ever.
    """
    return await db.transaction(_codes_for_mail, order_id)


async def _codes_for_mail(tx: db.Tx, order_id: int) -> list[RevealedCode]:
    rows = await tx.fetch(CODES_FOR_MAIL, order_id)
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
