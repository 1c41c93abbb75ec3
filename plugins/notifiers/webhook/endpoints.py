"""Where messages go: rows of endpoints, and of what is to be sent to each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from core.api import PluginContext, PluginDb, PluginTx

from .signing import SALT_BYTES, secret_of

MOST = 20
KEEP_OLD_SECRET = timedelta(hours=24)
SEND = "send"

LIST = """
SELECT endpoint.*, last.at AS last_at, last.status AS last_status, last.error AS last_error,
       (SELECT count(*) FROM notifiers_webhook_delivery
        WHERE endpoint_id = endpoint.id AND state = 'queued') AS waiting
FROM notifiers_webhook_endpoint endpoint LEFT JOIN LATERAL (
    SELECT one.* FROM notifiers_webhook_delivery delivery
    JOIN notifiers_webhook_try one ON one.delivery_id = delivery.id
    WHERE delivery.endpoint_id = endpoint.id ORDER BY one.id DESC LIMIT 1) AS last ON true
WHERE endpoint.shop = $1 ORDER BY endpoint.id
"""

QUEUE = """
INSERT INTO notifiers_webhook_delivery (endpoint_id, message, event, body, next_at)
SELECT id, $3, $2, $4, $5 FROM notifiers_webhook_endpoint
WHERE shop = $1 AND state = 'on' AND ($2 = ANY(events) OR id = $6) AND ($6::bigint IS NULL OR id = $6)
ON CONFLICT (endpoint_id, message) DO NOTHING RETURNING id
"""

LOG = """
SELECT delivery.id, delivery.message, delivery.event, delivery.state, delivery.tries, delivery.next_at,
       delivery.made_at, last.status, last.millis, last.error
FROM notifiers_webhook_delivery delivery LEFT JOIN LATERAL (
    SELECT * FROM notifiers_webhook_try WHERE delivery_id = delivery.id ORDER BY id DESC LIMIT 1) AS last ON true
WHERE delivery.endpoint_id = $1 AND ($2 = '' OR delivery.state = $2) ORDER BY delivery.id DESC LIMIT $3 OFFSET $4
"""


@dataclass(frozen=True, slots=True)
class Draft:
    url: str
    note: str
    events: tuple[str, ...]


class TooMany(Exception):
    """A shop has as many endpoints as it may."""


async def listed(db: PluginDb, shop: str) -> Sequence[Any]:
    return await db.fetch(LIST, shop)


async def one(db: PluginDb, shop: str, endpoint_id: int) -> Any:
    return await db.fetchrow("SELECT * FROM notifiers_webhook_endpoint WHERE shop = $1 AND id = $2", shop, endpoint_id)


async def add(tx: PluginTx, shop: str, draft: Draft) -> Any:
    """:raises TooMany: there are twenty already."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"notifiers_webhook:{shop}")
    if await tx.fetchval("SELECT count(*) FROM notifiers_webhook_endpoint WHERE shop = $1", shop) >= MOST:
        raise TooMany
    return await tx.fetchrow(
        "INSERT INTO notifiers_webhook_endpoint (shop, url, note, events, salt) VALUES ($1, $2, $3, $4, $5)"
        " RETURNING *",
        shop,
        draft.url,
        draft.note,
        list(draft.events),
        os.urandom(SALT_BYTES),
    )


async def change(tx: PluginTx, endpoint_id: int, draft: Draft) -> None:
    await tx.execute(
        "UPDATE notifiers_webhook_endpoint SET url = $2, note = $3, events = $4 WHERE id = $1",
        endpoint_id,
        draft.url,
        draft.note,
        list(draft.events),
    )


async def switch(tx: PluginTx, endpoint_id: int, on: bool) -> None:
    """What it was not told while it was off is not told later; what waited goes on when it is on again."""
    await tx.execute(
        "UPDATE notifiers_webhook_endpoint SET state = $2, failing_since = NULL WHERE id = $1",
        endpoint_id,
        "on" if on else "off",
    )


async def new_secret(tx: PluginTx, endpoint_id: int, now: datetime) -> Any:
    """The secret of before stays good for a day."""
    return await tx.fetchrow(
        "UPDATE notifiers_webhook_endpoint SET old_salt = salt, old_until = $2, salt = $3 WHERE id = $1 RETURNING *",
        endpoint_id,
        now + KEEP_OLD_SECRET,
        os.urandom(SALT_BYTES),
    )


async def delete(tx: PluginTx, endpoint_id: int) -> None:
    await tx.execute("DELETE FROM notifiers_webhook_endpoint WHERE id = $1", endpoint_id)


def secrets_of(ctx: PluginContext[Any], endpoint: Any, now: datetime) -> list[str]:
    """The secret, and the one of before while it is still good."""
    salts = [endpoint["salt"]]
    if endpoint["old_salt"] is not None and endpoint["old_until"] > now:
        salts.append(endpoint["old_salt"])
    return [secret_of(ctx.secret, bytes(salt)) for salt in salts]


# -- what is to be sent -----------------------------------------------------------------


async def queue(
    tx: PluginTx, now: datetime, shop: str, event: str, message: str, body: str, only: int | None = None
) -> None:
    """Write the message for every endpoint that wants it; ``only`` names one that gets it whatever it wants."""
    for row in await tx.fetch(QUEUE, shop, event, message, body, now, only):
        await tx.enqueue(SEND, {"delivery": row["id"]}, key=f"{row['id']}:1:0")


async def replay(tx: PluginTx, now: datetime, delivery_id: int) -> bool:
    """Send it once more from the beginning, with the same id. False while it waits to be sent anyway."""
    row = await tx.fetchrow(
        "UPDATE notifiers_webhook_delivery SET state = 'queued', tries = 0, round = round + 1, next_at = $2"
        " WHERE id = $1 AND state <> 'queued' RETURNING round",
        delivery_id,
        now,
    )
    if row is None:
        return False
    await tx.enqueue(SEND, {"delivery": delivery_id}, key=f"{delivery_id}:{row['round']}:0")
    return True


async def log(db: PluginDb, endpoint_id: int, state: str, limit: int, offset: int) -> Sequence[Any]:
    return await db.fetch(LOG, endpoint_id, state, limit, offset)


async def delivery(db: PluginDb, shop: str, delivery_id: int) -> Any:
    return await db.fetchrow(
        "SELECT delivery.*, endpoint.url, endpoint.state AS endpoint_state FROM notifiers_webhook_delivery delivery"
        " JOIN notifiers_webhook_endpoint endpoint ON endpoint.id = delivery.endpoint_id"
        " WHERE endpoint.shop = $1 AND delivery.id = $2",
        shop,
        delivery_id,
    )


async def tries(db: PluginDb, delivery_id: int) -> Sequence[Any]:
    return await db.fetch("SELECT * FROM notifiers_webhook_try WHERE delivery_id = $1 ORDER BY id", delivery_id)
