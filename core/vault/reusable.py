"""A code for many buyers, such as a licence or a link, at most so many times.

It is a batch of its own with one row for each time it may be given: each place is claimed, shown, counted and
replaced like any code, and the cap is the number of places, which no race can exceed. Every place is sealed under
its own id and has a fingerprint of its own; the first one's is that of the code, so the same code is not taken twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import asyncpg

from core import db
from core.audit import service as audit
from core.db import Tx
from core.refused import Refused
from core.vault import cipher, code_text, import_words, low_stock, stock
from core.vault.import_run import BatchFacts, open_new_batch
from core.web.i18n import _

SOURCE = "reusable"
MOST_PLACES = 100_000
COLUMNS = ["id", "shop_id", "sku_id", "batch_id", "slot", "blob", "fingerprint", "mask", "expires_on"]


@dataclass(frozen=True, slots=True)
class NewCode:
    sku_id: int
    name: str
    text: str
    cap: int
    expires_on: date | None = None


async def add(tx: Tx, shop_id: int, new: NewCode, staff_id: int) -> int:
    """Bring in one code that may be given ``cap`` times; gives its batch.

    :raises Refused: the text cannot be a code, is in stock already, or the numbers are out of range.
    """
    text = code_text.clean(new.text)
    problem = code_text.problem(text)
    if problem is not None:
        raise Refused(import_words.PROBLEMS[problem], "text")
    _check_cap(new.cap)
    facts = BatchFacts(name=new.name, source=SOURCE)
    batch_id, batch = await open_new_batch(tx, shop_id, new.sku_id, facts, staff_id)
    await tx.execute("UPDATE vault_batch SET state = 'ready' WHERE id = $1", batch_id)
    row = {"id": batch_id, "shop_id": shop_id, "sku_id": new.sku_id, "expires_on": new.expires_on}
    await _store(tx, row, batch, text, range(new.cap))
    await _note(tx, row, staff_id, "reusable.added", new.cap)
    return batch_id


async def set_cap(tx: Tx, shop_id: int, batch_id: int, cap: int, staff_id: int) -> None:
    """Let a reusable code be given more or fewer times in all; never fewer than it was given or is reserved.

    :raises Refused: no such code, or more than ``cap`` are taken.
    """
    _check_cap(cap)
    row = await tx.fetchrow(
        "SELECT * FROM vault_batch WHERE id = $1 AND shop_id = $2 AND source = $3 AND state = 'ready' FOR UPDATE",
        batch_id,
        shop_id,
        SOURCE,
    )
    if row is None:
        raise Refused(_("There is no such code."))
    there = await tx.fetchval("SELECT count(*) FROM vault_code WHERE batch_id = $1", batch_id)
    if cap > there:
        await _more(tx, row, cap)
    elif cap < there:
        await _fewer(tx, batch_id, there - cap)
    await _note(tx, row, staff_id, "reusable.cap", cap)


async def _more(tx: Tx, row: Any, cap: int) -> None:
    batch = cipher.open_batch(row["wrapped_key"], row["key_version"], row["shop_id"], row["sku_id"], row["id"])
    one = await tx.fetchrow(
        "SELECT id, blob, expires_on, (SELECT array_agg(fingerprint) FROM vault_code WHERE batch_id = $1) AS marks"
        " FROM vault_code WHERE batch_id = $1 AND blob IS NOT NULL ORDER BY id LIMIT 1",
        row["id"],
    )
    if one is None:
        raise Refused(_("Every copy of this code was erased. Bring it in anew."))
    text = batch.open(one["id"], one["blob"]).reveal()
    known = set(one["marks"])
    places = []
    number = 0
    while len(places) < cap - len(known):
        if _mark(row["shop_id"], text, number) not in known:
            places.append(number)
        number += 1
    await _store(tx, {**row, "expires_on": one["expires_on"]}, batch, text, places)
    await low_stock.come_back(tx, [row["sku_id"]])


# The code is known by its text, in imports and suspicions, as long as one place carries its own fingerprint.
HAND_DOWN = """
UPDATE vault_code SET fingerprint = $2 WHERE id = (SELECT min(id) FROM vault_code WHERE batch_id = $1)
"""


async def _fewer(tx: Tx, batch_id: int, count: int) -> None:
    first = await tx.fetchrow(
        "SELECT id, fingerprint FROM vault_code WHERE batch_id = $1 ORDER BY id LIMIT 1", batch_id
    )
    gone = await tx.fetch(
        "DELETE FROM vault_code WHERE id IN (SELECT id FROM vault_code WHERE batch_id = $1"
        " AND state IN ('free', 'quarantined') ORDER BY id DESC LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id",
        batch_id,
        count,
    )
    if len(gone) < count:
        raise Refused(_("It was given or is reserved more often than that."), "cap")
    if first is not None and first["id"] in [row["id"] for row in gone]:
        await tx.execute(HAND_DOWN, batch_id, first["fingerprint"])


async def _store(tx: Tx, row: Any, batch: cipher.BatchCipher, text: str, places: Any) -> None:
    ids = [
        one["id"]
        for one in await tx.fetch(
            "SELECT nextval('vault_code_id_seq') AS id FROM generate_series(1, $1::int)", len(places)
        )
    ]
    marks = _marks(row["shop_id"], text, places)
    ends, mask = row["expires_on"], cipher.mask(text)
    blobs = batch.seal_many(ids, [text] * len(ids))
    records = [
        (code_id, row["shop_id"], row["sku_id"], row["id"], stock.slot(mark, ends), blob, mark, mask, ends)
        for code_id, mark, blob in zip(ids, marks, blobs, strict=True)
    ]
    try:
        await tx.copy("vault_code", COLUMNS, records)
    except asyncpg.UniqueViolationError:
        raise Refused(import_words.PROBLEMS[code_text.Problem.DUPLICATE_IN_STOCK], "text") from None


def _marks(shop_id: int, text: str, places: Any) -> list[bytes]:
    """The first place carries the code's own fingerprint. No code holds a zero byte: the others clash with none."""
    return cipher.fingerprints(shop_id, [f"{text}\0{place}" if place else text for place in places])


