"""Paying an order from the balance of its buyer: the purse that a payment method is handed with an attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core import clock, db
from core.crash_point import crash_point
from core.db import Tx
from core.ledger import customers
from core.ledger.chart import BALANCE_METHOD, GATEWAY
from core.ledger.customers import NotEnough
from core.money import Money
from core.payments.method import GatewayRefused
from core.people import contact_proof
from core.web.i18n import Text, _, source

KIND = "balance_paid"

ORDER = """
SELECT o.id, o.shop_id, o.contact, o.payment_state, o.expires_at, o.test, attempt.amount, attempt.currency
FROM orders_order o JOIN payments_attempt attempt ON attempt.order_id = o.id WHERE attempt.ref = $1 FOR UPDATE
"""

ASK_NOW = """
UPDATE payments_attempt SET state = CASE WHEN state = 'created' THEN 'waiting' ELSE state END, next_query_at = now()
WHERE ref = $1 AND state <> 'paid'
"""


@dataclass(frozen=True, slots=True)
class AttemptPurse:
    """``session_hash`` is who pays; None where only looking is possible."""

    attempt_ref: str
    session_hash: bytes | None = None

    async def take(self) -> None:
        if self.session_hash is None:
            raise _refused(_("Nobody who may pay from a balance is here."))
        if await self.taken():
            return
        await db.transaction(self._take, self.session_hash)
        crash_point("purse.taken")

    async def _take(self, tx: Tx, session_hash: bytes) -> None:
        order = await tx.fetchrow(ORDER, self.attempt_ref)
        if order is None or order["test"] or await _ended(tx, order):
            raise _refused(_("This order cannot be paid any more."))
        if not await contact_proof.has_proven(tx, order["shop_id"], session_hash, order["contact"]):
            raise _refused(_("Open your balance by the link in your mail first."))
        try:
            await customers.take_out(
                tx,
                order["shop_id"],
                order["contact"],
                Money(order["amount"], order["currency"]),
                kind=KIND,
                source=_source(self.attempt_ref),
                against=GATEWAY.format(BALANCE_METHOD),
                order_id=order["id"],
            )
        except NotEnough:
            raise _refused(_("The balance is not enough.")) from None
        # with the money, so that what was taken is asked about even if this process ends now
        await tx.execute(ASK_NOW, self.attempt_ref)

    async def taken(self) -> bool:
        return await db.fetchval(
            "SELECT EXISTS (SELECT 1 FROM ledger_entry WHERE source = $1)", _source(self.attempt_ref)
        )


async def _ended(tx: Tx, order: Any) -> bool:
    """Paid or over; or another attempt has taken the money already and is about to be settled."""
    if order["payment_state"] != "unpaid" or order["expires_at"] <= clock.now():
        return True
    return await tx.fetchval(
        "SELECT EXISTS (SELECT 1 FROM ledger_entry WHERE order_id = $1 AND kind = $2)", order["id"], KIND
    )


def _source(attempt_ref: str) -> str:
    return f"balance:{attempt_ref}"


def _refused(why: Text) -> GatewayRefused:
    return GatewayRefused(source(why))
