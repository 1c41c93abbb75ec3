"""Calls of gateways and questions to them, kept with their secrets masked: who looks into an order sees who said what.

Evidence, not money: it is written beside the payment, many at once, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import asyncpg

from core import clock, db
from core.payments.method import CallbackRequest, Claim
from core.vault.code_text import DOTS, storable

log = logging.getLogger("vouchsafe.payments")

SOON_SECONDS = 0.1
MOST_WAITING = 2000
KEPT = timedelta(days=400)
LONGEST = 200
SECRET = re.compile(
    r"sign|secret|token|passw|key|auth|cert|nonce|cipher|hash|card|bank|openid|buyer|payer|user|account|phone|mobile"
    r"|mail|id_?no|real_?name",
    re.IGNORECASE,
)
"""Names of what is not to be shown: signatures, and who paid."""
PERSON = re.compile(r"customer|billing|shipping|address|payer_|buyer_|cardholder", re.IGNORECASE)
"""Whatever stands under such a name tells who paid, and where they live."""
DEEPEST = 5
OPAQUE = re.compile(r"\S{80,}")
"""A value without a gap as long as this is a signature or sealed, whatever it is called."""

WRITE = """
INSERT INTO payments_call (at, method, order_id, attempt, came_by, said, ms, ip, request_id, payload)
SELECT call.at, call.method, attempt.order_id, coalesce(attempt.ref, ''), call.came_by, call.said, call.ms, call.ip,
       call.request_id, call.payload
FROM jsonb_to_recordset($1) AS call (at timestamptz, method text, names jsonb, came_by text, said text, ms integer,
                                     ip inet, request_id text, payload jsonb)
LEFT JOIN LATERAL (
    SELECT order_id, ref FROM payments_attempt
    WHERE ref = ANY(ARRAY(SELECT jsonb_array_elements_text(call.names))) AND payments_attempt.method = call.method
    LIMIT 1
) AS attempt ON true
"""


@dataclass(frozen=True, slots=True)
class Call:
    """``names`` are what may be the reference of its attempt; ``said`` what came of it; ``ms`` how long that took."""

    method: str
    came_by: str
    names: Sequence[str]
    said: str
    ms: int
    ip: str = ""
    request_id: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    at: datetime = field(default_factory=clock.now)
    """When it was over."""

    def row(self) -> dict[str, Any]:
        return {
            "at": (self.at - timedelta(milliseconds=self.ms)).isoformat(),
            "method": self.method,
            "names": [storable(name) for name in self.names],
            "came_by": self.came_by,
            "said": storable(self.said[:300]),
            "ms": self.ms,
            "ip": self.ip or None,
            "request_id": self.request_id,
            "payload": self.payload,
        }


class Stopwatch:
    def __init__(self) -> None:
        self._since = time.monotonic()

    @property
    def ms(self) -> int:
        return round((time.monotonic() - self._since) * 1000)


# -- writing ----------------------------------------------------------------------------

_waiting: list[Call] = []
_writing: asyncio.Task[None] | None = None


def note(call: Call) -> None:
    """Write it soon, together with what comes meanwhile. Never waits, never fails."""
    global _writing
    if len(_waiting) < MOST_WAITING:
        _waiting.append(call)
    if _writing is None or _writing.done():
        _writing = asyncio.create_task(_write_all())


async def _write_all() -> None:
    while _waiting:
        await asyncio.sleep(SOON_SECONDS)
        calls, _waiting[:] = _waiting[:], []
        try:
            await write(calls)
        except (*db.AWAY, asyncpg.PostgresError):
            log.warning("%d calls of gateways could not be written down", len(calls))


async def write(calls: Sequence[Call]) -> None:
    await db.execute(WRITE, [call.row() for call in calls])


async def written() -> None:
    """Wait until all that was noted is written."""
    if _writing is not None:
        await asyncio.wait([_writing])


async def forget_old() -> None:
    await db.execute("DELETE FROM payments_call WHERE at < $1", clock.now() - KEPT)


async def of_order(order_id: int) -> list[Any]:
    return await db.fetch("SELECT * FROM payments_call WHERE order_id = $1 ORDER BY at, id", order_id)


# -- masking ----------------------------------------------------------------------------


def read(call: CallbackRequest) -> dict[str, Any]:
    """What a callback says, as far as it can be read as data; nothing of it is believed here."""
    said: dict[str, Any] = dict(_pairs(call.query))
    try:
        body = json.loads(call.body) if call.body else {}
    except (ValueError, RecursionError):
        body = dict(_pairs(call.body))
    if isinstance(body, dict):
        said.update(body)
    return said


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    if b"=" not in raw or raw.lstrip().startswith(b"<"):
        return []
    try:
        return parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return []


def names_in(said: Mapping[str, Any]) -> list[str]:
    """What could be the reference of an attempt."""
    return [value for value in said.values() if isinstance(value, str) and 8 <= len(value) <= 40][:40]


def masked(said: Any, name: str = "", depth: int = 0) -> Any:
    """The same without signatures, keys, and who paid."""
    is_leaf = not isinstance(said, dict | list)
    if PERSON.search(name) or (is_leaf and SECRET.search(name)):
        return DOTS if said not in ("", None) else said
    if depth >= DEEPEST and not is_leaf:
        return DOTS
    if isinstance(said, dict):
        return {storable(str(key)[:60]): masked(value, str(key), depth + 1) for key, value in list(said.items())[:60]}
    if isinstance(said, list):
        return [masked(value, name, depth + 1) for value in said[:20]]
    if said is None or isinstance(said, bool | int) or (isinstance(said, float) and math.isfinite(said)):
        return said
    text = storable(str(said))
    return DOTS if OPAQUE.search(text) else text[:LONGEST]


def of_claim(claim: Claim) -> dict[str, Any]:
    """What a gateway answered, as its plugin understood it."""
    return {
        "state": str(claim.state),
        "amount": claim.amount.plain(),
        "currency": claim.amount.currency,
        "gateway_ref": storable(claim.gateway_ref or ""),
    }
