"""How often somebody may do something, counted in PostgreSQL so that every process counts together."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import asyncpg

from core import clock, db
from core.web.errors import TooMany, Unavailable
from core.web.proxies import visitor

log = logging.getLogger("vouchsafe.web.limits")

By = Literal["ip", "session", "key", "everyone"]


@dataclass(frozen=True, slots=True)
class Limit:
    """``hits`` in ``seconds``, counted per ``by``. When the count cannot be kept, a ``strict`` limit refuses."""

    hits: int
    seconds: int
    by: By = "ip"
    strict: bool = False


LIMITS: dict[str, Limit] = {
    "sign-in": Limit(10, 300, strict=True),
    "confirm": Limit(10, 300, strict=True),
    "second-factor": Limit(20, 3600, by="key", strict=True),
    "setup": Limit(10, 300, strict=True),
    "strength": Limit(120, 300, strict=True),
    "lookup": Limit(10, 600, strict=True),
    "outside-health": Limit(60, 60, by="key", strict=True),
    "outside": Limit(10, 600, strict=True),
    "account-code": Limit(20, 86400, strict=True),
    "order-link": Limit(600, 60, strict=True),
    "wrong-link": Limit(30, 3600),
    "coupon": Limit(20, 600, strict=True),
    "free-gift": Limit(10, 3600, strict=True),
    "cart": Limit(240, 60),
    "reveal": Limit(60, 300, by="session", strict=True),
    "reveal-to-program": Limit(6000, 300, by="session", strict=True),
    "staff-reveal": Limit(120, 3600, by="session", strict=True),
    "export-own": Limit(5, 3600, by="session", strict=True),
    "erase-own": Limit(3, 3600, by="session", strict=True),
    "report": Limit(20, 3600, by="session", strict=True),
    "resend": Limit(5, 3600, strict=True),
    "ask-gateway": Limit(10, 600, strict=True),
    "code-search": Limit(200, 3600, strict=True),
    "mail-again": Limit(2, 3600, strict=True),
    "till": Limit(120, 60, by="session", strict=True),
    "redeem": Limit(600, 60, by="key", strict=True),
    "code-misses": Limit(30, 600, by="key", strict=True),
    "bad-key": Limit(30, 300, strict=True),
    "forged": Limit(600, 3600),
    "not-trusted": Limit(60, 3600),
    "api": Limit(1200, 60),
    "channel": Limit(6000, 60),
}

COUNT = """
INSERT INTO web_limit AS l (bucket, window_start, hits) VALUES ($1, $2, 1)
ON CONFLICT (bucket, window_start) DO UPDATE SET hits = l.hits + 1
RETURNING hits
"""


SO_FAR = "SELECT hits FROM web_limit WHERE bucket = $1 AND window_start = $2"


@dataclass(frozen=True, slots=True)
class Try:
    """One try as it is counted: in which bucket and window, and how many may be made."""

    bucket: str
    window_start: datetime
    most: int
    retry_after: int


def one(name: str, who: str) -> Try:
    """A try of ``name`` by ``who``, for a statement that counts it itself as ``COUNT`` does."""
    limit = LIMITS[name]
    now = int(clock.now().timestamp())
    start = now - now % limit.seconds
    return Try(f"{name}:{visitor(who)}", datetime.fromtimestamp(start, UTC), limit.hits, start + limit.seconds - now)


async def hit(name: str, who: str) -> None:
    """Count one try of ``name`` by ``who``. Raises TooMany when it is one too many."""
    await _compare(COUNT, name, who, LIMITS[name].hits)


async def check(name: str, who: str) -> None:
    """Count nothing; raise TooMany when all tries are used up."""
    await _compare(SO_FAR, name, who, LIMITS[name].hits - 1)


async def _compare(sql: str, name: str, who: str, most: int) -> None:
    this = one(name, who)
    try:
        hits = await db.fetchval(sql, this.bucket, this.window_start) or 0
    except (asyncpg.PostgresError, *db.AWAY) as error:
        if LIMITS[name].strict:
            raise Unavailable() from error
        log.warning("limit %s could not be counted: %s", name, type(error).__name__)
        return
    if hits > most:
        raise TooMany(this.retry_after)


async def take_back(name: str, who: str) -> None:
    """A try that was counted turned out good: it counts no more."""
    this = one(name, who)
    await db.execute(
        "UPDATE web_limit SET hits = hits - 1 WHERE bucket = $1 AND window_start = $2 AND hits > 0",
        this.bucket,
        this.window_start,
    )


async def below(name: str, who: str) -> bool:
    """Count one try and say whether it was within the limit."""
    try:
        await hit(name, who)
    except TooMany:
        return False
    return True


async def sweep() -> None:
    """Forget windows that are over; for a timer. What no limit of this version counted goes after the longest."""
    lengths = {name: limit.seconds for name, limit in LIMITS.items()}
    await db.execute(
        "DELETE FROM web_limit WHERE window_start < $1::timestamptz"
        " - make_interval(secs => coalesce(($2::jsonb ->> split_part(bucket, ':', 1))::int, $3))",
        clock.now(),
        lengths,
        max(lengths.values()),
    )
