"""The merchant's own list and the lists of networks, kept in the plugin's tables."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from core.api import FormError, HttpError, PluginContext, PluginTx, _
from plugins.risk.network.ranges import Read, ends, read
from plugins.risk.network.settings import Settings

Context = PluginContext[Settings]
DOMAIN = re.compile(r"([\w-]+\.)+[^\W\d][\w-]+")

# The address is looked for in every list by the only range of it that can hold it.
LOOK_UP = """
SELECT 'entry' AS found_in, act AS what, kind, value AS name, note FROM risk_network_entry
WHERE (kind = 'contact' AND value = $1) OR (kind = 'domain' AND value = ANY($2))
   OR (kind = 'network' AND first <= $3::inet AND last >= $3::inet)
UNION ALL
SELECT 'list', '', list.kind, list.name, '' FROM risk_network_list list CROSS JOIN LATERAL (
    SELECT last FROM risk_network_range WHERE list_id = list.id AND first <= $3::inet ORDER BY first DESC LIMIT 1
) AS nearest WHERE nearest.last >= $3::inet
"""
ADD = """
INSERT INTO risk_network_entry (act, kind, value, first, last, note, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (kind, value) DO UPDATE SET act = $1, note = $6, created_at = $7 RETURNING id, kind
"""
STALE = """
SELECT id FROM risk_network_list WHERE url <> '' AND (tried_at IS NULL OR tried_at < $1) ORDER BY id
"""
FILL = """
INSERT INTO risk_network_range (list_id, first, last) SELECT $1, first, last
FROM unnest($2::inet[], $3::inet[]) AS one (first, last)
"""


async def look_up(ctx: Context, contact: str, ip: str) -> list[Mapping[str, Any]]:
    """All that is known about a contact and an address; either may be empty."""
    return list(await ctx.db.fetch(LOOK_UP, contact, domains_of(contact), ip or None))


def domains_of(contact: str) -> list[str]:
    """``a.b.com`` is also in ``b.com``."""
    parts = contact.rpartition("@")[2].split(".") if "@" in contact else []
    return [".".join(parts[place:]) for place in range(len(parts))]


# -- the merchant's own list ------------------------------------------------------------


def understood(text: str) -> tuple[str, str]:
    """What somebody wrote as kind and value: an address, a network, a contact or a domain.

    :raises FormError: it is none of them.
    """
    value = text.strip().lower()
    try:
        first, last = ends(value)
        return "network", value if "-" in value or "/" in value or first != last else str(first)
    except ValueError:
        pass
    if "@" in value.lstrip("@"):
        return "contact", value
    if DOMAIN.fullmatch(value.lstrip("@")):
        return "domain", value.lstrip("@")
    digits = value.replace(" ", "").lstrip("+")
    if digits.isdigit() and len(digits) >= 5:
        return "contact", digits
    raise FormError({"value": _("Write an e-mail address, a phone number, a domain, an address or a network.")})


async def add(tx: PluginTx, now: datetime, act: str, text: str, note: str) -> Any:
    """Block or allow something; the newest word counts. Gives the row, ``id`` and ``kind``."""
    kind, value = understood(text)
    first, last = ends(value) if kind == "network" else (None, None)
    return await tx.fetchrow(ADD, act, kind, value, first, last, note.strip()[:300], now)


async def remove(tx: PluginTx, entry_id: int) -> Any:
    """Gives the row that is gone, None when there was none."""
    return await tx.fetchrow("DELETE FROM risk_network_entry WHERE id = $1 RETURNING act, kind", entry_id)


async def entries(ctx: Context) -> list[Mapping[str, Any]]:
    return list(await ctx.db.fetch("SELECT * FROM risk_network_entry ORDER BY id DESC LIMIT 500"))


# -- lists of networks ------------------------------------------------------------------


async def lists(ctx: Context) -> list[Mapping[str, Any]]:
    return list(await ctx.db.fetch("SELECT * FROM risk_network_list ORDER BY name"))


async def add_by_address(tx: PluginTx, name: str, kind: str, url: str) -> int:
    """A list that is fetched, now and again and again. Gives its number."""
    list_id = await tx.fetchval(
        "INSERT INTO risk_network_list (name, kind, url) VALUES ($1, $2, $3)"
        " ON CONFLICT (name) DO UPDATE SET kind = $2, url = $3, error = '' RETURNING id",
        name,
        kind,
        url,
    )
    await tx.enqueue("fetch", {"list": list_id})
    return int(list_id)


async def add_file(tx: PluginTx, now: datetime, name: str, kind: str, found: Read) -> int:
    """A list as it is; the same name again replaces it. Gives its number."""
    list_id = await tx.fetchval(
        "INSERT INTO risk_network_list (name, kind) VALUES ($1, $2)"
        " ON CONFLICT (name) DO UPDATE SET kind = $2, url = '' RETURNING id",
        name,
        kind,
    )
    await _fill(tx, now, list_id, found)
    return int(list_id)


async def _fill(tx: PluginTx, now: datetime, list_id: int, found: Read) -> None:
    await tx.execute("DELETE FROM risk_network_range WHERE list_id = $1", list_id)
    await tx.execute(FILL, list_id, [first for first, _last in found.ranges], [last for _first, last in found.ranges])
    await tx.execute(
        "UPDATE risk_network_list SET ranges = $2, left_out = $3, refreshed_at = $4, tried_at = $4, error = ''"
        " WHERE id = $1",
        list_id,
        len(found.ranges),
        found.left_out,
        now,
    )


async def drop(tx: PluginTx, list_id: int) -> Any:
    """Gives the row that is gone, None when there was none."""
    return await tx.fetchrow("DELETE FROM risk_network_list WHERE id = $1 RETURNING name", list_id)


async def fetch_again(tx: PluginTx, list_id: int) -> Any:
    """Have it fetched soon. Gives its row, None when there is none."""
    row = await tx.fetchrow("SELECT name FROM risk_network_list WHERE id = $1", list_id)
    if row is not None:
        await tx.enqueue("fetch", {"list": list_id})
    return row


# -- in the background ------------------------------------------------------------------


async def fetch(ctx: Context, args: Mapping[str, Any]) -> None:
    """Fetch one list. What was there stays when it cannot be had, or when it holds no network at all."""
    url = await ctx.db.fetchval("SELECT url FROM risk_network_list WHERE id = $1", args["list"])
    if not url:
        return
    error = ""
    found = Read([], 0)
    try:
        answer = await ctx.http.get(url, seconds=30)
        error = "" if answer.status == 200 else f"HTTP {answer.status}"
        if not error:
            found = await asyncio.to_thread(read, answer.text())
            error = "" if found.ranges else "there is no network in it"
    except HttpError as problem:
        error = str(problem)
    if error:
        await ctx.db.execute(
            "UPDATE risk_network_list SET error = $2, tried_at = $3 WHERE id = $1",
            args["list"],
            error[:300],
            ctx.clock.now(),
        )
        return

    async def write(tx: PluginTx) -> None:
        if await tx.fetchval("SELECT id FROM risk_network_list WHERE id = $1 FOR UPDATE", args["list"]):
            await _fill(tx, ctx.clock.now(), args["list"], found)

    await ctx.db.transaction(write)


async def refresh(ctx: Context, _args: Mapping[str, Any]) -> None:
    """Fetch what is due."""
    for row in await ctx.db.fetch(STALE, ctx.clock.now() - timedelta(hours=ctx.settings.hours)):
        await fetch(ctx, {"list": row["id"]})
