"""What the clock does for people: sessions, challenges and links that are over are forgotten."""

from __future__ import annotations

from core.jobs import Lease, every
from core.people import contact_code, contact_proof, sessions, signed


@every(600, "people.sweep")
async def sweep(lease: Lease) -> None:
    await sessions.sweep()
    await signed.sweep()
    await contact_proof.sweep()
    await contact_code.sweep()
