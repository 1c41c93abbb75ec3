"""Makes codes of the shop's own and stores them sealed, like codes of an import. Their text never leaves here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from core import db
from core.vault import cipher, own_code
from core.vault.import_run import IMPORT_LOCK
from core.vault.stock import slot

COLUMNS = ["id", "shop_id", "sku_id", "batch_id", "slot", "state", "blob", "fingerprint", "mask", "expires_on"]


@dataclass(frozen=True, slots=True)
class Shape:
    """How the codes of a batch look and what becomes of them: ``free`` to be sold, ``staged`` for paper."""

    prefix: str = ""
    group: int = 5
    expires_on: date | None = None
    state: str = "free"


@dataclass(frozen=True, slots=True)
class Batch:
    id: int
    shop_id: int
    sku_id: int
    cipher: cipher.BatchCipher


@dataclass(frozen=True, slots=True)
class Made:
    """A new code: its row in the vault, and the mark by which the text finds it again."""

    code_id: int
    lookup: bytes


async def make(tx: db.Tx, batch: Batch, shape: Shape, count: int) -> list[Made]:
    """Make and store ``count`` codes. An import of the same shop waits meanwhile, and the other way round."""
    await tx.execute("SELECT pg_advisory_xact_lock($1, $2)", IMPORT_LOCK, batch.shop_id % 2**31)
    rows = await tx.fetch("SELECT nextval('vault_code_id_seq') AS id FROM generate_series(1, $1::int)", count)
    ids = [row["id"] for row in rows]
    records, made = await asyncio.to_thread(_sealed, batch, shape, ids)
    await tx.copy("vault_code", COLUMNS, records)
    await tx.execute("UPDATE vault_batch SET seals = seals + $2 WHERE id = $1", batch.id, count)
    return made


def _sealed(batch: Batch, shape: Shape, ids: list[int]) -> tuple[list[tuple[Any, ...]], list[Made]]:
    bodies = [own_code.new_body() for _ in ids]
    texts = [own_code.printed(body, shape.prefix, shape.group) for body in bodies]
    marks = cipher.fingerprints(batch.shop_id, texts)
    sealed = zip(ids, batch.cipher.seal_many(ids, texts), marks, cipher.masks(texts), strict=True)
    until = shape.expires_on
    records = [
        (code_id, batch.shop_id, batch.sku_id, batch.id, slot(mark, until), shape.state, blob, mark, shown, until)
        for code_id, blob, mark, shown in sealed
    ]
    found = lookups(batch.shop_id, bodies)
    return records, [Made(code_id, lookup) for code_id, lookup in zip(ids, found, strict=True)]


def lookups(shop_id: int, bodies: Iterable[str]) -> list[bytes]:
    """The marks of what counts in a code. Not its fingerprint: that one is made over the text as it is printed."""
    return cipher.fingerprints(shop_id, [f"own code {body}" for body in bodies])


def lookup(shop_id: int, body: str) -> bytes:
    return lookups(shop_id, [body])[0]
