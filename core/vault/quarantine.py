"""Suspect codes are set aside: by batch or by their text, with a reason; later they go back on sale or are written off.

A reserved code stays with its order, for somebody may be paying at this moment; it is marked, no sale hands it over
(``core.fulfilment`` claims another), and when it comes back it lands here. Delivered ones are only named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from core import clock, db
from core.audit import service as audit
from core.db import Tx
from core.ledger import service as ledger
from core.ledger.chart import COST, STOCK
from core.money import Money
from core.refused import Refused
from core.vault import cipher, code_text, low_stock
from core.web.i18n import _

MOST_PASTED = 1000
DELIVERED_NAMED = 100
NOTED = 100
# A million codes take longer than a page may.
WHOLE_BATCHES = 600
WHOLE_SHOP = 1800

HOLD = "INSERT INTO vault_hold (shop_id, batch_id, reason, held_by, held_at) VALUES ($1, $2, $3, $4, $5) RETURNING id"

# Free ones first: what a checkout takes meanwhile is reserved when the second statement looks.
SET_ASIDE = """
UPDATE vault_code SET state = 'quarantined', hold_id = $1
WHERE {which} AND hold_id IS NULL AND state IN ('free', 'quarantined')
"""
MARK = "UPDATE vault_code SET hold_id = $1 WHERE {which} AND hold_id IS NULL AND state = 'reserved'"
DELIVERED = """
SELECT o.ref, count(*) AS codes FROM vault_code code JOIN orders_line line ON line.id = code.line_id
JOIN orders_order o ON o.id = line.order_id
WHERE {which} AND code.state = 'delivered' AND code.replaced_by IS NULL GROUP BY o.ref ORDER BY o.ref
"""
OF_BATCH = "batch_id = $2"
OF_IDS = "{code}id = ANY($2::bigint[])"


@dataclass(frozen=True, slots=True)
class Held:
    """What became of the codes that were named; ``orders`` were delivered such codes and may need others."""

    aside: int
    reserved: int
    orders: list[str] = field(default_factory=list)
    unknown: int = 0


async def hold_batch(tx: Tx, shop_id: int, batch_id: int, reason: str, staff_id: int, lot: str = "") -> Held:
    """Set every unsold code of a batch aside, or those of one ``lot``: codes with that note."""
    if not await tx.fetchval(
        "SELECT true FROM vault_batch WHERE id = $1 AND shop_id = $2 AND state = 'ready' FOR SHARE", batch_id, shop_id
    ):
        raise Refused(_("There is no such batch."), "batch")
    await tx.may_take(WHOLE_BATCHES)
    if lot:
        ids = await tx.fetchval("SELECT array_agg(id) FROM vault_code WHERE batch_id = $1 AND note = $2", batch_id, lot)
        if not ids:
            raise Refused(_("No code of this batch has this note."), "lot")
        held = await _hold(tx, shop_id, batch_id, OF_IDS, ids, reason, staff_id)
    else:
        held = await _hold(tx, shop_id, batch_id, OF_BATCH, batch_id, reason, staff_id)
    await _note(tx, shop_id, staff_id, "codes.held", f"batch:{batch_id}", held, reason)
    return held


async def hold_codes(tx: Tx, shop_id: int, pasted: str, reason: str, staff_id: int) -> Held:
    """Set the codes of this text aside, one in each line. Of a reusable code all places are meant."""
    texts = list(dict.fromkeys(filter(None, map(code_text.clean, re.split(r"[\r\n]+", pasted)))))
    if not texts:
        raise Refused(_("Paste at least one code."), "codes")
    if len(texts) > MOST_PASTED:
        raise Refused(
            _("At most %(most)d codes at a time; for more, set the whole batch aside.", most=MOST_PASTED), "codes"
        )
    found = await tx.fetch(
        "SELECT code.id, code.batch_id, batch.source FROM vault_code code"
        " JOIN vault_batch batch ON batch.id = code.batch_id"
        " WHERE code.shop_id = $1 AND code.fingerprint = ANY($2)",
        shop_id,
        cipher.fingerprints(shop_id, texts),
    )
    shared = [row["batch_id"] for row in found if row["source"] == "reusable"]
    ids = [row["id"] for row in found]
    ids += [row["id"] for row in await tx.fetch("SELECT id FROM vault_code WHERE batch_id = ANY($1::bigint[])", shared)]
    held = await _hold(tx, shop_id, None, OF_IDS, ids, reason, staff_id)
    held = Held(held.aside, held.reserved, held.orders, len(texts) - len(found))
    await _note(tx, shop_id, staff_id, "codes.held", "codes", held, reason)
    return held


async def _hold(tx: Tx, shop_id: int, batch_id: int | None, which: str, what: Any, reason: str, staff_id: int) -> Held:
    if not reason.strip():
        raise Refused(_("Say why these codes are set aside."), "reason")
    hold_id = await tx.fetchval(HOLD, shop_id, batch_id, reason.strip()[:300], staff_id, clock.now())
    aside = await tx.execute(SET_ASIDE.format(which=which.format(code="")), hold_id, what)
    reserved = await tx.execute(MARK.format(which=which.format(code="")), hold_id, what)
    orders = await tx.fetch(
        DELIVERED.format(which=which.format(code="code.").replace("$2", "$1")) + " LIMIT $2", what, DELIVERED_NAMED
    )
    return Held(_count(aside), _count(reserved), [row["ref"] for row in orders])


async def mark_held_by_lines(tx: Tx, shop_id: int, line_ids: list[int], reason: str, staff_id: int) -> None:
    """Codes that these lines hold and do not deliver shall not go back on sale when they come back."""
    reserved = "line_id = ANY($2::bigint[])"
    if await tx.fetchval(f"SELECT EXISTS (SELECT 1 FROM vault_code WHERE {reserved.replace('$2', '$1')})", line_ids):  # noqa: S608 - from constants
        hold_id = await tx.fetchval(HOLD, shop_id, None, reason, staff_id, clock.now())
        await tx.execute(MARK.format(which=reserved), hold_id, line_ids)


HOLD_ALL = """
WITH batch AS (
    SELECT DISTINCT batch_id FROM vault_code WHERE shop_id = $1 AND state = 'free'
), hold AS (
    INSERT INTO vault_hold (shop_id, batch_id, reason, held_at) SELECT $1, batch_id, $2, $3 FROM batch
    RETURNING id, batch_id
)
UPDATE vault_code SET state = 'quarantined', hold_id = hold.id FROM hold
WHERE vault_code.batch_id = hold.batch_id AND vault_code.state = 'free'
"""


async def hold_everything(tx: Tx, shop_id: int, reason: str) -> int:
    """Set every free code of a shop aside, a hold for each batch, so that each can go back by itself."""
    await tx.may_take(WHOLE_SHOP)
    count = _count(await tx.execute(HOLD_ALL, shop_id, reason, clock.now()))
    if count:
        await audit.record(tx, "system", "codes.held", "stock", {"aside": count, "reason": reason}, shop_id=shop_id)
    return count


# -- deciding ---------------------------------------------------------------------------

# Codes that only have too few days left have no hold: they cannot be sold, but they can be written off.
BACK = """
UPDATE vault_code SET state = 'free', hold_id = NULL
WHERE shop_id = $1 AND id = ANY($2::bigint[]) AND state = 'quarantined' AND hold_id IS NOT NULL
"""
SKUS = "SELECT array_agg(DISTINCT sku_id) FROM vault_code WHERE shop_id = $1 AND id = ANY($2::bigint[])"
OFF = """
WITH gone AS (
    UPDATE vault_code SET state = 'void' WHERE shop_id = $1 AND id = ANY($2::bigint[]) AND state = 'quarantined'
    RETURNING id, batch_id
)
SELECT count(*) AS codes, min(gone.id) AS first,
       coalesce(sum(batch.unit_cost) FILTER (WHERE NOT batch.demo), 0)::bigint AS cost
