"""Codes that were bought or typed for an order line: sealed, bound to the line, and never taken twice.

They lie in one batch for each SKU, source and day, so that staff find them as they find those of an import.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from core import clock
from core.db import Tx
from core.vault import cipher, code_text
from core.vault.code_text import Problem
from core.vault.import_run import BatchFacts, open_new_batch
from core.vault.stock import slot

JOINER = "----"

TODAY = """
SELECT id, wrapped_key, key_version, seals FROM vault_batch
WHERE sku_id = $1 AND source = $2 AND name = $3 AND state = 'ready' ORDER BY id DESC LIMIT 1 FOR UPDATE
"""

PUT = """
INSERT INTO vault_code (id, shop_id, sku_id, batch_id, slot, state, line_id, blob, fingerprint, mask, expires_on,
                        hold_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (fingerprint) DO NOTHING RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Text:
    """One code as it is to be handed over."""

    code: str = field(repr=False)
    expires_on: date | None = None


@dataclass(slots=True)
class Taken:
    """What became of the codes: masks of those bound to the line, set aside, seen before, and unfit to be stored."""

    bound: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.aside or self.seen or self.unfit)


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where the codes belong. ``source`` is the supplier's key, or ``hand``; ``reason`` is why some are set aside.

    ``unseen`` says that no person has looked at them: words in place of a code are none then.
    """

    shop_id: int
    sku_id: int
    line_id: int | None
    source: str
    reason: str
    unseen: bool = False


def joined(code: str, pin: str) -> str:
    """Number and password of a card as one code, as an import joins them."""
    parts = [code_text.clean(part) for part in (code, pin)]
    return JOINER.join(part for part in parts if part)


async def put_in(tx: Tx, shelf: Shelf, texts: Sequence[Text], wanted: int, today: date) -> Taken:
    """Seal ``texts``: the first ``wanted`` good ones are reserved for the line, more than that is set aside.

    One that this shop has ever seen before is not stored again and given to nobody. Where one is something said, the
    others are set aside too: they may be its other lines.
    """
    taken = Taken()
    fit = []
    for text in texts:
        code = code_text.clean(text.code)
        wrong = code_text.problem(code)
        is_said = shelf.unseen and code_text.is_said(code)
        wanted = 0 if is_said else wanted
        if is_said or (wrong is not None and wrong is not Problem.LOST_DIGITS):
            taken.unfit.append(code_text.mask_line(text.code))
        else:
            fit.append(Text(code, text.expires_on))
    if fit:
        batch_id, batch = await _batch(tx, shelf)
        await _seal(tx, shelf, batch_id, batch, fit, wanted, today, taken)
        await tx.execute(
            "UPDATE vault_batch SET seals = seals + $2, counts = jsonb_build_object('imported',"
            " coalesce((counts ->> 'imported')::bigint, 0) + $3::bigint) WHERE id = $1",
            batch_id,
            len(fit),
            len(taken.bound) + len(taken.aside),
        )
    return taken


async def _batch(tx: Tx, shelf: Shelf) -> tuple[int, cipher.BatchCipher]:
    name = f"{shelf.source} {clock.now():%Y-%m-%d}"
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, $2))", f"bought:{name}", shelf.sku_id)
    row = await tx.fetchrow(TODAY, shelf.sku_id, shelf.source, name)
    if row is not None:
        opened = cipher.open_batch(
            row["wrapped_key"], row["key_version"], shelf.shop_id, shelf.sku_id, row["id"], sealed=row["seals"]
        )
        return row["id"], opened
    facts = BatchFacts(name=name, source=shelf.source)
    batch_id, opened = await open_new_batch(tx, shelf.shop_id, shelf.sku_id, facts, None)
    await tx.execute("UPDATE vault_batch SET state = 'ready' WHERE id = $1", batch_id)
    return batch_id, opened


async def _seal(
    tx: Tx,
    shelf: Shelf,
    batch_id: int,
    batch: cipher.BatchCipher,
    texts: list[Text],
    wanted: int,
    today: date,
    taken: Taken,
) -> None:
    codes = [text.code for text in texts]
    rows = await tx.fetch("SELECT nextval('vault_code_id_seq') AS id FROM generate_series(1, $1::int)", len(codes))
    ids = [row["id"] for row in rows]
    blobs, marks = batch.seal_many(ids, codes), cipher.fingerprints(shelf.shop_id, codes)
    hold_id: int | None = None
    for text, code_id, blob, mark, mask in zip(texts, ids, blobs, marks, cipher.masks(codes), strict=True):
        is_past = text.expires_on is not None and text.expires_on < today
        bind = shelf.line_id is not None and len(taken.bound) < wanted and not is_past
        if not bind and hold_id is None:
            hold_id = await _hold(tx, shelf, batch_id)
        row = await tx.fetchval(
            PUT,
            code_id,
            shelf.shop_id,
            shelf.sku_id,
            batch_id,
            slot(mark, text.expires_on),
            "reserved" if bind else "quarantined",
            shelf.line_id if bind else None,
            blob,
            mark,
            mask,
            text.expires_on,
            None if bind else hold_id,
        )
        (taken.seen if row is None else taken.bound if bind else taken.aside).append(mask)


async def _hold(tx: Tx, shelf: Shelf, batch_id: int) -> int:
    hold_id: int = await tx.fetchval(
        "INSERT INTO vault_hold (shop_id, batch_id, reason, held_at) VALUES ($1, $2, $3, $4) RETURNING id",
        shelf.shop_id,
        batch_id,
        shelf.reason[:300],
        clock.now(),
    )
    return hold_id


def lines_of(pasted: str) -> list[Text]:
    """The codes a person typed, one in each line."""
    return [Text(code) for line in pasted.splitlines() if (code := code_text.clean(line))]
