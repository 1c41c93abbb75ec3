"""The clock keeps the books: what follows from sales and payments is booked beside them."""

from __future__ import annotations

from core.jobs import Lease, every
from core.ledger import bookkeeping


@every(20, "ledger.keep", timeout_seconds=600)
async def keep(lease: Lease) -> None:
    await bookkeeping.keep()
