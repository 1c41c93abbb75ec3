"""Has this buyer shown that an e-mail address is theirs? By a link sent there, opened in their browser.

Other than the link to an order, which may be handed on with the order, it is good once and for half an hour.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from core import clock, db
from core.db import Tx
from core.ids import new_token, token_hash

Purpose = Literal["open", "erase"]
"""``open`` proves the contact; ``erase`` confirms that all about it is to be forgotten, and proves nothing."""

LINK_LASTS = timedelta(minutes=30)
PROOF_LASTS = timedelta(hours=12)


async def new_link(shop_id: int, contact: str, purpose: Purpose = "open") -> str:
    """The token of a new link for ``contact``; it is stored nowhere."""
    token = new_token()
    await db.execute(
        "INSERT INTO people_contact_link (token_hash, shop_id, contact, expires_at, purpose)"
        " VALUES ($1, $2, $3, $4, $5)",
        token_hash(token),
        shop_id,
        contact,
        clock.now() + LINK_LASTS,
        purpose,
    )
    return token


async def link_lives(shop_id: int, token: str, purpose: Purpose = "open") -> bool:
    return await db.fetchval(
        "SELECT EXISTS (SELECT 1 FROM people_contact_link"
        " WHERE token_hash = $1 AND shop_id = $2 AND expires_at > $3 AND purpose = $4)",
        token_hash(token),
        shop_id,
        clock.now(),
        purpose,
    )


async def spend(tx: Tx, shop_id: int, token: str, purpose: Purpose) -> str | None:
    """Use a link up, and say whose it was. None: the link does not count."""
    contact: str | None = await tx.fetchval(
        "DELETE FROM people_contact_link WHERE token_hash = $1 AND shop_id = $2 AND expires_at > $3 AND purpose = $4"
        " RETURNING contact",
        token_hash(token),
        shop_id,
        clock.now(),
        purpose,
    )
    return contact


async def prove(tx: Tx, shop_id: int, token: str, session_hash: bytes) -> str | None:
    """Use a link up: that session has now proven its contact, which is given. None: the link does not count."""
    contact = await spend(tx, shop_id, token, "open")
    if contact is not None:
        await keep(tx, shop_id, contact, session_hash)
    return contact


async def keep(tx: Tx, shop_id: int, contact: str, session_hash: bytes) -> None:
    """That session has proven the contact; for half a day."""
    await tx.execute(
        "INSERT INTO people_contact_proof (session_hash, shop_id, contact, expires_at) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (session_hash, shop_id, contact) DO UPDATE SET expires_at = excluded.expires_at",
        session_hash,
        shop_id,
        contact,
        clock.now() + PROOF_LASTS,
    )


async def proven(shop_id: int, session_hash: bytes) -> list[str]:
    """The contacts a session has proven, the last one first."""
    rows = await db.fetch(
        "SELECT contact FROM people_contact_proof WHERE session_hash = $1 AND shop_id = $2 AND expires_at > $3"
        " ORDER BY expires_at DESC",
        session_hash,
        shop_id,
        clock.now(),
    )
    return [row["contact"] for row in rows]


async def has_proven(tx: Tx, shop_id: int, session_hash: bytes, contact: str) -> bool:
    return await tx.fetchval(
        "SELECT EXISTS (SELECT 1 FROM people_contact_proof WHERE session_hash = $1 AND shop_id = $2 AND contact = $3"
        " AND expires_at > $4)",
        session_hash,
        shop_id,
        contact,
        clock.now(),
    )


async def forget(session_hash: bytes) -> None:
    """The buyer is done on this device."""
    await db.execute("DELETE FROM people_contact_proof WHERE session_hash = $1", session_hash)


async def sweep() -> None:
    """Drop links and proofs that are over; for a timer."""
    await db.execute("DELETE FROM people_contact_link WHERE expires_at <= $1", clock.now())
    await db.execute("DELETE FROM people_contact_proof WHERE expires_at <= $1", clock.now())
