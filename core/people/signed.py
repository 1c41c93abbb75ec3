"""Values we hand out without storing them, and know again when they come back: 12 random bytes, when they are
over, and a seal over both and what they are for."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta

from core import clock, db

RANDOM, STAMP, SEAL = 12, 4, 16

_key: bytes | None = None


async def issue(purpose: str, life: timedelta) -> bytes:
    stamp = int((clock.now() + life).timestamp()).to_bytes(STAMP, "big")
    value = secrets.token_bytes(RANDOM) + stamp
    return value + _seal(await _signing_key(), purpose, value)


async def is_ours(purpose: str, given: bytes) -> bool:
    """Whether we made it for this purpose and it is not over."""
    if len(given) != RANDOM + STAMP + SEAL:
        return False
    value, seal = given[:-SEAL], given[-SEAL:]
    if not hmac.compare_digest(_seal(await _signing_key(), purpose, value), seal):
        return False
    return int.from_bytes(value[RANDOM:], "big") >= clock.now().timestamp()


async def use(tx: db.Tx, given: bytes) -> bool:
    """Whether this is its first use; for values that are good once."""
    used = await tx.fetchval(
        "INSERT INTO people_used_value (value_hash, over_at) VALUES ($1, to_timestamp($2))"
        " ON CONFLICT DO NOTHING RETURNING over_at",
        hashlib.sha256(given).digest(),
        int.from_bytes(given[RANDOM : RANDOM + STAMP], "big"),
    )
    return used is not None


async def sweep() -> None:
    await db.execute("DELETE FROM people_used_value WHERE over_at < $1", clock.now())


def _seal(key: bytes, purpose: str, value: bytes) -> bytes:
    return hmac.digest(key, purpose.encode() + b"\0" + value, "sha256")[:SEAL]


async def _signing_key() -> bytes:
    """Made with the tables and never changed, so that it can be remembered."""
    global _key
    if _key is None:
        _key = await db.fetchval("SELECT key FROM people_signing_key")
    return _key
