"""Keys for programs: shown once, stored as a hash, good for named scopes in one shop, withdrawn at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from core import clock, db
from core.audit import service as audit
from core.ids import new_token, token_hash
from core.refused import Refused
from core.web.i18n import Text, _

PREFIX = "vs_"
SHOWN = 4
LENGTH = len(PREFIX) + 43
TOUCH_AFTER = timedelta(minutes=1)
MOST_KEYS = 100

SCOPES: dict[str, Text] = {
    "codes.verify": _("Look at codes"),
    "codes.redeem": _("Redeem codes"),
    "codes.void": _("Void codes"),
    "health.read": _("See how the shop is doing"),
}
"""What a key can be good for; a route says ``key:<scope>``."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: int
    shop_id: int
    name: str
    scopes: frozenset[str]
    last_used_at: datetime | None

    def may(self, scope: str) -> bool:
        return scope in self.scopes


LOAD = """
SELECT id, shop_id, name, scopes, last_used_at FROM people_api_key
WHERE token_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
"""


async def load(token: str) -> ApiKey | None:
    """The living key behind a token, or None."""
    if len(token) != LENGTH or not token.startswith(PREFIX):
        return None
    now = clock.now()
    row = await db.fetchrow(LOAD, token_hash(token), now)
    if row is None:
        return None
    key = ApiKey(row["id"], row["shop_id"], row["name"], frozenset(row["scopes"]), row["last_used_at"])
    if key.last_used_at is None or now - key.last_used_at > TOUCH_AFTER:
        await db.execute("UPDATE people_api_key SET last_used_at = $2 WHERE id = $1", key.id, now)
    return key


async def every(shop_id: int) -> list[Any]:
    return await db.fetch(
        "SELECT key.*, staff.email AS made_by FROM people_api_key key"
        " LEFT JOIN people_staff staff ON staff.id = key.created_by"
        " WHERE key.shop_id = $1 ORDER BY key.revoked_at IS NOT NULL, key.id DESC",
        shop_id,
    )


async def make(shop_id: int, name: str, scopes: list[str], days: int | None, staff_id: int | None) -> str:
    """A new key; gives its text, which is stored nowhere."""
    if not scopes or not set(scopes) <= SCOPES.keys():
        raise Refused(_("Choose what the key is good for."), "scopes")
    return await db.transaction(_make, shop_id, name, sorted(set(scopes)), days, staff_id)


async def _make(tx: db.Tx, shop_id: int, name: str, scopes: list[str], days: int | None, staff_id: int | None) -> str:
    living = await tx.fetchval("SELECT count(*) FROM people_api_key WHERE shop_id = $1 AND revoked_at IS NULL", shop_id)
    if living >= MOST_KEYS:
        raise Refused(_("There are too many keys. Withdraw one that is not used."), "name")
    token = PREFIX + new_token()
    now = clock.now()
    key_id = await tx.fetchval(
        "INSERT INTO people_api_key (shop_id, name, token_hash, shown, scopes, created_by, created_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id",
        shop_id, name, token_hash(token), token[-SHOWN:], scopes, staff_id, now,
        None if days is None else now + timedelta(days=days),
    )  # fmt: skip
    await audit.record(
        tx, f"staff:{staff_id}", "api_key.made", f"key:{key_id}", {"name": name, "scopes": scopes}, shop_id=shop_id
    )
    return token


async def revoke(shop_id: int, key_id: int, staff_id: int | None) -> None:
    """From the next request on the key is nobody's."""
    await db.transaction(_revoke, shop_id, key_id, staff_id)


async def _revoke(tx: db.Tx, shop_id: int, key_id: int, staff_id: int | None) -> None:
    name = await tx.fetchval(
        "UPDATE people_api_key SET revoked_at = $3 WHERE id = $1 AND shop_id = $2 AND revoked_at IS NULL"
        " RETURNING name",
        key_id,
        shop_id,
        clock.now(),
    )
    if name is None:
        raise Refused(_("This key was withdrawn already."))
    await audit.record(tx, f"staff:{staff_id}", "api_key.revoked", f"key:{key_id}", {"name": name}, shop_id=shop_id)
