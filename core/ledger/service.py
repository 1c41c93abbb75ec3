"""Double entry in whole minor units. An entry moves an amount between two accounts, so it sums to zero."""

from __future__ import annotations

from core import db
from core.ledger.chart import CUSTOMER, DEPOSITS, DISCOUNTS, GATEWAY, REVENUE, heading
from core.money import Money

__all__ = ["DEPOSITS", "DISCOUNTS", "GATEWAY", "REVENUE", "account", "balance", "balances", "move"]

CUSTOMER_ACCOUNTS = CUSTOMER.format("")


async def account(tx: db.Tx, shop_id: int, code: str, currency: str) -> int:
    """The id of an account of the chart, opened when it is first needed."""
    key = (shop_id, code, currency)
    found = await tx.fetchval("SELECT id FROM ledger_account WHERE shop_id = $1 AND code = $2 AND currency = $3", *key)
    if found is not None:
        return found
    heading(code)
    return await tx.fetchval(
        "INSERT INTO ledger_account (shop_id, code, currency) VALUES ($1, $2, $3)"
        " ON CONFLICT (shop_id, code, currency) DO UPDATE SET code = excluded.code RETURNING id",
        *key,
    )


async def move(
    tx: db.Tx, shop_id: int, kind: str, source: str, money: Money, debit: str, credit: str, order_id: int | None = None
) -> None:
    """Post an entry: ``money`` into the account ``debit``, out of the account ``credit``.

    ``source`` is unique: the same thing is never booked twice. Nothing is posted for an amount of zero.
    A buyer's balance is moved by ``core.ledger.customers``, which keeps its guarded row in step.
    """
    if debit.startswith(CUSTOMER_ACCOUNTS) or credit.startswith(CUSTOMER_ACCOUNTS):
        raise ValueError("a buyer's balance is moved by core.ledger.customers")
    if money.amount == 0:
        return
    await tx.execute(
        "INSERT INTO ledger_entry (kind, source, order_id, debit_id, credit_id, amount, currency)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        kind,
        source,
        order_id,
        await account(tx, shop_id, debit, money.currency),
        await account(tx, shop_id, credit, money.currency),
        money.amount,
        money.currency,
    )


# Summed up by pairs of accounts first: one walk over the entries, of which there are many, and few pairs.
BALANCES = """
WITH pair AS (
    SELECT debit_id, credit_id, sum(amount) AS amount FROM ledger_entry WHERE currency = $3 GROUP BY 1, 2
)
SELECT account.code, sum(CASE WHEN pair.debit_id = account.id THEN pair.amount ELSE -pair.amount END)::bigint AS amount
FROM ledger_account account JOIN pair ON account.id IN (pair.debit_id, pair.credit_id)
WHERE account.shop_id = $1 AND account.code = ANY($2) AND account.currency = $3 GROUP BY 1
"""


async def balances(shop_id: int, codes: list[str], currency: str) -> dict[str, int]:
    """What these accounts stand at, debits less credits; one that nothing was booked on is left out."""
    return {row["code"]: row["amount"] for row in await db.fetch(BALANCES, shop_id, codes, currency)}


async def balance(shop_id: int, code: str, currency: str) -> int:
    return (await balances(shop_id, [code], currency)).get(code, 0)
