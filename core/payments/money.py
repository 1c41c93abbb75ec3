"""The money of one order: what came by each payment, what of it went back, and what the shop still owes for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from core import db
from core.db import Tx
from core.ledger import chart
from core.ledger import service as ledger
from core.money import Money

PAYMENTS = """
SELECT event.id, event.method, attempt.ref AS attempt_ref, attempt.label, event.gateway_ref, event.amount,
       event.currency, event.refunds, event.charged_back, event.outcome,
       event.source <> 'staff' OR EXISTS (
           SELECT 1 FROM payments_event later WHERE later.order_id = $1 AND later.attempt_id = event.attempt_id
             AND later.state = 'confirmed') AS known_there
FROM payments_event event JOIN payments_attempt attempt ON attempt.id = event.attempt_id
WHERE event.order_id = $1 AND event.state = 'paid' ORDER BY event.id
"""

SUM = """
SELECT coalesce(sum(posting.amount), 0)::bigint FROM ledger_posting posting
JOIN ledger_account account ON account.id = posting.account_id
WHERE posting.entry_id IN (SELECT id FROM ledger_entry WHERE order_id = $1)
  AND account.code = $2 AND account.currency = $3
"""


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment that came. ``refunds`` counts what went back or is about to."""

    id: int
    method: str
    attempt_ref: str
    label: dict[str, str]
    gateway_ref: str
    """Empty while only staff has said that it came."""
    amount: Money
    refunds: Money
    charged_back: Money
    outcome: str

    @property
    def left(self) -> Money:
        """What of it can still be given back."""
        return Money(max(0, self.amount.amount - self.refunds.amount - self.charged_back.amount), self.amount.currency)

    @property
    def stand(self) -> str:
        """What a form carries along: it changes with all that is given back or taken back."""
        return f"{self.refunds.amount}-{self.charged_back.amount}"


async def payments_of(order_id: int, tx: Tx | None = None) -> list[Payment]:
    rows = await tx.fetch(PAYMENTS, order_id) if tx else await db.fetch(PAYMENTS, order_id)
    return [_payment(row) for row in rows]


def _payment(row: Any) -> Payment:
    currency = row["currency"]
    return Payment(
        id=row["id"],
        method=row["method"],
        attempt_ref=row["attempt_ref"],
        label=row["label"],
        gateway_ref=row["gateway_ref"] or "" if row["known_there"] else "",
        amount=Money(row["amount"], currency),
        refunds=Money(row["refunds"], currency),
        charged_back=Money(row["charged_back"], currency),
        outcome=row["outcome"],
    )


def by_currency(sums: Iterable[Money]) -> list[Money]:
    """One sum for each currency, in the order in which they first came."""
    found: dict[str, Money] = {}
    for one in sums:
        found[one.currency] = found.get(one.currency, Money(0, one.currency)) + one
    return list(found.values())


async def here(tx: Tx, order_id: int, currency: str) -> int:
    """How much of what came in this currency is still here."""
    found = await payments_of(order_id, tx)
    return sum(payment.left.amount for payment in found if payment.amount.currency == currency)


async def owed(tx: Tx, order_id: int, currency: str) -> int:
    """What the books say the shop owes the buyer for this order: paid, and neither delivered nor given back."""
    return -int(await tx.fetchval(SUM, order_id, ledger.DEPOSITS, currency))


async def split(tx: Tx, order_id: int, source: str, amount: Money, once_earned: str) -> list[tuple[Money, str, str]]:
    """Where money that goes out is taken from: amount, account and source of each entry.

    First what is owed for the order; the rest was revenue and is counted against it as ``once_earned``.
    """
    debt = min(max(0, await owed(tx, order_id, amount.currency)), amount.amount)
    parts = [
        (Money(debt, amount.currency), ledger.DEPOSITS, source),
        (Money(amount.amount - debt, amount.currency), once_earned, f"{source}:earned"),
    ]
    return [part for part in parts if part[0].amount]


async def leaves(tx: Tx, order: Any, kind: str, source: str, amount: Money, credit: str, *, once_earned: str) -> None:
    """Book money that leaves the shop by way of the account ``credit``."""
    for part, debit, name in await split(tx, order["id"], source, amount, once_earned):
        await ledger.move(tx, order["shop_id"], kind, name, part, debit, credit, order_id=order["id"])


async def returns(tx: Tx, order: Any, kind: str, source: str, amount: Money, debit: str) -> None:
    """Book money that a chargeback took and that is back on ``debit``: first against what was lost by it.

    What was not lost had been owed for an order that got nothing, and is owed again.
    """
    lost = int(await tx.fetchval(SUM, order["id"], chart.CHARGEBACKS, amount.currency))
    undone = Money(max(0, min(lost, amount.amount)), amount.currency)
    owed_again = Money(amount.amount - undone.amount, amount.currency)
    for part, credit, name in ((undone, chart.CHARGEBACKS, source), (owed_again, ledger.DEPOSITS, f"{source}:owed")):
        if part.amount:
            await ledger.move(tx, order["shop_id"], kind, name, part, debit, credit, order_id=order["id"])
