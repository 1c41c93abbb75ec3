"""What the database itself refuses: changed entries, amounts of nothing, mixed currencies, the same thing twice."""

import asyncpg
import pytest

from core import db
from core.ledger import service as ledger
from core.ledger.chart import UnknownAccount
from core.money import Money

TEN = Money(1000, "CNY")


async def _move(tx: db.Tx, source: str, debit: str = "gateway:test", credit: str = "deposits") -> None:
    await ledger.move(tx, 1, "payment", source, TEN, debit, credit)


async def _accounts(tx: db.Tx) -> tuple[int, int, int]:
    return (
        await ledger.account(tx, 1, "deposits", "CNY"),
        await ledger.account(tx, 1, "revenue", "CNY"),
        await ledger.account(tx, 1, "revenue", "USD"),
    )


async def entries() -> list[tuple]:
    return [tuple(row) for row in await db.fetch("SELECT * FROM ledger_entry ORDER BY id")]


@pytest.fixture
async def booked(pool):
    await db.execute("ALTER TABLE ledger_entry DISABLE TRIGGER USER; DELETE FROM ledger_entry")
    await db.execute("ALTER TABLE ledger_entry ENABLE TRIGGER USER")
    await db.transaction(_move, "payment:guards")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entry SET amount = amount + 1",
        "UPDATE ledger_entry SET order_id = 7",
        "DELETE FROM ledger_entry",
        "TRUNCATE ledger_entry CASCADE",
    ],
)
async def test_a_posted_entry_is_never_changed(booked, statement):
    before = await entries()
    with pytest.raises(asyncpg.CheckViolationError, match="post a correcting entry"):
        await db.execute(statement)
    assert await entries() == before and len(before) == 1


async def test_without_the_guard_a_posted_entry_can_be_changed(booked):
    await db.execute("ALTER TABLE ledger_entry DISABLE TRIGGER USER")
    await db.execute("UPDATE ledger_entry SET amount = amount + 1")
    await db.execute("ALTER TABLE ledger_entry ENABLE TRIGGER USER")
    assert await db.fetchval("SELECT amount FROM ledger_entry") == 1001


async def test_only_an_amount_above_zero_between_two_accounts_of_one_currency_is_taken(booked):
    deposits, revenue, dollars = await db.transaction(_accounts)
    before = await entries()
    for debit, credit, amount, currency in (
        (deposits, revenue, 0, "CNY"),
        (deposits, revenue, -5, "CNY"),
        (deposits, deposits, 5, "CNY"),
        (deposits, dollars, 5, "CNY"),
        (deposits, revenue, 5, "USD"),
        (deposits, 999_999, 5, "CNY"),
    ):
        with pytest.raises((asyncpg.CheckViolationError, asyncpg.ForeignKeyViolationError)):
            await db.execute(
                "INSERT INTO ledger_entry (kind, source, debit_id, credit_id, amount, currency)"
                " VALUES ('sale', 'sale:guards', $1, $2, $3, $4)",
                debit,
                credit,
                amount,
                currency,
            )
    assert await entries() == before


async def test_the_same_source_is_booked_once(booked):
    before = await entries()
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.transaction(_move, "payment:guards")
    assert await entries() == before


async def test_an_account_outside_the_chart_is_not_opened(booked):
    before = await db.fetchval("SELECT count(*) FROM ledger_account")
    with pytest.raises(UnknownAccount):
        await db.transaction(_move, "payment:other", "pocket")
    with pytest.raises(ValueError, match=r"core\.ledger\.customers"):
        await db.transaction(_move, "payment:other", "customer:1")
    assert await db.fetchval("SELECT count(*) FROM ledger_account") == before
    assert len(await entries()) == 1
