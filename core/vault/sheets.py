"""Codes of a batch opened for paper: the one place where staff see many at once, so it is written down as a reveal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import segno

from core import db
from core.audit import service as audit
from core.refused import Refused
from core.vault.cipher import open_batch
from core.web.i18n import _

MOST = 200


@dataclass(frozen=True, slots=True)
class PrintedCode:
    """``number`` counts within the batch; ``picture`` is the code as QR, an SVG drawing."""

    number: int
    text: str = field(repr=False)
    picture: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Printing:
    """Who prints what of which batch, and what for. ``first`` counts from one."""

    shop_id: int
    batch_id: int
    first: int
    count: int
    reason: str
    staff_id: int | None
    ip: str | None = None
    agent: str = ""


# Numbers belong to codes for good, also when one of them is void by now.
CODES = """
SELECT code.*, batch.wrapped_key, batch.key_version
FROM (SELECT id, shop_id, sku_id, batch_id, blob, state, row_number() OVER (ORDER BY id) AS number
      FROM vault_code WHERE batch_id = $1 AND shop_id = $2 ORDER BY id OFFSET $3 LIMIT $4) AS code
JOIN vault_batch batch ON batch.id = code.batch_id
WHERE code.state = 'staged' ORDER BY code.id
"""


async def print_codes(printing: Printing) -> list[PrintedCode]:
    """The codes for a sheet, opened and drawn; only of a batch that is not sold in the shop.

    :raises Refused: there is nothing to print there; nothing was opened then.
    """
    if not 1 <= printing.count <= MOST:
        raise Refused(_("Between 1 and %(most)s codes on one sheet.", most=MOST), "count")
    rows = await db.transaction(_rows, printing)
    return await asyncio.to_thread(_drawn, rows)


async def _rows(tx: db.Tx, printing: Printing) -> list[Any]:
    rows = await tx.fetch(CODES, printing.batch_id, printing.shop_id, printing.first - 1, printing.count)
    if not rows:
        raise Refused(_("There are no codes for paper with these numbers."), "first")
    await tx.execute(
        "INSERT INTO vault_reveal (code_id, staff_id, ip, agent) SELECT unnest($1::bigint[]), $2, $3, $4",
        [row["id"] for row in rows],
        printing.staff_id,
        printing.ip,
        printing.agent[:300],
    )
    await audit.record(
        tx,
        f"staff:{printing.staff_id}",
        "codes.printed",
        f"batch:{printing.batch_id}",
        {"reason": printing.reason, "codes": len(rows), "from": rows[0]["number"], "to": rows[-1]["number"]},
        shop_id=printing.shop_id,
        ip=printing.ip,
    )
    return rows


def _drawn(rows: list[Any]) -> list[PrintedCode]:
    return [_one(row) for row in rows]


def _one(row: Any) -> PrintedCode:
    cipher = open_batch(row["wrapped_key"], row["key_version"], row["shop_id"], row["sku_id"], row["batch_id"])
    text = cipher.open(row["id"], row["blob"]).reveal()
    return PrintedCode(row["number"], text, picture(text))


def picture(text: str) -> str:
    """Letters, digits and hyphens alone make the smallest QR; no class, style or size stands in the drawing."""
    drawn = segno.make_qr(text, error="m", boost_error=False)
    return drawn.svg_inline(border=2, svgclass=None, lineclass=None, omitsize=True)
