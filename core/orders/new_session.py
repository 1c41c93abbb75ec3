"""Who has just proven a contact gets a new session: whoever knew the cookie from before is not signed in too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from core.db import Tx
from core.ids import token_hash
from core.people import contact_code, contact_proof, sessions
from core.people.sessions import Session

Way = Callable[[bytes], Awaitable[str | None]]

# What copy-and-burn shows to one session alone goes along with the order, so it is found through that.
MOVE = (
    """UPDATE vault_code SET shown_to = $2 WHERE shown_to = $1 AND line_id = ANY(ARRAY(
        SELECT line.id FROM orders_line line WHERE line.order_id IN (
            SELECT order_id FROM orders_access WHERE session_hash = $1
            UNION SELECT order_id FROM orders_gift_access WHERE session_hash = $1)))""",
    "UPDATE orders_access SET session_hash = $2 WHERE session_hash = $1",
    "UPDATE orders_gift_access SET session_hash = $2 WHERE session_hash = $1",
    "UPDATE orders_stranger SET session_hash = $2 WHERE session_hash = $1",
    "UPDATE checkout_cart_line SET session_hash = $2 WHERE session_hash = $1",
    "UPDATE people_contact_proof SET session_hash = $2 WHERE session_hash = $1 AND NOT EXISTS ("
    " SELECT 1 FROM people_contact_proof mine WHERE mine.session_hash = $2 AND mine.shop_id ="
    " people_contact_proof.shop_id AND mine.contact = people_contact_proof.contact)",
)


async def prove(
    tx: Tx, shop_id: int, link: str, session: Session | None, ip: str, agent: str
) -> tuple[str | None, str | None]:
    """Use up the link of a mail: the contact it proves, and the cookie of the session that has it now.

    The cookie is None where the session stays: staff are signed in as they are. Both are None for a link that is over.
    """
    return await _prove(tx, partial(contact_proof.prove, tx, shop_id, link), session, ip, agent)


async def prove_by_code(
    tx: Tx, shop_id: int, contact: str, code: str, session: Session | None, ip: str, agent: str
) -> tuple[str | None, str | None]:
    """The same by the code of the mail, after the try was counted."""
    return await _prove(tx, partial(contact_code.prove, tx, shop_id, contact, code), session, ip, agent)


async def _prove(tx: Tx, way: Way, session: Session | None, ip: str, agent: str) -> tuple[str | None, str | None]:
    if session and session.kind == "staff":
        return await way(session.id_hash), None
    cookie = await sessions.create(tx, "buyer", ip=ip, agent=agent)
    contact = await way(token_hash(cookie))
    if contact is None:
        await sessions.end(tx, token_hash(cookie))
        return None, None
    if session:
        await _move(tx, session.id_hash, token_hash(cookie))
    return contact, cookie


async def _move(tx: Tx, old: bytes, new: bytes) -> None:
    """All that a browser had, its cart too, is the new session's: who knew the old cookie is left with nothing."""
    for statement in MOVE:
        await tx.execute(statement, old, new)
    await sessions.end(tx, old)
