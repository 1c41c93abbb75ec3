"""Double entry in whole minor units. An entry's postings come in one statement and sum to zero."""

from __future__ import annotations

from dataclasses import dataclass

from core import db

# Accounts a sale needs. Money a gateway took for us is an asset there; until goods are delivered it is owed.
GATEWAY = "gateway:{}"
DEPOSITS = "deposits"
REVENUE = "revenue"

_accounts: dict[tuple[int, str, str], int] = {}


@dataclass(frozen=True, slots=True)
class Posting:
    account_id: int
    amount: int


async def account(shop_id: int, code: str, currency: str) -> int:
    """The id of an account, opened when it is first needed. Call it before the transaction starts."""
    key = (shop_id, code, currency)
    if key not in _accounts:
        await db.execute(
            "INSERT INTO ledger_account (shop_id, code, currency) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", *key
        )
        _accounts[key] = await db.fetchval(
            "SELECT id FROM ledger_account WHERE shop_id = $1 AND code = $2 AND currency = $3", *key
        )
    return _accounts[key]


async def post(
    tx: db.Tx, shop_id: int, kind: str, source: str, currency: str, postings: list[Posting], order_id: int | None = None
) -> None:
    """Post one entry. ``source`` is unique: the same thing is never booked twice."""
    await tx.execute(
        """
        WITH entry AS (
            INSERT INTO ledger_entry (shop_id, kind, source, order_id) VALUES ($1, $2, $3, $4) RETURNING id
        )
        INSERT INTO ledger_posting (entry_id, account_id, amount, currency)
        SELECT entry.id, posting.account_id, posting.amount, $5
        FROM entry, unnest($6::bigint[], $7::bigint[]) AS posting (account_id, amount)
        """,
        shop_id,
        kind,
        source,
        order_id,
        currency,
        [posting.account_id for posting in postings],
        [posting.amount for posting in postings],
    )


async def balance(shop_id: int, code: str, currency: str) -> int:
    return await db.fetchval(
        """
        SELECT coalesce(sum(posting.amount), 0)::bigint FROM ledger_posting posting
        JOIN ledger_account account ON account.id = posting.account_id
        WHERE account.shop_id = $1 AND account.code = $2 AND account.currency = $3
        """,
        shop_id,
        code,
        currency,
    )
