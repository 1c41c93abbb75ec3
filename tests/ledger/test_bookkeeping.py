"""Cost of goods, discounts, fees and the value of stock: each booked once, for exact amounts, beside the sale."""

import pytest

from core import db
from core.checkout.settle import settle
from core.ledger import bookkeeping
from core.ledger import service as ledger
from tests import stocked


async def keep() -> int:
    """Up to a moment that has everything before it, whatever transactions are open."""
    until = await db.fetchval("SELECT clock_timestamp()")
    return await bookkeeping.keep(until)


async def entries(kind: str, order_id: int | None = None) -> list[tuple[str, str, int, str]]:
    rows = await db.fetch(
        "SELECT debit.code AS debit, credit.code AS credit, entry.amount, entry.currency FROM ledger_entry entry"
        " JOIN ledger_account debit ON debit.id = entry.debit_id"
        " JOIN ledger_account credit ON credit.id = entry.credit_id"
        " WHERE entry.kind = $1 AND ($2::bigint IS NULL OR entry.order_id = $2) ORDER BY entry.id",
        kind,
        order_id,
    )
    return [tuple(row) for row in rows]


async def costing(what: stocked.Sku, cost: int) -> None:
    await db.execute(
        "UPDATE vault_batch SET unit_cost = $2, counts = jsonb_build_object('imported', $3::int) WHERE sku_id = $1",
        what.id,
        cost,
        len(what.codes),
    )


async def bought(what: stocked.Sku, quantity: int = 1, test: bool = False) -> stocked.Placed:
    placed = await stocked.order(what, quantity, test=test)
    await settle("epay", stocked.paid(placed, 1990 * quantity), "callback")
    assert await stocked.states(placed) == ("paid", "delivered")
    return placed


async def set_fee(percent: int, fixed: int) -> None:
    await db.execute(
        "INSERT INTO ledger_fee (shop_id, method, currency, percent, fixed) VALUES (1, 'epay', 'CNY', $1, $2)"
        " ON CONFLICT (shop_id, method, currency) DO UPDATE SET percent = excluded.percent, fixed = excluded.fixed",
        percent,
        fixed,
    )


pytestmark = pytest.mark.usefixtures("pool")


async def test_a_sale_brings_its_cost_once_however_often_the_job_looks():
    what = await stocked.sku(5)
    await costing(what, 700)
    placed = await bought(what, 3)
    assert await entries("cost", placed.order_id) == []
    await keep()
    assert await entries("cost", placed.order_id) == [("cost", "stock", 2100, "CNY")]
    await db.execute("UPDATE ledger_kept SET until = '2000-01-01T00:00:00Z'")
    assert await keep() == 0
    assert await entries("cost", placed.order_id) == [("cost", "stock", 2100, "CNY")]


async def test_test_orders_and_codes_without_a_price_cost_nothing():
    what, priced = await stocked.sku(2), await stocked.sku(2)
    await costing(priced, 700)
    plain, test = await bought(what), await bought(priced, test=True)
    await keep()
    assert await entries("cost", plain.order_id) == []
    assert await entries("cost", test.order_id) == []


async def test_a_batch_with_a_price_is_worth_what_it_cost_until_it_is_undone():
    what = await stocked.sku(4)
    await costing(what, 250)
    stock, owed = await ledger.balance(1, "stock", "CNY"), await ledger.balance(1, "supplier:import", "CNY")
    await keep()
    await keep()
    assert await ledger.balance(1, "stock", "CNY") == stock + 1000
    assert await ledger.balance(1, "supplier:import", "CNY") == owed - 1000
    await db.execute("UPDATE vault_batch SET state = 'undone', unit_cost = 9 WHERE sku_id = $1", what.id)
    await keep()
    await keep()
    assert await ledger.balance(1, "stock", "CNY") == stock
    assert await ledger.balance(1, "supplier:import", "CNY") == owed


@pytest.mark.parametrize(
    ("percent", "fixed", "fee"),
    [
        (60, 0, 12),  # 0.60 % of 19.90 is 0.1194
        (63, 0, 13),  # 0.12537
        (25, 0, 5),  # 0.04975
        (50, 30, 40),  # 0.0995 and 0.30
        (0, 30, 30),
        (10000, 30, 1990),  # never more than the payment
    ],
)
async def test_a_fee_is_rounded_half_up_to_the_fen(percent, fixed, fee):
    await set_fee(percent, fixed)
    placed = await bought(await stocked.sku(1))
    await keep()
    assert await entries("fee", placed.order_id) == [("fees", "gateway:epay", fee, "CNY")]
    await db.execute("DELETE FROM ledger_fee")


async def test_half_a_fen_is_rounded_up():
    await set_fee(50, 0)
    what = await stocked.sku(1, price=100)
    placed = await stocked.order(what)
    await settle("epay", stocked.paid(placed, 100), "callback")
    await keep()
    assert await entries("fee", placed.order_id) == [("fees", "gateway:epay", 1, "CNY")]
    await db.execute("DELETE FROM ledger_fee")


async def test_without_a_rate_there_is_no_fee():
    placed = await bought(await stocked.sku(1))
    await keep()
    assert await entries("fee", placed.order_id) == []


async def test_a_line_below_its_list_price_shows_price_and_discount():
    what = await stocked.sku(2)
    placed = await stocked.order(what, 2)
    await db.execute("UPDATE orders_line SET list_price = 2500 WHERE order_id = $1", placed.order_id)
    await settle("epay", stocked.paid(placed, 3980), "callback")
    await keep()
    assert await entries("sale", placed.order_id) == [("deposits", "revenue", 3980, "CNY")]
    assert await entries("discount", placed.order_id) == [("discounts", "revenue", 1020, "CNY")]


async def test_a_sale_that_is_being_committed_is_waited_for():
    """An entry carries the time its transaction began: one that is still open must not be stepped over."""
    what = await stocked.sku(1)
    await costing(what, 700)
    placed = await stocked.order(what)
    slow = await db.engine.pool.acquire()
    await slow.execute("BEGIN; SELECT 1")
    began = await slow.fetchval("SELECT now()")
    await bookkeeping.keep()
    assert await db.fetchval("SELECT until < $1 FROM ledger_kept", began)
    await slow.execute("ROLLBACK")
    await db.engine.pool.release(slow)
    await settle("epay", stocked.paid(placed), "callback")
    await keep()
    assert await entries("cost", placed.order_id) == [("cost", "stock", 700, "CNY")]
