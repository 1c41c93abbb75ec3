"""Which codes are sold first: those that end first, never one that has too few days left."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from core import clock, db
from core.checkout.ordinary import SETTLE
from core.checkout.place import PLACE, PLACED, SoldOut
from core.checkout.settle import Outcome, settle
from core.shops import service as shops
from core.vault import stock
from tests import stocked

pytestmark = pytest.mark.usefixtures("pool")

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TODAY = date(2026, 11, 22)


async def dated(sku: stocked.Sku, days: dict[int | None, int]) -> None:
    """Give the SKU's codes their dates: so many codes that end so many days from today."""
    rows = await db.fetch("SELECT id, fingerprint FROM vault_code WHERE sku_id = $1 ORDER BY id", sku.id)
    ends = [
        None if left is None else TODAY + timedelta(days=left) for left, count in days.items() for _ in range(count)
    ]
    assert len(rows) == len(ends)
    for row, end in zip(rows, ends, strict=True):
        await db.execute(
            "UPDATE vault_code SET expires_on = $2, slot = $3 WHERE id = $1", row["id"], end,
            stock.slot(row["fingerprint"], end),
        )  # fmt: skip


async def sold(sku: stocked.Sku) -> Counter[int | None]:
    """How many codes were taken, by the days they are still good."""
    rows = await db.fetch("SELECT expires_on FROM vault_code WHERE sku_id = $1 AND state <> 'free'", sku.id)
    return Counter(row["expires_on"] and (row["expires_on"] - TODAY).days for row in rows)


async def test_the_codes_that_end_first_are_sold_first() -> None:
    sku = await stocked.sku(12)
    await dated(sku, {None: 3, 40: 3, 7: 2, 30: 4})
    taken = []
    with clock.use(lambda: NOON):
        for _ in range(12):
            before = await sold(sku)
            await stocked.order(sku)
            taken += list((await sold(sku)) - before)
    assert taken == [7] * 2 + [30] * 4 + [40] * 3 + [None] * 3


async def test_one_order_takes_from_several_days() -> None:
    sku = await stocked.sku(9)
    await dated(sku, {None: 3, 40: 3, 7: 3})
    with clock.use(lambda: NOON):
        await stocked.order(sku, 5)
        assert await sold(sku) == {7: 3, 40: 2}
        await stocked.order(sku, 3)
        assert await sold(sku) == {7: 3, 40: 3, None: 2}


async def test_buyers_at_once_never_pass_a_nearer_day() -> None:
    sku = await stocked.sku(60)
    await dated(sku, {None: 20, 50: 20, 10: 20})
    with clock.use(lambda: NOON):
        await asyncio.gather(*(stocked.order(sku) for _ in range(20)))
        first = await sold(sku)
        await asyncio.gather(*(stocked.order(sku) for _ in range(20)))
    # A code that another buyer holds locked may be passed; none waits until a later day is bought out.
    assert first[None] == 0
    assert (await sold(sku))[10] == 20


async def test_a_code_near_its_end_is_not_sold() -> None:
    sku = await stocked.sku(4)
    await db.execute("UPDATE catalog_sku SET min_days_left = 5 WHERE id = $1", sku.id)
    await dated(sku, {-1: 1, 0: 1, 4: 1, 5: 1})
    with clock.use(lambda: NOON):
        assert await stock.free_counts([sku.id]) == {sku.id: 1}
        await stocked.order(sku)
        with pytest.raises(SoldOut):
            await stocked.order(sku)
    assert await sold(sku) == {5: 1}


async def test_a_late_payment_gets_no_code_near_its_end_either() -> None:
    sku = await stocked.sku(2)
    await dated(sku, {0: 1, 30: 1})
    with clock.use(lambda: NOON):
        placed = await stocked.order(sku)
        await db.execute(
            "UPDATE vault_code SET state = 'void', line_id = NULL, reserved_until = NULL"
            " WHERE sku_id = $1 AND state = 'reserved'",
            sku.id,
        )
        settled = await settle("epay", stocked.paid(placed), "callback")
    assert settled.outcome is Outcome.NEEDS_REVIEW
    assert await stocked.codes_by_state(sku) == {"free": 1, "void": 1}


async def test_the_day_is_that_of_the_shop() -> None:
    """Half past eight in the evening in Greenwich is the next morning in Shanghai."""
    sku = await stocked.sku(1)
    await db.execute("UPDATE catalog_sku SET min_days_left = 0 WHERE id = $1", sku.id)
    await dated(sku, {0: 1})
    assert (await shops.main_shop()).timezone == "Asia/Shanghai"
    with clock.use(lambda: datetime(2026, 11, 22, 20, 30, tzinfo=UTC)):
        assert await stock.free_counts([sku.id]) == {sku.id: 0}
        with pytest.raises(SoldOut):
            await stocked.order(sku)
    with clock.use(lambda: datetime(2026, 11, 22, 15, 30, tzinfo=UTC)):
        await stocked.order(sku)


async def test_codes_near_their_end_leave_the_shelf_and_come_back_when_the_limit_is_lowered() -> None:
    sku = await stocked.sku(3)
    await dated(sku, {2: 1, 9: 1, None: 1})
    await db.execute("UPDATE catalog_sku SET min_days_left = 5 WHERE id = $1", sku.id)
    with clock.use(lambda: NOON):
        await stock.set_aside_ending()
        assert await stocked.codes_by_state(sku) == {"quarantined": 1, "free": 2}
        await db.execute("UPDATE catalog_sku SET min_days_left = 1 WHERE id = $1", sku.id)
        await stock.set_aside_ending()
        assert await stocked.codes_by_state(sku) == {"free": 3}


async def test_the_database_and_the_program_count_days_alike() -> None:
    days = [date(1999, 1, 1), date(2020, 1, 1), TODAY, date(2064, 11, 8), date(2064, 11, 9), date(9999, 12, 31)]
    for day in days:
        assert await db.fetchval("SELECT vault_first_slot($1)", day) == stock.first_slot(day)
        low, high = stock.slot(bytes(32), day), stock.slot(b"\xff" * 32, day)
        assert low == stock.first_slot(day) and high == low + stock.SLOTS_OF_DAY - 1 < 0
    assert (stock.slot(bytes(32), None), stock.slot(b"\xff" * 32, None)) == (0, 2**31 - 1)


@pytest.mark.parametrize(
    "wrong",
    ["slot = -1", "expires_on = '2027-01-01'", "expires_on = '2027-01-01', slot = vault_first_slot('2027-01-02')"],
)
async def test_a_slot_of_another_day_is_refused(wrong: str) -> None:
    sku = await stocked.sku(1)
    with pytest.raises(asyncpg.CheckViolationError):
        await db.execute(f"UPDATE vault_code SET {wrong} WHERE sku_id = $1", sku.id)


async def test_a_sale_is_planned_once() -> None:
    """Were the plans without the values the costlier ones in PostgreSQL's eyes, each sale would be planned anew."""
    sku = await stocked.sku(40)
    for _ in range(40):
        placed = await stocked.order(sku)
        await settle("epay", stocked.paid(placed), "callback")
    plans: Counter[str] = Counter()
    for connection in [await db._steady.acquire() for _ in range(db._steady.pool.get_size())]:
        for row in await connection.fetch(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = ANY($1)",
            [PLACE + PLACED, SETTLE],
        ):
            plans["custom"] += row["custom_plans"]
            plans["generic"] += row["generic_plans"]
        await db._steady.release(connection)
    assert plans["custom"] == 0
    assert plans["generic"] >= 80
