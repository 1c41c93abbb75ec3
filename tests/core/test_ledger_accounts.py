"""What a process remembers of accounts must have been committed."""

import pytest

from core import db
from core.ledger import service as ledger
from core.money import Money

TEN = Money(1000, "CNY")


class Away(Exception):
    pass


async def two_moves(tx: db.Tx, source: str, fails: bool) -> None:
    await ledger.move(tx, 1, "sale", f"{source}:1", TEN, "gateway:test", ledger.DEPOSITS)
    await ledger.move(tx, 1, "sale", f"{source}:2", TEN, ledger.DEPOSITS, ledger.REVENUE)
    if fails:
        raise Away


async def test_an_account_of_a_transaction_that_rolled_back_is_forgotten(pool):
    with pytest.raises(Away):
        await db.transaction(two_moves, "first", True)
    assert await db.fetchval("SELECT count(*) FROM ledger_account") == 0
    await db.transaction(two_moves, "second", False)
    assert await db.fetchval("SELECT count(*) FROM ledger_posting") == 4
    await db.transaction(two_moves, "third", False)
    assert await db.fetchval("SELECT count(*) FROM ledger_account") == 3
    assert await db.fetchval("SELECT sum(amount) FROM ledger_posting") == 0
