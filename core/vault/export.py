"""Codes in bulk leave the vault only when two people agree: one asks, another approves, the first takes the file.

The file is a ZIP sealed with AES-256 under a password made for it. It is put together while it is sent: nothing lies
on a disk, and every code is written down in the statement that reads it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from core import clock, db
from core.audit import service as audit
from core.audit.person import Person
from core.db import Tx
from core.ids import new_ref
from core.refused import Refused
from core.vault import keys
from core.vault.reveal import burned, open_row
from core.web.i18n import Text, _

MOST_CODES = 500_000
MOST_FILES = 3
PIECE = 500
PASSWORD_SIGNS = 24
SHORTEST_REASON = 5
WAITS = timedelta(days=7)
GOOD_FOR = timedelta(hours=24)
STATES: dict[str, Text] = {"free": _("In stock"), "delivered": _("Delivered")}
COLUMNS = ("code", "state", "mask", "batch", "expires_on", "note", "order", "delivered_at")
BURNED = "erased for good"
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Wanted:
    sku_id: int
    batch_id: int | None
    code_state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Export:
    id: int
    shop_id: int
    sku_id: int
    batch_id: int | None
    code_state: str
    codes: int
    up_to: int
    """The newest code that was there when it was asked for: nothing newer goes into the file."""


CHOSEN = """
FROM vault_code code WHERE code.shop_id = $1 AND code.sku_id = $2 AND code.state = $3
  AND ($4::bigint IS NULL OR code.batch_id = $4)
"""

CHOSEN_COUNT = f"SELECT count(*) AS codes, max(code.id) AS up_to {CHOSEN}"
CHOSEN_IDS = f"""
SELECT array_agg(id ORDER BY id) FROM (SELECT code.id {CHOSEN} AND code.id <= $5 ORDER BY code.id LIMIT $6) AS chosen
"""  # noqa: S608 - put together from constants

APPROVE = """
UPDATE vault_export SET state = 'approved', decided_by = $3, decided_at = $4, expires_at = $5
WHERE id = $1 AND shop_id = $2 AND state = 'asked' AND expires_at > $4 AND asked_by <> $3 RETURNING asked_by
"""
REFUSE = """
UPDATE vault_export SET state = 'refused', decided_by = $3, decided_at = $4
WHERE id = $1 AND shop_id = $2 AND state = 'asked' RETURNING asked_by
"""
TAKE = f"""
UPDATE vault_export SET files = files + 1
WHERE id = $1 AND shop_id = $2 AND asked_by = $3 AND state = 'approved' AND expires_at > $4 AND files < {MOST_FILES}
RETURNING id, shop_id, sku_id, batch_id, code_state, codes, up_to, files
"""  # noqa: S608 - put together from constants

READ = """
WITH code AS MATERIALIZED (
    SELECT code.id, code.line_id, code.state, code.blob, code.burn_at, code.mask, code.note, code.expires_on,
           code.delivered_at, code.shop_id, code.sku_id, code.batch_id, batch.wrapped_key, batch.key_version,
           batch.name AS batch, o.ref
    FROM vault_code code JOIN vault_batch batch ON batch.id = code.batch_id
    LEFT JOIN orders_line line ON line.id = code.line_id LEFT JOIN orders_order o ON o.id = line.order_id
    WHERE code.id = ANY($1) AND code.state = $2
), log AS (
    INSERT INTO vault_reveal (code_id, line_id, staff_id, ip, export_id)
    SELECT id, line_id, $3, $4, $5 FROM code WHERE blob IS NOT NULL AND (burn_at IS NULL OR burn_at > $6)
)
SELECT * FROM code ORDER BY id
"""

LIST = """
SELECT export.*, sku.code AS sku_code, batch.name AS batch_name, asker.email AS asked_by_email,
       asker.name AS asked_by_name, decider.email AS decided_by_email, decider.name AS decided_by_name
