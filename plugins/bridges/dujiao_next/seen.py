"""Calls that were let in once and are not let in again, for as long as their time would still be believed."""

import hashlib
from datetime import timedelta

from core.api import PluginContext

from . import wire

REMEMBERED = timedelta(seconds=3 * wire.SKEW_SECONDS)

FIRST = """
WITH old AS (DELETE FROM bridges_dujiao_next_seen WHERE seen_at < $3)
INSERT INTO bridges_dujiao_next_seen (mark, seen_at) VALUES ($1, $2) ON CONFLICT (mark) DO NOTHING RETURNING true
"""


async def is_first(ctx: PluginContext, signature: str) -> bool:
    now = ctx.clock.now()
    mark = hashlib.sha256(signature.encode()).digest()
    return bool(await ctx.db.fetchval(FIRST, mark, now, now - REMEMBERED))
