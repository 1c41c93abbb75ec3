"""Six digits in the mail that shows whose an address is, for who reads it on another device than the one they sit at.

They are good once, for ten minutes, and only in a browser that asked for the mail. Such a browser may try five times,
all browsers together twenty times a day; whoever is past that has the link of the mail.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import timedelta

from core import clock, db
from core.db import Tx
from core.ids import token_hash
from core.people import contact_proof
from core.vault import keys
from core.vault.cipher import derive

DIGITS = 6
CODE_LASTS = timedelta(minutes=10)
ASK_LASTS = contact_proof.LINK_LASTS
TRIES = 5

ASK = """
INSERT INTO people_contact_ask AS ask (cookie_hash, shop_id, contact, expires_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (cookie_hash, shop_id) DO UPDATE SET contact = excluded.contact, expires_at = excluded.expires_at,
    tries = CASE WHEN ask.contact = excluded.contact AND ask.expires_at > $5 THEN ask.tries ELSE 0 END
"""
TRY = """
UPDATE people_contact_ask SET tries = tries + 1
WHERE cookie_hash = $1 AND shop_id = $2 AND contact = $3 AND expires_at > $4 AND tries < $5 RETURNING tries
"""
KEEP = """
INSERT INTO people_contact_code (shop_id, contact, code_hash, expires_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (shop_id, contact) DO UPDATE SET code_hash = excluded.code_hash, expires_at = excluded.expires_at
"""


async def ask(tx: Tx, shop_id: int, contact: str, cookie: str) -> None:
    """Remember that this browser wants the mail. Asking again for the same does not give more tries."""
    now = clock.now()
    await tx.execute(ASK, token_hash(cookie), shop_id, contact, now + ASK_LASTS, now)


async def asked(shop_id: int, cookie: str) -> str | None:
    """For which contact this browser asked last."""
    contact: str | None = await db.fetchval(
        "SELECT contact FROM people_contact_ask WHERE cookie_hash = $1 AND shop_id = $2 AND expires_at > $3",
        token_hash(cookie),
        shop_id,
        clock.now(),
    )
    return contact


async def new_code(shop_id: int, contact: str) -> str:
    """The code of a new mail, in the place of the one before; nothing while the key of the vault is away."""
    if not keys.current().is_unlocked():
        return ""
    code = f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"
    await db.execute(KEEP, shop_id, contact, _sealed(shop_id, contact, code), clock.now() + CODE_LASTS)
    return code


async def count_try(shop_id: int, contact: str, cookie: str) -> bool:
    """Count one try before anything is compared; False when this browser has none left, or did not ask."""
    values = (token_hash(cookie), shop_id, contact, clock.now(), TRIES)
    return await db.fetchval(TRY, *values) is not None


async def prove(tx: Tx, shop_id: int, contact: str, code: str, session_hash: bytes) -> str | None:
    """Use a code up: that session has now proven its contact, which is given. None: it is not the code, or over."""
    kept = await tx.fetchval(
        "SELECT code_hash FROM people_contact_code WHERE shop_id = $1 AND contact = $2 AND expires_at > $3 FOR UPDATE",
        shop_id,
        contact,
        clock.now(),
    )
    if not hmac.compare_digest(_sealed(shop_id, contact, code), kept or bytes(32)):
        return None
    await tx.execute("DELETE FROM people_contact_code WHERE shop_id = $1 AND contact = $2", shop_id, contact)
    await contact_proof.keep(tx, shop_id, contact, session_hash)
    return contact


async def forget(tx: Tx, shop_id: int, contact: str) -> None:
    for table in ("people_contact_ask", "people_contact_code"):
        await tx.execute(f"DELETE FROM {table} WHERE shop_id = $1 AND contact = $2", shop_id, contact)  # noqa: S608


async def sweep() -> None:
    for table in ("people_contact_ask", "people_contact_code"):
        await db.execute(f"DELETE FROM {table} WHERE expires_at <= $1", clock.now())  # noqa: S608 - constants


def _sealed(shop_id: int, contact: str, code: str) -> bytes:
    """A million codes are tried in a moment, so that a plain hash would hide nothing."""
    return hmac.digest(derive("contact-codes"), f"{shop_id}:{contact}:{code}".encode(), "sha256")
