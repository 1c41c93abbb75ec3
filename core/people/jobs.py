"""What the clock does for people: sessions and challenges that are over are forgotten."""

from __future__ import annotations

from core.jobs import Lease, every
from core.people import sessions, signed


@every(600, "people.sweep")
async def sweep(lease: Lease) -> None:
    await sessions.sweep()
    await signed.sweep()
