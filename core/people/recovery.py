"""Recovery codes: ten ways in without the phone, each good once. Stored hashed: they are 80 random bits each."""

from __future__ import annotations

import hashlib
import secrets

from core import clock, db
from core.db import Tx
from core.ids import ALPHABET

COUNT = 10
LENGTH = 16


async def renew(tx: Tx, staff_id: int) -> list[str]:
    """Ten new codes to show once; the former ones stop working."""
    codes = ["".join(secrets.choice(ALPHABET) for _ in range(LENGTH)) for _ in range(COUNT)]
    await forget(tx, staff_id)
    await tx.executemany(
        "INSERT INTO people_recovery_code (staff_id, code_hash) VALUES ($1, $2)",
        [(staff_id, _hash(staff_id, code)) for code in codes],
    )
    return ["-".join(code[at : at + 4] for at in range(0, LENGTH, 4)) for code in codes]


async def forget(tx: Tx, staff_id: int) -> None:
    await tx.execute("DELETE FROM people_recovery_code WHERE staff_id = $1", staff_id)


async def accept(tx: Tx, staff_id: int, code: str) -> bool:
    """Whether it is one of this person's and was not used before."""
    used = await tx.fetchval(
        "UPDATE people_recovery_code SET used_at = $3 WHERE staff_id = $1 AND code_hash = $2 AND used_at IS NULL"
        " RETURNING staff_id",
        staff_id,
        _hash(staff_id, _plain(code)),
        clock.now(),
    )
    return used is not None


async def left(staff_id: int) -> int:
    return await db.fetchval(
        "SELECT count(*) FROM people_recovery_code WHERE staff_id = $1 AND used_at IS NULL", staff_id
    )


def looks_like_one(code: str) -> bool:
    return len(_plain(code)) == LENGTH


def _plain(code: str) -> str:
    """As it was made: capitals without dashes; the signs that look alike are read as the one we use."""
    signs = "".join(sign for sign in code.upper() if sign.isalnum())
    return signs.replace("O", "0").replace("I", "1").replace("L", "1")


def _hash(staff_id: int, code: str) -> bytes:
    return hashlib.sha256(f"{staff_id}:{code}".encode()).digest()
