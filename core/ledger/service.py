"""Double entry in whole minor units. An entry's postings come in one statement and sum to zero."""

from __future__ import annotations

from dataclasses import dataclass

from core import db
from core.money import Money

# Accounts a sale needs. Money a gateway took for us is an asset there; until goods are delivered it is owed.
GATEWAY = "gateway:{}"
DEPOSITS = "deposits"
REVENUE = "revenue"


FIND_ACCOUNT = """
SELECT id, coalesce(xmin = pg_current_xact_id_if_assigned()::xid, false) AS ours
FROM ledger_account WHERE shop_id = $1 AND code = $2 AND currency = $3
"""


@dataclass(frozen=True, slots=True)
class Posting:
    account_id: int
    amount: int


async def account(tx: db.Tx, shop_id: int, code: str, currency: str) -> int:
    """The id of an account, opened when it is first needed."""
    key = (shop_id, code, currency)
    found = await tx.fetchval("SELECT id FROM ledger_account WHERE shop_id = $1 AND code = $2 AND currency = $3", *key)
    return found or await tx.fetchval(
        "INSERT INTO ledger_account (shop_id, code, currency) VALUES ($1, $2, $3)"
        " ON CONFLICT (shop_id, code, currency) DO UPDATE SET code = excluded.code RETURNING id",
        *key,
    )


async def move(
    tx: db.Tx, shop_id: int, kind: str, source: str, money: Money, debit: str, credit: str, order_id: int | None = None
) -> None:
    """Post an entry of two lines: ``money`` into the account ``debit``, out of the account ``credit``."""
    if money.amount == 0:
        return
    postings = [
        Posting(await account(tx, shop_id, debit, money.currency), money.amount),
        Posting(await account(tx, shop_id, credit, money.currency), -money.amount),
    ]
    await post(tx, shop_id, kind, source, money.currency, postings, order_id)


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
