"""Sessions of our own: ids only we issue, stored hashed, gone at once when ended.

A cookie value nobody issued is never adopted: it loads as nothing.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from core import clock, db
from core.ids import new_token, token_hash
from core.people import rights, signed

Kind = Literal["buyer", "staff"]

ABSOLUTE = {"buyer": timedelta(days=30), "staff": timedelta(hours=12)}
IDLE = {"buyer": timedelta(days=30), "staff": timedelta(minutes=60)}
BUYER_SECONDS = int(ABSOLUTE["buyer"].total_seconds())
"""A buyer finds their orders again after closing the browser; staff must sign in again."""
TOUCH_AFTER = timedelta(minutes=1)
TOKEN_LENGTH = 43


@dataclass(frozen=True, slots=True)
class Session:
    id_hash: bytes
    kind: Kind
    staff_id: int | None
    shop_id: int | None
    """Where a member of staff works; None for buyers."""
    whole_server: bool
    """Whether that is the main shop, whose staff looks after what all shops share."""
    role: str | None
    email: str | None
    name: str
    locale: str | None
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    confirmed_at: datetime | None
    """When the password (and second factor) was last given."""
    data: Mapping[str, Any] = field(default_factory=dict)

    def may(self, right: str) -> bool:
        return self.kind == "staff" and rights.may(self.role, right, whole_server=self.whole_server)

    def called(self, right: str) -> object:
        return rights.called(right)


LOAD = """
SELECT s.id_hash, s.kind, s.staff_id, p.shop_id,
       p.shop_id IS NOT NULL AND p.shop_id = (SELECT min(id) FROM shops_shop) AS whole_server,
       p.role, p.email, coalesce(p.name, '') AS name, p.locale,
       s.created_at, s.seen_at, s.expires_at, s.confirmed_at, s.data
FROM people_session s LEFT JOIN people_staff p ON p.id = s.staff_id
WHERE s.id_hash = $1 AND s.expires_at > $2 AND (s.kind = 'buyer' OR (p.id IS NOT NULL AND p.disabled_at IS NULL))
"""

CREATE = """
INSERT INTO people_session (id_hash, kind, staff_id, created_at, seen_at, expires_at, confirmed_at, ip, agent, data)
VALUES ($1, $2, $3, $4, $4, $5, $6, $7, $8, $9)
"""


async def load(cookie: str) -> Session | None:
    """The living session behind a cookie value, or None."""
    if len(cookie) != TOKEN_LENGTH:
        return None
    now = clock.now()
    row = await db.fetchrow(LOAD, token_hash(cookie), now)
    if row is None:
        return None
    session = Session(**row)
    if now - session.seen_at > IDLE[session.kind]:
        return None
    if now - session.seen_at > TOUCH_AFTER:
        await db.execute("UPDATE people_session SET seen_at = $2 WHERE id_hash = $1", session.id_hash, now)
    return session


async def create(
    tx: db.Tx,
    kind: Kind,
    *,
    staff_id: int | None = None,
    ip: str | None = None,
    agent: str = "",
    data: Mapping[str, Any] | None = None,
) -> str:
    """A new session; gives the cookie value, which is stored nowhere."""
    token = new_token()
    now = clock.now()
    confirmed = now if kind == "staff" else None
    await tx.execute(
        CREATE,
        token_hash(token),
        kind,
        staff_id,
        now,
        now + ABSOLUTE[kind],
        confirmed,
        ip,
        agent[:300],
        dict(data or {}),
    )
    return token


PROMISE = "session of a buyer"


async def promise() -> str:
    """A cookie for a visitor who has done nothing yet: ours, but stored only when it is needed."""
    return urlsafe_b64encode(await signed.issue(PROMISE, ABSOLUTE["buyer"])).decode().rstrip("=")


async def is_promised(cookie: str | None) -> bool:
    """Whether a cookie that is no session may become one: we made it, for a visitor with no power."""
    if cookie is None or len(cookie) != TOKEN_LENGTH or not cookie.isascii():
        return False
    try:
        return await signed.is_ours(PROMISE, urlsafe_b64decode(cookie + "="))
    except binascii.Error:
        return False


async def rotate(tx: db.Tx, old: Session | None, kind: Kind, **facts: Any) -> str:
    """A new session in place of an old one: at sign-in, after a second factor, on any change of power."""
    if old is not None:
        await end(tx, old.id_hash)
    return await create(tx, kind, **facts)


async def confirm(tx: db.Tx, id_hash: bytes) -> None:
    """The password was given again just now."""
    await tx.execute("UPDATE people_session SET confirmed_at = $2 WHERE id_hash = $1", id_hash, clock.now())


async def remember(tx: db.Tx, id_hash: bytes, data: Mapping[str, Any]) -> None:
    """Merge ``data`` into what the session keeps."""
    await tx.execute("UPDATE people_session SET data = data || $2 WHERE id_hash = $1", id_hash, dict(data))


async def end(tx: db.Tx, id_hash: bytes) -> None:
    await tx.execute("DELETE FROM people_session WHERE id_hash = $1", id_hash)


async def end_all(tx: db.Tx, staff_id: int, *, but: bytes | None = None) -> int:
    """End every session of a person (``but`` one): password change, sign out everywhere, disabled."""
    done = await tx.execute(
        "DELETE FROM people_session WHERE staff_id = $1 AND id_hash IS DISTINCT FROM $2", staff_id, but
    )
    return int(done.rpartition(" ")[2])


@dataclass(frozen=True, slots=True)
class Seen:
    """A living session as its owner sees it in a list."""

    handle: str
    ip: str | None
    agent: str
    created_at: datetime
    seen_at: datetime
    here: bool


HANDLE = "left(encode(id_hash, 'hex'), 24)"
"""Names a session on a page without saying anything that would let somebody in."""


async def of_staff(staff_id: int, here: bytes | None = None) -> list[Seen]:
    """Where a person is signed in, the latest first; ``here`` is the session that asks."""
    now = clock.now()
    rows = await db.fetch(
        f"SELECT {HANDLE} AS handle, host(ip) AS ip, agent, created_at, seen_at,"  # noqa: S608 - a constant
        " id_hash IS NOT DISTINCT FROM $2 AS here FROM people_session"
        " WHERE staff_id = $1 AND expires_at > $3 AND seen_at > $4 ORDER BY seen_at DESC, id_hash",
        staff_id,
        here,
        now,
        now - IDLE["staff"],
    )
    return [Seen(**row) for row in rows]


async def end_one(tx: db.Tx, staff_id: int, handle: str) -> int:
    """End one session of this person; 0 when it is not theirs or over."""
    done = await tx.execute(
        f"DELETE FROM people_session WHERE staff_id = $1 AND {HANDLE} = $2",  # noqa: S608 - a constant
        staff_id,
        handle,
    )
    return int(done.rpartition(" ")[2])


async def sweep() -> None:
    """Forget sessions that are over; for a timer."""
    await db.execute("DELETE FROM people_session WHERE expires_at <= $1", clock.now())