def _mark(shop_id: int, text: str, place: int) -> bytes:
    return _marks(shop_id, text, [place])[0]


async def _note(tx: Tx, row: Any, staff_id: int, act: str, cap: int) -> None:
    await tx.execute("UPDATE vault_batch SET counts = $2 WHERE id = $1", row["id"], {"imported": cap})
    await audit.record(tx, f"staff:{staff_id}", act, f"batch:{row['id']}", {"cap": cap}, shop_id=row["shop_id"])


def _check_cap(cap: int) -> None:
    if not 1 <= cap <= MOST_PLACES:
        raise Refused(_("Choose a number from 1 to %(most)s.", most=MOST_PLACES), "cap")


LIST = """
SELECT batch.id, batch.name, batch.created_at, sku.code AS sku_code, sku.max_per_buyer, places.*
FROM vault_batch batch JOIN catalog_sku sku ON sku.id = batch.sku_id
CROSS JOIN LATERAL (
    SELECT count(*) AS cap, count(*) FILTER (WHERE state = 'free') AS free,
           count(*) FILTER (WHERE state = 'reserved') AS reserved, count(*) FILTER (WHERE state = 'delivered') AS given,
           min(mask) AS mask, min(expires_on) AS expires_on FROM vault_code WHERE batch_id = batch.id) AS places
WHERE batch.shop_id = $1 AND batch.source = $2 AND batch.state = 'ready' ORDER BY batch.id DESC LIMIT 100
"""


async def listed(shop_id: int) -> list[Any]:
    return await db.fetch(LIST, shop_id, SOURCE)
