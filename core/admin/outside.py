"""How the shop looks from outside. A worker calls it by its own address as a payment service would, sees whether a
stream of events comes through, and asks the DNS about the address that mails come from.

What it found is kept with its time: pages and the doctor read that, and never wait for the network.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpcore
import httpx

from core import clock, db
from core.config import Config
from core.hooks.http import AllowedHosts, bounded_client, why
from core.ids import new_token, token_hash
from core.messages.events import MAIL
from core.messages.service import notifier_for
from core.shops import service as shops

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver

PATH = "/pay/check"
"""Beside the addresses that payment services call, so that a rule for those holds for it too."""
SECONDS = 10.0
HELD_SECONDS = 2.0
"""So long a stream is held open after its first words: whoever gets them only at its end has them kept back."""
CALL_LASTS = timedelta(minutes=1)
GOOD_FOR = timedelta(hours=6)
TOO_LATE = (httpx.TimeoutException, httpcore.TimeoutException)
BROKEN = (httpx.HTTPError, httpcore.NetworkError, httpcore.ProtocolError)
NAMES = ("callback", "stream", "dns")
FIRST, LAST = b"event: open\ndata: \n\n", b"event: end\ndata: \n\n"


@dataclass(frozen=True, slots=True)
class Looked:
    """``outcome`` is a word of :mod:`core.admin.outside_words`, ``facts`` what its sentence says."""

    name: str
    outcome: str
    facts: Mapping[str, Any]
    at: datetime


async def found(base_url: str) -> dict[str, Looked]:
    """What is known of the shop at this address; of an earlier one only what the DNS said."""
    rows = await db.fetch("SELECT name, outcome, facts, looked_at FROM admin_outside")
    known = {row["name"]: Looked(row["name"], row["outcome"], row["facts"], row["looked_at"]) for row in rows}
    if "callback" in known and known["callback"].facts["address"] != base_url:
        return {name: one for name, one in known.items() if name == "dns"}
    return known


async def is_fresh(base_url: str) -> bool:
    """Whether nobody needs to look: all was well a few hours ago."""
    known = await found(base_url)
    since = clock.now() - GOOD_FOR
    well = known.get("callback")
    return set(known) == set(NAMES) and all(one.at > since for one in known.values()) and well.outcome == "reached"


async def look(config: Config, resolver: Resolver | None = None) -> None:
    """Look at everything and keep what was found."""
    async with bounded_client(AllowedHosts([urlsplit(config.base_url).hostname or ""])) as client:
        callback = await _called(client, config.base_url)
        stream = await _streamed(client, config.base_url) if callback[0] == "reached" else ("skipped", {})
    answers = {"callback": callback, "stream": stream, "dns": await _mail_domain(resolver)}
    for name, (outcome, facts) in answers.items():
        await _keep(name, outcome, facts)


async def _keep(name: str, outcome: str, facts: Mapping[str, Any]) -> None:
    await db.execute(
        "INSERT INTO admin_outside (name, outcome, facts, looked_at) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (name) DO UPDATE SET outcome = $2, facts = $3, looked_at = $4",
        name,
        outcome,
        dict(facts),
        clock.now(),
    )


# -- the shop calls itself --------------------------------------------------------------

Answer = tuple[str, dict[str, Any]]


async def _new_call() -> tuple[str, str]:
    """A key that is good for one call, and the word that only the shop can answer it with."""
    now, key, answer = clock.now(), new_token(), new_token()
    await db.execute("DELETE FROM admin_call WHERE expires_at < $1", now)
    await db.execute(
        "INSERT INTO admin_call (key_hash, answer, expires_at) VALUES ($1, $2, $3)",
        token_hash(key),
        answer,
        now + CALL_LASTS,
    )
    return key, answer


async def answer_to(key: str) -> str | None:
    """What to answer a call with; a key counts once."""
    answer: str | None = await db.fetchval(
        "DELETE FROM admin_call WHERE key_hash = $1 AND expires_at > $2 RETURNING answer", token_hash(key), clock.now()
    )
    return answer


async def _called(client: httpx.AsyncClient, base_url: str) -> Answer:
    key, answer = await _new_call()
    address = f"{base_url}{PATH}"
    try:
        async with asyncio.timeout(SECONDS):
            came = await client.post(f"{address}/{key}", content=b"")
    except (TimeoutError, *TOO_LATE):
        return "silent", {"address": base_url}
    except BROKEN as error:
        return "unreachable", {"address": base_url, "why": why(error)}
    if came.is_redirect:
        to = urlsplit(came.headers.get("location", ""))
        return "redirected", {"address": base_url, "to": f"{to.scheme}://{to.netloc}" if to.netloc else base_url}
    if came.text != answer:
        return "other", {"address": base_url, "status": came.status_code}
    return "reached", {"address": base_url}


async def _streamed(client: httpx.AsyncClient, base_url: str) -> Answer:
    key, _answer = await _new_call()
    loop = asyncio.get_running_loop()
    seen = []
    text = b""
    try:
        async with asyncio.timeout(SECONDS), client.stream("GET", f"{base_url}{PATH}/{key}/stream") as came:
            async for part in came.aiter_bytes():
                text += part
                seen.append(loop.time())
                if len(text) > len(FIRST + LAST):
                    break
    except (TimeoutError, *TOO_LATE, *BROKEN):
        return "broken", {}
    if text != FIRST + LAST:
        return "broken", {}
    return ("live" if seen[-1] - seen[0] > HELD_SECONDS / 2 else "buffered"), {}


async def held_open() -> AsyncIterator[bytes]:
    """The stream that is asked for."""
    yield FIRST
    await asyncio.sleep(HELD_SECONDS)
    yield LAST


# -- the address mails come from --------------------------------------------------------


async def _mail_domain(resolver: Resolver | None) -> Answer:
    notifier = notifier_for(MAIL, (await shops.main_shop()).id)
    domain = getattr(notifier, "sender", "").rpartition("@")[2].strip().lower().rstrip(".")
    if not domain:
        return "nobody", {}
    if "." not in domain:
        return "local", {"domain": domain}
    # dns takes 3 MB, and only who sends mails needs it
    from core.admin import mail_domain

    return await mail_domain.judge(domain, resolver)
