"""What suppliers answer and call, sealed as it came and before it is read: no code is lost when reading goes wrong."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from core import db
from core.supply.supplier import Keep
from core.vault.cipher import open_secret, seal_secret
from core.vault.code_text import DOTS

SHORT = 2
"""A PIN may have three signs."""
LONGEST_SHOWN = 20_000

PUT = """
INSERT INTO supply_answer (supplier, purchase_id, ref, came_by, size, blob) VALUES ($1, $2, $3, $4, $5, $6)
"""


def purpose(ref: str) -> str:
    return f"supply-answer/{ref}"


async def _keep(supplier: str, purchase_id: int | None, ref: str, came_by: str, data: bytes) -> None:
    blob = seal_secret(purpose(ref), data)
    await db.execute(PUT, supplier, purchase_id, ref, came_by, len(data), blob)


def keeper(purchase: Any, came_by: str) -> Keep:
    """Takes the answers of one call about ``purchase``."""
    return partial(_keep, purchase["supplier"], purchase["id"], purchase["ref"], came_by)


async def keep_call(supplier: str, ref: str, body: bytes) -> None:
    """A supplier's own call, once it is known to be theirs."""
    purchase_id = await db.fetchval("SELECT id FROM supply_purchase WHERE ref = $1 AND supplier = $2", ref, supplier)
    await _keep(supplier, purchase_id, ref[:32], "callback", body)


async def of_purchase(purchase_id: int) -> list[Any]:
    return await db.fetch("SELECT * FROM supply_answer WHERE purchase_id = $1 ORDER BY id", purchase_id)


def opened(answer: Any) -> str:
    """The answer as text. Whoever asks has to be written down first."""
    return open_secret(purpose(answer["ref"]), answer["blob"]).decode(errors="replace")[:LONGEST_SHOWN]


def masked(answer: Any) -> str:
    """Its shape without anything that may be a code: names stay, longer values are dots."""
    text = open_secret(purpose(answer["ref"]), answer["blob"])
    try:
        said = json.loads(text)
    except ValueError:
        return ""
    return json.dumps(_masked(said), ensure_ascii=False, indent=1)[:LONGEST_SHOWN]


def _masked(said: Any) -> Any:
    match said:
        case dict():
            return {key: _masked(value) for key, value in said.items()}
        case list():
            return [_masked(value) for value in said[:100]]
        case bool() | None:
            return said
        case _:
            text = str(said)
            return said if len(text) <= SHORT else DOTS
