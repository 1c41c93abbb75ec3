"""Own codes made through the shop's services, and their text, which only the vault knows."""

from __future__ import annotations

import itertools
import secrets
from typing import Any

from core import clock, db
from core.redemption import issue
from core.redemption.issue import Draft
from core.redemption.redeem import Till
from core.vault import own_code
from core.vault.cipher import open_batch
from core.vault.generate import lookup
from tests import stocked

_numbers = itertools.count(1)


async def own_batch(count: int = 1, *, what: stocked.Sku | None = None, **facts: Any) -> int:
    """A batch of own codes, made to the end; on paper unless told otherwise."""
    what = what or await stocked.sku(0)
    draft = Draft(sku_id=what.id, name=f"Batch {next(_numbers)}", count=count, **{"on_paper": True, **facts})
    batch_id = await issue.order(1, "CNY", clock.now().date(), draft, await stocked.staff_member())
    while not (await db.transaction(issue.make_piece, batch_id)).over:
        pass
    return batch_id


async def texts(batch_id: int) -> list[str]:
    rows = await db.fetch(
        "SELECT code.id, code.blob, code.shop_id, code.sku_id, batch.id AS batch_id, batch.wrapped_key,"
        " batch.key_version FROM vault_code code JOIN vault_batch batch ON batch.id = code.batch_id"
        " WHERE batch.id = $1 ORDER BY code.id",
        batch_id,
    )
    return [
        open_batch(row["wrapped_key"], row["key_version"], row["shop_id"], row["sku_id"], row["batch_id"])
        .open(row["id"], row["blob"])
        .reveal()
        for row in rows
    ]


async def a_code(**facts: Any) -> str:
    return (await texts(await own_batch(**facts)))[0]


def till(caller: str = "staff:1", place: str = "Front desk", shop_id: int = 1) -> Till:
    return Till(shop_id, "Asia/Shanghai", caller, place, "127.0.0.1")


def new_id() -> str:
    return secrets.token_hex(8)


async def voucher(code: str) -> dict[str, Any]:
    """What the database holds of a code."""
    row = await db.fetchrow(
        "SELECT voucher.balance, voucher.first_used_place, voucher.void_reason, code.state"
        " FROM redemption_voucher voucher JOIN vault_code code ON code.id = voucher.code_id"
        " WHERE voucher.lookup = $1",
        lookup(1, own_code.read(code) or ""),
    )
    assert row is not None
    return dict(row)


async def tries(outcome: str | None = None) -> int:
    return int(await db.fetchval("SELECT count(*) FROM redemption_try WHERE $1::text IS NULL OR outcome = $1", outcome))