FROM vault_export export JOIN catalog_sku sku ON sku.id = export.sku_id
LEFT JOIN vault_batch batch ON batch.id = export.batch_id
JOIN people_staff asker ON asker.id = export.asked_by LEFT JOIN people_staff decider ON decider.id = export.decided_by
WHERE export.shop_id = $1 ORDER BY export.id DESC LIMIT 50
"""


async def listed(shop_id: int) -> list[Any]:
    """The newest, each with ``over``: too late to decide or to take."""
    now = clock.now()
    return [
        {**row, "over": row["state"] != "refused" and (row["expires_at"] <= now or row["files"] >= MOST_FILES)}
        for row in await db.fetch(LIST, shop_id)
    ]


# -- asking and deciding ----------------------------------------------------------------


async def ask(who: Person, wanted: Wanted) -> int:
    """Ask for codes; a colleague decides, who sees how many they are. Gives the number of the request.

    :raises Refused: no reason, no codes, or more than one file may hold.
    """
    reason = " ".join(wanted.reason.split())[:300]
    if len(reason) < SHORTEST_REASON:
        raise Refused(_("Write down why you need them."), "reason")
    if wanted.code_state not in STATES:
        raise Refused(_("Choose which codes."), "code_state")
    return await db.transaction(_ask, who, wanted, reason)


async def _ask(tx: Tx, who: Person, wanted: Wanted, reason: str) -> int:
    row = await tx.fetchrow(
        CHOSEN_COUNT,
        who.shop_id,
        wanted.sku_id,
        wanted.code_state,
        wanted.batch_id,
    )
    codes = row["codes"] if row else 0
    if not codes:
        raise Refused(_("There are no such codes."), "sku")
    if codes > MOST_CODES:
        raise Refused(_("These are %(codes)d codes; one file holds %(most)d.", codes=codes, most=MOST_CODES), "sku")
    now = clock.now()
    export_id = await tx.fetchval(
        "INSERT INTO vault_export (shop_id, sku_id, batch_id, code_state, reason, codes, up_to, asked_by, asked_at,"
        " expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id",
        who.shop_id,
        wanted.sku_id,
        wanted.batch_id,
        wanted.code_state,
        reason,
        codes,
        row["up_to"] if row else 0,
        who.staff_id,
        now,
        now + WAITS,
    )
    facts = {"sku": wanted.sku_id, "batch": wanted.batch_id, "codes": codes, "which": wanted.code_state}
    await _record(tx, who, "asked", export_id, {**facts, "reason": reason})
    return int(export_id)


async def approve(who: Person, export_id: int) -> None:
    """:raises Refused: it is one's own, was decided before, or is too old."""
    await db.transaction(_approve, who, export_id)


async def _approve(tx: Tx, who: Person, export_id: int) -> None:
    now = clock.now()
    asked_by = await tx.fetchval(APPROVE, export_id, who.shop_id, who.staff_id, now, now + GOOD_FOR)
    if asked_by is None:
        raise Refused(_("Only somebody else can approve it, and only while it waits."))
    await _record(tx, who, "approved", export_id, {"asked_by": asked_by})


async def refuse(who: Person, export_id: int) -> None:
    """Say no, or take one's own request back."""
    await db.transaction(_refuse, who, export_id)


async def _refuse(tx: Tx, who: Person, export_id: int) -> None:
    asked_by = await tx.fetchval(REFUSE, export_id, who.shop_id, who.staff_id, clock.now())
    if asked_by is None:
        raise Refused(_("This was decided before."))
    await _record(tx, who, "refused", export_id, {"asked_by": asked_by})


async def _record(tx: Tx, who: Person, what: str, export_id: int, facts: dict[str, Any]) -> None:
    await audit.record(
        tx, who.actor, f"codes.export_{what}", f"export:{export_id}", facts, shop_id=who.shop_id, ip=who.ip
    )


# -- the file ---------------------------------------------------------------------------


def new_password() -> str:
    """120 random bits; the key of a ZIP is made from nothing else."""
    return new_ref("", PASSWORD_SIGNS)


async def take(who: Person, export_id: int) -> Export:
    """Begin one of the few files of an approved export; only for the one who asked.

    :raises Refused: not approved, not one's own, too late, or taken often enough.
    """
    keys.current().check_opens_codes()
    return await db.transaction(_take, who, export_id)


async def _take(tx: Tx, who: Person, export_id: int) -> Export:
    row = await tx.fetchrow(TAKE, export_id, who.shop_id, who.staff_id, clock.now())
    if row is None:
        raise Refused(_("This file cannot be taken: it is not yours, not approved, too old, or was taken before."))
    facts = dict(row)
    await _record(tx, who, "taken", export_id, {"codes": facts["codes"], "file": facts.pop("files")})
    return Export(**facts)


async def zipped(who: Person, export: Export, password: str) -> AsyncIterator[bytes]:
    """The sealed file, piece by piece."""
    from stream_zip import ZIP_32, async_stream_zip  # brings a second cryptography library with it

    async def files() -> AsyncIterator[Any]:
        yield f"codes-{export.id}.csv", _when(clock.now()), 0o600, ZIP_32, _csv(who, export)

    async for piece in async_stream_zip(files(), password=password):
        yield piece


def _when(now: datetime) -> datetime:
    return now.replace(tzinfo=None, microsecond=0)


async def _csv(who: Person, export: Export) -> AsyncIterator[bytes]:
    yield b"\xef\xbb\xbf" + _written([COLUMNS])
    ids = await db.fetchval(
        CHOSEN_IDS,
        export.shop_id,
        export.sku_id,
        export.code_state,
        export.batch_id,
        export.up_to,
        export.codes,
    )
    for at in range(0, len(ids or ()), PIECE):
        now = clock.now()
        rows = await db.fetch(READ, ids[at : at + PIECE], export.code_state, who.staff_id, who.ip, export.id, now)
        yield _written([_row(row, now) for row in rows])


def _row(row: Any, now: datetime) -> tuple[Any, ...]:
    """A burned code keeps its line, without the code. Codes stand as they are, other text never as a formula."""
    gone = burned(row, now)
    others = (row["batch"], row["expires_on"] or "", row["note"], row["ref"] or "", row["delivered_at"] or "")
    return (
        "" if gone else open_row(row).reveal(),
        BURNED if gone else row["state"],
        row["mask"],
        *(_harmless(str(text)) for text in others),
    )


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def _written(rows: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