FROM gone JOIN vault_batch batch ON batch.id = gone.batch_id
"""
UNMARK = "UPDATE vault_code SET hold_id = NULL WHERE hold_id = $1 AND state = 'reserved'"
IDS_OF_HOLD = """
SELECT array_agg(code.id) FROM vault_code code JOIN vault_hold hold ON hold.id = code.hold_id
WHERE hold.id = $1 AND hold.shop_id = $2 AND code.state = 'quarantined'
"""


async def put_back(tx: Tx, shop_id: int, code_ids: list[int], staff_id: int, what: str = "codes") -> int:
    """These codes are good after all: on sale again."""
    await tx.may_take(WHOLE_BATCHES)
    count = _count(await tx.execute(BACK, shop_id, code_ids))
    if count:
        await low_stock.come_back(tx, await tx.fetchval(SKUS, shop_id, code_ids))
        detail = {"codes": count, "ids": code_ids[:NOTED]}
        await audit.record(tx, f"staff:{staff_id}", "codes.put_back", what, detail, shop_id=shop_id)
    return count


async def write_off(tx: Tx, shop_id: int, code_ids: list[int], staff_id: int, what: str = "codes") -> int:
    """These codes are bad: they stay in the books as void and are never sold. What they cost is booked."""
    await tx.may_take(WHOLE_BATCHES)
    gone = await tx.fetchrow(OFF, shop_id, code_ids)
    assert gone is not None  # noqa: S101 - aggregates always give a row
    await book_off(tx, shop_id, gone)
    if gone["codes"]:
        detail = {"codes": gone["codes"], "cost": gone["cost"], "ids": code_ids[:NOTED]}
        await audit.record(tx, f"staff:{staff_id}", "codes.written_off", what, detail, shop_id=shop_id)
    return int(gone["codes"])


async def book_off(tx: Tx, shop_id: int, gone: Any) -> None:
    """What codes cost that are void now leaves the stock. ``gone``: that ``cost``, and the number of the ``first``."""
    if gone["cost"]:
        currency = await tx.fetchval("SELECT currency FROM shops_shop WHERE id = $1", shop_id)
        money = Money(gone["cost"], currency)
        await ledger.move(tx, shop_id, "written_off", f"written_off:{gone['first']}", money, COST, STOCK)


async def put_all_back(tx: Tx, shop_id: int, hold_id: int, staff_id: int) -> int:
    """The suspicion was wrong: everything of this hold is on sale again, and reserved codes are no longer marked."""
    ids = await tx.fetchval(IDS_OF_HOLD, hold_id, shop_id) or []
    count = await put_back(tx, shop_id, ids, staff_id, f"hold:{hold_id}")
    if await tx.fetchval("SELECT true FROM vault_hold WHERE id = $1 AND shop_id = $2", hold_id, shop_id):
        await tx.execute(UNMARK, hold_id)
    return count


async def write_all_off(tx: Tx, shop_id: int, hold_id: int, staff_id: int) -> int:
    """Everything of this hold that is here is bad."""
    ids = await tx.fetchval(IDS_OF_HOLD, hold_id, shop_id) or []
    return await write_off(tx, shop_id, ids, staff_id, f"hold:{hold_id}")


async def _note(tx: Tx, shop_id: int, staff_id: int, act: str, what: str, held: Held, reason: str) -> None:
    detail = {"aside": held.aside, "reserved": held.reserved, "reason": reason.strip()[:300]}
    await audit.record(tx, f"staff:{staff_id}", act, what, detail, shop_id=shop_id)


def _count(done: str) -> int:
    return int(done.split()[-1])


# -- looking ----------------------------------------------------------------------------

HOLDS = """
SELECT hold.*, batch.name AS batch_name, sku.code AS sku_code, staff.name AS staff_name, staff.email AS staff_email,
       codes.aside, codes.reserved, codes.void
FROM vault_hold hold
LEFT JOIN vault_batch batch ON batch.id = hold.batch_id LEFT JOIN catalog_sku sku ON sku.id = batch.sku_id
LEFT JOIN people_staff staff ON staff.id = hold.held_by
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state = 'quarantined') AS aside,
           count(*) FILTER (WHERE state = 'reserved') AS reserved,
           count(*) FILTER (WHERE state = 'void') AS void FROM vault_code WHERE hold_id = hold.id) AS codes
WHERE hold.shop_id = $1 ORDER BY codes.aside + codes.reserved = 0, hold.id DESC LIMIT 50
"""


async def holds(shop_id: int) -> list[Any]:
    """The newest holds, those with codes to decide about first."""
    return await db.fetch(HOLDS, shop_id)
