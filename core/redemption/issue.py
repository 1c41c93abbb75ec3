"""Own codes: a batch is ordered here and made by a job, a piece at a time, each piece in a transaction of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from core import db, jobs
from core.audit import service as audit
from core.refused import Refused
from core.vault import generate, own_code
from core.vault.cipher import open_batch
from core.vault.generate import Made, Shape
from core.vault.import_run import BatchFacts, open_new_batch
from core.web.i18n import _

MOST = 1_000_000
PIECE = 10_000
MOST_FACE_VALUE = 10**12
JOB = "redemption.issue"
SINGLE_USE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What staff ordered. With a face value (minor units) each code is a value card, without one it works once."""

    sku_id: int
    name: str
    count: int
    prefix: str = ""
    group: int = 5
    face_value: int | None = None
    expires_on: date | None = None
    on_paper: bool = False
    note: str = ""


async def order(shop_id: int, currency: str, today: date, draft: Draft, staff_id: int | None) -> int:
    """Write the batch down and set its job going; gives the id of the batch."""
    _check(draft, today)
    batch_id, job_id = await db.transaction(_order, shop_id, currency, draft, staff_id)
    await jobs.ring(job_id)
    return batch_id


def _check(draft: Draft, today: date) -> None:
    if not draft.name:
        raise Refused(_("Please fill this in."), "name")
    if not 1 <= draft.count <= MOST:
        raise Refused(_("Between 1 and %(most)s codes at once.", most=MOST), "count")
    if not own_code.PREFIX.fullmatch(draft.prefix):
        raise Refused(_("Up to 8 capital letters and digits."), "prefix")
    if draft.group not in own_code.GROUPS:
        raise Refused(_("Please choose one of the values offered."), "group")
    if draft.face_value is not None and not 0 < draft.face_value <= MOST_FACE_VALUE:
        raise Refused(_("A value card is worth more than nothing."), "face_value")
    if draft.expires_on is not None and draft.expires_on < today:
        raise Refused(_("This day is over already."), "expires_on")


async def _order(tx: db.Tx, shop_id: int, currency: str, draft: Draft, staff_id: int | None) -> tuple[int, int]:
    if not await tx.fetchval("SELECT true FROM catalog_sku WHERE id = $1 AND shop_id = $2", draft.sku_id, shop_id):
        raise Refused(_("There is no such SKU in this shop."), "sku")
    facts = BatchFacts(name=draft.name, note=draft.note, source="own")
    batch_id, _cipher = await open_new_batch(tx, shop_id, draft.sku_id, facts, staff_id)
    job_id = await jobs.enqueue(tx, JOB, {"batch_id": batch_id})
    await tx.execute(
        "INSERT INTO redemption_batch (batch_id, shop_id, prefix, group_size, face_value, currency, expires_on,"
        " on_paper, wanted, job_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        batch_id, shop_id, draft.prefix, draft.group, draft.face_value,
        None if draft.face_value is None else currency, draft.expires_on, draft.on_paper, draft.count, job_id,
    )  # fmt: skip
    await audit.record(
        tx,
        f"staff:{staff_id}" if staff_id else "system",
        "codes.generated",
        f"batch:{batch_id}",
        {"name": draft.name, "codes": draft.count, "on_paper": draft.on_paper, "face_value": draft.face_value},
        shop_id=shop_id,
    )
    return batch_id, job_id


@dataclass(frozen=True, slots=True)
class Progress:
    made: int
    wanted: int
    over: bool


UNFINISHED = """
SELECT batch.id, batch.shop_id, batch.sku_id, batch.wrapped_key, batch.key_version, batch.state,
       own.prefix, own.group_size, own.face_value, own.expires_on, own.on_paper, own.wanted, own.made
FROM vault_batch batch JOIN redemption_batch own ON own.batch_id = batch.id
WHERE batch.id = $1 FOR UPDATE OF batch
"""


async def make_piece(tx: db.Tx, batch_id: int) -> Progress:
    """Make the next codes of a batch. What was made stays when the job dies; it goes on from there."""
    await tx.execute("SET LOCAL lock_timeout = '1min'")
    row = await tx.fetchrow(UNFINISHED, batch_id)
    if row is None or row["state"] != "importing":
        return Progress(0, 0, over=True)
    made = await generate.make(tx, _batch(row), _shape(row), min(PIECE, row["wanted"] - row["made"]))
    await _keep_vouchers(tx, row, made)
    so_far = row["made"] + len(made)
    await tx.execute("UPDATE redemption_batch SET made = $2 WHERE batch_id = $1", batch_id, so_far)
    over = so_far == row["wanted"]
    await tx.execute(
        "UPDATE vault_batch SET counts = $2, state = $3 WHERE id = $1",
        batch_id,
        {"imported": so_far},
        "ready" if over else "importing",
    )
    return Progress(so_far, row["wanted"], over)


def _batch(row: Any) -> generate.Batch:
    cipher = open_batch(row["wrapped_key"], row["key_version"], row["shop_id"], row["sku_id"], row["id"])
    return generate.Batch(row["id"], row["shop_id"], row["sku_id"], cipher)


def _shape(row: Any) -> Shape:
    return Shape(row["prefix"], row["group_size"], row["expires_on"], "staged" if row["on_paper"] else "free")


async def _keep_vouchers(tx: db.Tx, row: Any, made: list[Made]) -> None:
    worth = row["face_value"] or SINGLE_USE
    await tx.copy(
        "redemption_voucher",
        ["code_id", "shop_id", "batch_id", "lookup", "balance"],
        [(one.code_id, row["shop_id"], row["id"], one.lookup, worth) for one in made],
    )
