"""Balances of buyers: exact, never below zero, in step with the ledger."""

import asyncio

import asyncpg
import pytest

from core import db
from core.ledger import customers
from core.ledger import service as ledger
from core.ledger.customers import NotEnough
from core.money import Money

ANN = "ann@example.com"


def yuan(amount: int) -> Money:
    return Money(amount, "CNY")


async def _in(tx: db.Tx, contact: str, amount: int, source: str) -> int:
    return await customers.put_in(tx, 1, contact, yuan(amount), kind="balance_in", source=source, against="goodwill")


async def _out(tx: db.Tx, contact: str, amount: int, source: str) -> int:
    return await customers.take_out(
        tx, 1, contact, yuan(amount), kind="balance_paid", source=source, against="gateway:balance"
    )


async def held(contact: str) -> list[int]:
    return [balance.money.amount for balance in await customers.of_contact(1, contact)]


async def entries() -> int:
    return await db.fetchval("SELECT count(*) FROM ledger_entry")


pytestmark = pytest.mark.usefixtures("pool")


async def test_money_goes_in_and_out_in_step_with_the_ledger():
    await db.transaction(_in, ANN, 5000, "t:1")
    await db.transaction(_out, ANN, 1200, "t:2")
    assert await held(ANN) == [3800]
    [balance] = await customers.of_contact(1, ANN)
    assert await ledger.balance(1, f"customer:{balance.id}", "CNY") == -3800
    assert [(c.kind, c.money.amount) for c in await customers.history(balance, 10)] == [
        ("balance_paid", -1200),
        ("balance_in", 5000),
    ]
    assert await customers.out_of_step() == []


async def test_more_than_there_is_or_the_same_twice_changes_nothing():
    await db.transaction(_in, "bob@example.com", 100, "t:bob")
    before = await entries()
    with pytest.raises(NotEnough):
        await db.transaction(_out, "bob@example.com", 101, "t:bob:2")
    with pytest.raises(NotEnough):
        await db.transaction(_out, "nobody@example.com", 1, "t:nobody")
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.transaction(_in, "bob@example.com", 100, "t:bob")
    assert await held("bob@example.com") == [100]
    assert await held("nobody@example.com") == []
    assert await entries() == before


async def test_a_balance_opened_by_many_at_once_is_one_and_exact():
    await asyncio.gather(*(db.transaction(_in, "many@example.com", 10, f"t:many:{n}") for n in range(20)))
    assert await held("many@example.com") == [200]
    assert await customers.out_of_step() == []


async def _spend(contact: str, number: int) -> bool:
    try:
        await db.transaction(_out, contact, 1000, f"t:{contact}:{number}")
    except NotEnough:
        return False
    return True


async def test_thirty_at_once_spend_what_suffices_for_three():
    await db.transaction(_in, "three@example.com", 3500, "t:three")
    spent = await asyncio.gather(*(_spend("three@example.com", number) for number in range(30)))
    assert sum(spent) == 3
    assert await held("three@example.com") == [500]
    assert await customers.out_of_step() == []


NAIVE_READ = "SELECT amount FROM ledger_balance WHERE contact = 'naive@example.com'"
NAIVE_WRITE = "UPDATE ledger_balance SET amount = $1 WHERE contact = 'naive@example.com'"


async def test_read_compare_and_write_instead_spends_far_more_than_there_is():
    """The control: the same thirty without the guarded statement."""
    await db.transaction(_in, "naive@example.com", 3500, "t:naive")
    everybody_looked = asyncio.Barrier(30)

    async def spend() -> bool:
        amount = await db.fetchval(NAIVE_READ)
        await everybody_looked.wait()
        if amount < 1000:
            return False
        await db.execute(NAIVE_WRITE, amount - 1000)
        return True

    assert sum(await asyncio.gather(*(spend() for _ in range(30)))) == 30
    assert await held("naive@example.com") == [2500]
    [wrong] = await customers.out_of_step()
    assert (wrong["contact"], wrong["amount"], wrong["booked"]) == ("naive@example.com", 2500, 3500)
    await db.execute(NAIVE_WRITE, 3500)


async def test_the_database_holds_the_line_where_the_statement_does_not():
    await db.transaction(_in, "line@example.com", 100, "t:line")
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await db.execute("UPDATE ledger_balance SET amount = amount - 101 WHERE contact = 'line@example.com'")
    assert refused.value.constraint_name == "ledger_balance_not_negative"
    assert await held("line@example.com") == [100]


async def _by_staff(tx: db.Tx, staff_id: int, amount: int, key: str, cash: bool) -> None:
    await customers.change_by_staff(
        tx, 1, "staffed@example.com", yuan(amount), cash=cash, staff_id=staff_id, reason="paid at the desk", key=key
    )


async def test_staff_puts_in_against_cash_and_takes_out_against_goodwill():
    staff_id = await db.fetchval(
        "INSERT INTO people_staff (shop_id, email, role) VALUES (1, 'li@example.com', 'owner') RETURNING id"
    )
    cash, goodwill = [await ledger.balance(1, code, "CNY") for code in ("cash", "goodwill")]
    await db.transaction(_by_staff, staff_id, 900, "k1", True)
    await db.transaction(_by_staff, staff_id, -200, "k2", False)
    assert await held("staffed@example.com") == [700]
    assert await ledger.balance(1, "cash", "CNY") == cash + 900
    assert await ledger.balance(1, "goodwill", "CNY") == goodwill - 200
    [balance] = await customers.of_contact(1, "staffed@example.com")
    assert [(c.kind, c.reason, c.staff) for c in await customers.history(balance, 10)] == [
        ("balance_out", "paid at the desk", "li@example.com"),
        ("balance_in", "paid at the desk", "li@example.com"),
    ]
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.transaction(_by_staff, staff_id, 900, "k1", True)
    assert await held("staffed@example.com") == [700]
