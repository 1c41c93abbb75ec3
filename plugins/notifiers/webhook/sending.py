"""One try to deliver a message, what its answer means, and when the next one is."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from core.api import HttpAnswer, HttpError, PluginContext, PluginTx

from . import endpoints
from .signing import headers

SECONDS = 20.0
ANSWER_LENGTH = 500
PAUSES = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds after the first try, the second and so on, as the specification proposes; after the last it has failed."""
LONGEST_WISH = 86_400.0
GIVE_UP_AFTER = timedelta(days=5)
GONE = 410

LOAD = """
SELECT delivery.*, endpoint.url, endpoint.state AS endpoint_state, endpoint.salt, endpoint.old_salt, endpoint.old_until,
       endpoint.failing_since
FROM notifiers_webhook_delivery delivery JOIN notifiers_webhook_endpoint endpoint ON endpoint.id = delivery.endpoint_id
WHERE delivery.id = $1 AND delivery.state = 'queued'
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a try ended. ``wish`` is how long the other side asked us to wait."""

    at: datetime
    millis: int
    status: int | None = None
    answer: str = ""
    error: str = ""
    wish: float = 0.0

    @property
    def taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


async def send(ctx: PluginContext[None], args: Mapping[str, Any]) -> None:
    """The job: one try. What is off is told nothing; what waited for it has failed."""
    row = await ctx.db.fetchrow(LOAD, args["delivery"])
    if row is None:
        return
    if row["endpoint_state"] != "on":
        await ctx.db.execute(
            "UPDATE notifiers_webhook_delivery SET state = 'failed', next_at = NULL WHERE id = $1", row["id"]
        )
        return
    outcome = await _tried(ctx, row)
    await ctx.db.transaction(_write, ctx, row, outcome)


async def _tried(ctx: PluginContext[None], row: Any) -> Outcome:
    at, started = ctx.clock.now(), time.perf_counter()
    body = row["body"].encode()
    signed = headers(endpoints.secrets_of(ctx, row, at), row["message"], at, body)
    try:
        answer = await ctx.http.post(row["url"], content=body, headers=signed, seconds=SECONDS)
    except HttpError as error:
        return Outcome(at, _millis(started), error=str(error)[:ANSWER_LENGTH])
    text = answer.text()[:ANSWER_LENGTH].replace("\x00", "")
    return Outcome(at, _millis(started), answer.status, text, wish=_wish(answer, at))


def _millis(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)


def _wish(answer: HttpAnswer, now: datetime) -> float:
    """``Retry-After``: seconds or a date, a day at most."""
    said = answer.headers.get("retry-after", "")
    if said.isdecimal():
        return min(float(said[:9]), LONGEST_WISH)
    try:
        return min(max((parsedate_to_datetime(said) - now).total_seconds(), 0.0), LONGEST_WISH)
    except (ValueError, TypeError):
        return 0.0


async def _write(tx: PluginTx, ctx: PluginContext[None], row: Any, outcome: Outcome) -> None:
    await tx.execute(
        "INSERT INTO notifiers_webhook_try (delivery_id, at, status, millis, answer, error)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        row["id"],
        outcome.at,
        outcome.status,
        outcome.millis,
        outcome.answer,
        outcome.error,
    )
    tries = row["tries"] + 1
    if outcome.taken:
        await _ended(tx, row["id"], tries, "sent")
        await tx.execute("UPDATE notifiers_webhook_endpoint SET failing_since = NULL WHERE id = $1", row["endpoint_id"])
    elif await _gives_up(tx, row, outcome) or tries > len(PAUSES):
        await _ended(tx, row["id"], tries, "failed")
    else:
        await _again(tx, row, tries, outcome)


async def _ended(tx: PluginTx, delivery_id: int, tries: int, state: str) -> None:
    await tx.execute(
        "UPDATE notifiers_webhook_delivery SET state = $3, tries = $2, next_at = NULL WHERE id = $1",
        delivery_id,
        tries,
        state,
    )


async def _gives_up(tx: PluginTx, row: Any, outcome: Outcome) -> bool:
    """Nobody is there any more: it said so, or nothing has arrived for days."""
    since = await tx.fetchval(
        "UPDATE notifiers_webhook_endpoint SET failing_since = coalesce(failing_since, $2) WHERE id = $1"
        " RETURNING failing_since",
        row["endpoint_id"],
        outcome.at,
    )
    if outcome.status != GONE and outcome.at - since < GIVE_UP_AFTER:
        return False
    await tx.execute(
        "UPDATE notifiers_webhook_endpoint SET state = 'given_up' WHERE id = $1 AND state = 'on'", row["endpoint_id"]
    )
    return True


async def _again(tx: PluginTx, row: Any, tries: int, outcome: Outcome) -> None:
    # not all at once when an endpoint comes back
    pause = max(PAUSES[tries - 1] * random.uniform(0.9, 1.1), outcome.wish)  # noqa: S311
    at = outcome.at + timedelta(seconds=pause)
    await tx.execute(
        "UPDATE notifiers_webhook_delivery SET tries = $2, next_at = $3 WHERE id = $1", row["id"], tries, at
    )
    key = f"{row['id']}:{row['round']}:{tries}"
    await tx.enqueue(endpoints.SEND, {"delivery": row["id"]}, run_at=at, key=key)


async def sweep(ctx: PluginContext[None], args: Mapping[str, Any]) -> None:
    """The log is kept for a month."""
    await ctx.db.execute(
        "DELETE FROM notifiers_webhook_delivery WHERE id IN (SELECT id FROM notifiers_webhook_delivery"
        " WHERE made_at < now() - interval '30 days' AND state <> 'queued' ORDER BY made_at LIMIT 5000)"
    )
