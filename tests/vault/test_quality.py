"""Suspect codes, codes for many buyers, and SKUs that run low."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from core import clock, db
from core.checkout.place import SoldOut
from core.checkout.settle import Outcome, settle
from core.fulfilment import jobs
from core.ledger import bookkeeping
from core.ledger import service as ledger
from core.messages import compose
from core.orders import service as orders
from core.refused import Refused
from core.shops import service as shops
from core.vault import cipher, import_service, low_stock, quarantine, reusable, stock
from core.vault.import_service import UploadError
from core.vault.piccolo_migrations import vault_2026_11_23_holds
from core.vault.quarantine import Held
from core.vault.reusable import NewCode
from tests import stocked

pytestmark = pytest.mark.usefixtures("pool")


async def batch_of(sku: stocked.Sku) -> int:
    return int(await db.fetchval("SELECT max(id) FROM vault_batch WHERE sku_id = $1", sku.id))


async def audited(act: str) -> int:
    return int(await db.fetchval("SELECT count(*) FROM audit_entry WHERE act = $1", act))


async def hold(sku: stocked.Sku, reason: str = "bad lot") -> Held:
    return await db.transaction(quarantine.hold_batch, 1, await batch_of(sku), reason, await stocked.staff_member())


async def newest_hold() -> int:
    return int(await db.fetchval("SELECT max(id) FROM vault_hold"))


# -- set aside --------------------------------------------------------------------------


async def test_a_batch_is_set_aside_put_back_and_written_off() -> None:
    sku = await stocked.sku(4)
    sold = await stocked.order(sku)
    await settle("epay", stocked.paid(sold), "callback")
    before = await audited("codes.held")
    assert await hold(sku) == Held(3, 0, [sold.ref])
    assert await stocked.codes_by_state(sku) == {"delivered": 1, "quarantined": 3}
    assert await audited("codes.held") == before + 1
    with pytest.raises(SoldOut):
        await stocked.order(sku)

    staff = await stocked.staff_member()
    assert await db.transaction(quarantine.put_all_back, 1, await newest_hold(), staff) == 3
    assert await stocked.codes_by_state(sku) == {"delivered": 1, "free": 3}
    await hold(sku)
    assert await db.transaction(quarantine.write_all_off, 1, await newest_hold(), staff) == 3
    assert await stocked.codes_by_state(sku) == {"delivered": 1, "void": 3}
    assert await db.transaction(quarantine.put_all_back, 1, await newest_hold(), staff) == 0
    assert await stocked.codes_by_state(sku) == {"delivered": 1, "void": 3}


@pytest.mark.parametrize("decide", [quarantine.put_all_back, quarantine.write_all_off])
async def test_deciding_about_a_whole_batch_may_take_long(decide: Callable[..., Awaitable[int]]) -> None:
    sku = await stocked.sku(3)
    await hold(sku)
    staff, hold_id = await stocked.staff_member(), await newest_hold()

    async def slowly(tx: db.Tx) -> int:
        await tx.execute(
            "CREATE FUNCTION pg_temp.slow() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END'"
        )
        await tx.execute(
            "CREATE TRIGGER slow BEFORE UPDATE ON vault_code FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.slow()"
        )
        await tx.execute("SET LOCAL statement_timeout = 250")
        count = await decide(tx, 1, hold_id, staff)
        await tx.execute("DROP TRIGGER slow ON vault_code; DROP FUNCTION pg_temp.slow")
        return count

    assert await db.transaction(slowly) == 3


async def test_what_was_written_off_is_booked_at_its_cost() -> None:
    sku = await stocked.sku(2)
    await db.execute("UPDATE vault_batch SET unit_cost = 700 WHERE sku_id = $1", sku.id)
    await hold(sku)
    await db.transaction(quarantine.write_all_off, 1, await newest_hold(), await stocked.staff_member())
    rows = await db.fetch(
        "SELECT entry.amount, debit.code AS debit, credit.code AS credit FROM ledger_entry entry"
        " JOIN ledger_account debit ON debit.id = entry.debit_id"
        " JOIN ledger_account credit ON credit.id = entry.credit_id WHERE entry.kind = 'written_off'"
    )
    assert [tuple(row) for row in rows] == [(1400, "cost", "stock")]


async def test_a_batch_whose_codes_were_written_off_stays_in_the_books() -> None:
    sku = await stocked.sku(3)
    await db.execute("UPDATE vault_batch SET unit_cost = 700, demo = false WHERE sku_id = $1", sku.id)
    await bookkeeping.keep()
    held = await db.fetchval("SELECT code.id FROM vault_code code WHERE sku_id = $1 LIMIT 1", sku.id)
    before = await ledger.balance(1, "stock", "CNY")
    await hold(sku)
    await db.transaction(quarantine.write_off, 1, [held], await stocked.staff_member())
    with pytest.raises(UploadError) as refusal:
        await db.transaction(import_service.undo, 1, await batch_of(sku))
    assert refusal.value.reason == "written_off"
    await bookkeeping.keep()
    assert await ledger.balance(1, "stock", "CNY") == before - 700
    assert await stocked.codes_by_state(sku) == {"quarantined": 2, "void": 1}


async def test_single_codes_are_found_by_their_text() -> None:
    sku = await stocked.sku(3)
    staff = await stocked.staff_member()
    pasted = f"{sku.codes[0]}\r\n\n  {sku.codes[1]} \nNOBODY-KNOWS-THIS\n{sku.codes[0]}"
    held = await db.transaction(quarantine.hold_codes, 1, pasted, "supplier takes them back", staff)
    assert held == Held(2, 0, [], 1)
    assert await stocked.codes_by_state(sku) == {"free": 1, "quarantined": 2}
    reasons = "SELECT reason FROM vault_code code JOIN vault_hold hold ON hold.id = hold_id WHERE code.sku_id = $1"
    assert [row["reason"] for row in await db.fetch(reasons, sku.id)] == ["supplier takes them back"] * 2
    detail = await db.fetchval("SELECT detail::text FROM audit_entry WHERE act = 'codes.held' ORDER BY id DESC LIMIT 1")
    assert sku.codes[0] not in detail


async def test_of_a_batch_only_one_lot_is_set_aside() -> None:
    sku = await stocked.sku(3)
    await db.execute(
        "UPDATE vault_code SET note = 'lot 7' WHERE id IN (SELECT id FROM vault_code WHERE sku_id = $1 LIMIT 2)", sku.id
    )
    staff, batch = await stocked.staff_member(), await batch_of(sku)
    with pytest.raises(Refused) as refused:
        await db.transaction(quarantine.hold_batch, 1, batch, "bad", staff, "lot 8")
    assert refused.value.field == "lot"
    assert await stocked.codes_by_state(sku) == {"free": 3}
    assert await db.transaction(quarantine.hold_batch, 1, batch, "bad", staff, "lot 7") == Held(2, 0, [])
    assert await stocked.codes_by_state(sku) == {"free": 1, "quarantined": 2}


@pytest.mark.parametrize(("pasted", "reason", "field"), [("", "why", "codes"), ("ABC", " ", "reason")])
async def test_nothing_is_set_aside_without_codes_or_a_reason(pasted: str, reason: str, field: str) -> None:
    holds = await db.fetchval("SELECT count(*) FROM vault_hold")
    with pytest.raises(Refused) as refused:
        await db.transaction(quarantine.hold_codes, 1, pasted, reason, await stocked.staff_member())
    assert refused.value.field == field
    assert await db.fetchval("SELECT count(*) FROM vault_hold") == holds


async def test_a_batch_of_another_shop_is_not_there() -> None:
    sku = await stocked.sku(1)
    with pytest.raises(Refused):
        await db.transaction(quarantine.hold_batch, 2, await batch_of(sku), "no", await stocked.staff_member())
    await hold(sku)
    staff, ids = await stocked.staff_member(), [1, *range(1, 100_000)]
    assert await db.transaction(quarantine.put_all_back, 2, await newest_hold(), staff) == 0
    assert await db.transaction(quarantine.put_back, 2, ids, staff) == 0
    assert await db.transaction(quarantine.write_off, 2, ids, staff) == 0
    assert await stocked.codes_by_state(sku) == {"quarantined": 1}


async def test_a_suspect_reserved_code_is_not_delivered_when_there_is_another() -> None:
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    assert await hold(sku) == Held(0, 1, [])
    assert await stocked.codes_by_state(sku) == {"reserved": 1}
    await stocked.stock_up(sku.id, ["GOOD-CODE-0001"])
    assert (await settle("epay", stocked.paid(placed), "callback")).outcome is Outcome.DELIVERED
    rows = await db.fetch("SELECT state, hold_id IS NOT NULL AS suspect, line_id IS NOT NULL AS given FROM vault_code"
                          " WHERE sku_id = $1 ORDER BY id", sku.id)  # fmt: skip
    assert [tuple(row) for row in rows] == [("quarantined", True, False), ("delivered", False, True)]


async def test_a_suspect_reserved_code_is_not_delivered_when_there_is_no_other() -> None:
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await hold(sku)
    assert (await settle("epay", stocked.paid(placed), "callback")).outcome is Outcome.NEEDS_REVIEW
    assert await stocked.codes_by_state(sku) == {"quarantined": 1}


async def test_a_reserved_code_that_is_good_after_all_is_delivered() -> None:
    sku = await stocked.sku(2)
    placed = await stocked.order(sku)
    assert await hold(sku) == Held(1, 1, [])
    held = await db.fetchval("SELECT id FROM vault_code WHERE sku_id = $1 AND state = 'reserved'", sku.id)
    await db.transaction(quarantine.put_all_back, 1, await newest_hold(), await stocked.staff_member())
    assert (await settle("epay", stocked.paid(placed), "callback")).outcome is Outcome.DELIVERED
    given = await db.fetchval("SELECT id FROM vault_code WHERE sku_id = $1 AND state = 'delivered'", sku.id)
    assert given == held


async def test_a_suspect_code_that_comes_back_is_set_aside() -> None:
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await hold(sku)
    await orders.cancel(placed.order_id, "buyer")
    assert await stocked.codes_by_state(sku) == {"quarantined": 1}


async def test_buyers_at_once_get_nothing_of_a_batch_that_is_set_aside_meanwhile() -> None:
    sku = await stocked.sku(30)
    placing = [asyncio.create_task(stocked.order(sku)) for _ in range(20)]
    held = await hold(sku)
    done = await asyncio.gather(*placing, return_exceptions=True)
    sold = [one for one in done if not isinstance(one, SoldOut)]
    assert held.aside == 30 - len(sold)
    states = await stocked.codes_by_state(sku)
    assert states == {key: n for key, n in {"quarantined": held.aside, "reserved": len(sold)}.items() if n}
    marked = await db.fetchval(
        "SELECT count(*) FROM vault_code WHERE sku_id = $1 AND state = 'reserved' AND hold_id IS NOT NULL", sku.id
    )
    assert marked == held.reserved


# -- for many buyers --------------------------------------------------------------------


async def shared(sku: stocked.Sku, cap: int, text: str = "https://example.com/licence/EVERYBODY") -> int:
    new = NewCode(sku.id, "licence", f"{text}/{sku.code}", cap)
    return await db.transaction(reusable.add, 1, new, await stocked.staff_member())


async def test_a_reusable_code_is_given_as_often_as_its_cap() -> None:
    sku = await stocked.sku(0)
    await shared(sku, 5)
    done = await asyncio.gather(*(stocked.order(sku) for _ in range(25)), return_exceptions=True)
    assert Counter(isinstance(one, SoldOut) for one in done) == {True: 20, False: 5}
    for placed in done:
        if not isinstance(placed, BaseException):
            await settle("epay", stocked.paid(placed), "callback")
    assert await stocked.codes_by_state(sku) == {"delivered": 5}
    lines = await db.fetch("SELECT count(DISTINCT line_id) AS lines, count(DISTINCT mask) AS masks FROM vault_code"
                           " WHERE sku_id = $1", sku.id)  # fmt: skip
    assert tuple(lines[0]) == (5, 1)


async def test_a_counter_that_is_read_first_gives_more_than_its_cap() -> None:
    """The control: one row with a counter, looked at before it is raised."""
    await db.execute("CREATE TABLE careless_counter (given int)")
    await db.execute("INSERT INTO careless_counter VALUES (4)")
    ready = asyncio.Barrier(8)
    given = []

    async def careless(tx: db.Tx) -> None:
        before = await tx.fetchval("SELECT given FROM careless_counter")
        await ready.wait()
        if before < 5:
            await tx.execute("UPDATE careless_counter SET given = $1", before + 1)
            given.append(before + 1)

    await asyncio.gather(*(db.transaction(careless) for _ in range(8)))
    assert 4 + len(given) > 5
    await db.execute("DROP TABLE careless_counter")


async def test_the_cap_is_raised_and_lowered_but_never_below_what_was_given() -> None:
    sku = await stocked.sku(0)
    staff = await stocked.staff_member()
    batch_id = await shared(sku, 2)
    await stocked.order(sku)
    await db.transaction(reusable.set_cap, 1, batch_id, 4, staff)
    assert await stocked.codes_by_state(sku) == {"free": 3, "reserved": 1}
    await db.transaction(reusable.set_cap, 1, batch_id, 1, staff)
    assert await stocked.codes_by_state(sku) == {"reserved": 1}
    await db.transaction(reusable.set_cap, 1, batch_id, 3, staff)
    for _ in range(2):
        await stocked.order(sku)
    with pytest.raises(Refused):
        await db.transaction(reusable.set_cap, 1, batch_id, 2, staff)
    assert await stocked.codes_by_state(sku) == {"reserved": 3}
    with pytest.raises(Refused):
        await db.transaction(reusable.set_cap, 2, batch_id, 9, staff)


async def test_a_code_for_many_is_known_by_its_text_however_low_its_cap_is() -> None:
    sku = await stocked.sku(0)
    staff = await stocked.staff_member()
    batch_id = await shared(sku, 3)
    text = f"https://example.com/licence/EVERYBODY/{sku.code}"
    first = cipher.fingerprint(1, text)
    await db.execute(
        "UPDATE vault_code SET state = 'reserved', line_id = 1 WHERE batch_id = $1 AND fingerprint <> $2",
        batch_id,
        first,
    )
    await db.transaction(reusable.set_cap, 1, batch_id, 2, staff)
    assert await stocked.codes_by_state(sku) == {"reserved": 2}
    assert await db.fetchval("SELECT count(*) FROM vault_code WHERE fingerprint = $1", first) == 1
    await db.transaction(reusable.set_cap, 1, batch_id, 4, staff)
    held = await db.transaction(quarantine.hold_codes, 1, text, "leaked", staff)
    assert held == Held(2, 2)


async def test_caps_raised_at_once_never_add_up() -> None:
    sku = await stocked.sku(0)
    staff = await stocked.staff_member()
    batch_id = await shared(sku, 2)
    await asyncio.gather(*(db.transaction(reusable.set_cap, 1, batch_id, 10, staff) for _ in range(8)))
    assert await stocked.codes_by_state(sku) == {"free": 10}


async def test_the_same_code_is_not_taken_twice() -> None:
    sku = await stocked.sku(0)
    batch_id = await shared(sku, 3)
    for text in (f"https://example.com/licence/EVERYBODY/{sku.code}", "", "two\nlines"):
        with pytest.raises(Refused) as refused:
            new = NewCode(sku.id, "again", text, 3)
            await db.transaction(reusable.add, 1, new, await stocked.staff_member())
        assert refused.value.field == "text"
    assert await stocked.codes_by_state(sku) == {"free": 3}
    held = await db.transaction(
        quarantine.hold_codes, 1, f"https://example.com/licence/EVERYBODY/{sku.code}", "leaked", 1
    )
    assert held == Held(3, 0, [], 0)
    await db.transaction(import_service.undo, 1, batch_id)
    assert await stocked.codes_by_state(sku) == {}


async def test_the_database_keeps_holds_and_their_codes_together() -> None:
    sku = await stocked.sku(1)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await db.execute("UPDATE vault_code SET hold_id = 0 WHERE sku_id = $1", sku.id)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await db.execute(
            "INSERT INTO vault_code (shop_id, sku_id, batch_id, slot, blob, fingerprint, mask, hold_id)"
            " SELECT shop_id, sku_id, batch_id, slot + 1, blob, sha256(fingerprint), mask, 0"
            " FROM vault_code WHERE sku_id = $1",
            sku.id,
        )
    await hold(sku)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await db.execute("DELETE FROM vault_hold WHERE id = $1", await newest_hold())
    assert await stocked.codes_by_state(sku) == {"quarantined": 1}


async def test_the_database_refuses_a_place_twice() -> None:
    sku = await stocked.sku(0)
    batch_id = await shared(sku, 1)
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.execute(
            "INSERT INTO vault_code (shop_id, sku_id, batch_id, slot, blob, fingerprint, mask)"
            " SELECT shop_id, sku_id, batch_id, slot, blob, fingerprint, mask FROM vault_code WHERE batch_id = $1",
            batch_id,
        )


# -- running low ------------------------------------------------------------------------


async def mails() -> int:
    return int(await db.fetchval("SELECT count(*) FROM messages_message WHERE event = 'low_stock'"))


async def look() -> int:
    """One look of the job; how many mails it wrote."""
    before = await mails()
    await db.transaction(jobs.tell_of, await shops.main_shop())
    return await mails() - before


async def test_the_merchant_is_told_once_until_the_sku_is_refilled() -> None:
    staff = await stocked.staff_member()
    await db.execute("UPDATE people_staff SET locale = 'en' WHERE id = $1", staff)
    sku = await stocked.sku(4)
    await look()
    assert await look() == 0
    held = [await stocked.order(sku) for _ in range(2)]
    assert await look() == 1
    assert await look() == 0
    mail = await db.fetchrow("SELECT * FROM messages_message WHERE event = 'low_stock' ORDER BY id DESC LIMIT 1")
    written = await compose.shown(mail, "https://shop.example")
    assert f"({sku.code}): 2 left" in written.body.text
    assert "https://shop.example/admin/stock" in written.body.text
    assert sku.id in [row["id"] for row in await low_stock.now_low(1)]

    for placed in held:
        await orders.cancel(placed.order_id, "buyer")
    assert await look() == 0
    held = [await stocked.order(sku) for _ in range(2)]
    assert await look() == 0, "a cancelled order is no refill"

    await stocked.stock_up(sku.id, [f"REFILL-{number}-{sku.code}" for number in range(5)])
    assert await look() == 0
    for _ in range(5):
        await stocked.order(sku)
    assert await look() == 1


async def test_a_higher_cap_and_codes_that_are_put_back_are_a_refill() -> None:
    staff = await stocked.staff_member()
    many, few = await stocked.sku(0), await stocked.sku(5)
    batch_id = await shared(many, 2)
    await look()
    await hold(few)
    assert await look() == 1

    await db.transaction(reusable.set_cap, 1, batch_id, 9, staff)
    await db.transaction(quarantine.put_all_back, 1, await newest_hold(), staff)
    assert await look() == 0
    for sku in (many, few):
        await db.execute("UPDATE vault_code SET state = 'void' WHERE sku_id = $1", sku.id)
        assert await look() == 1


async def test_codes_that_end_too_soon_do_not_count_as_stock() -> None:
    sku = await stocked.sku(9)
    await look()
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    ends = date(2026, 11, 22) + timedelta(days=20)
    await db.execute(
        "UPDATE vault_code SET expires_on = $2, slot = vault_first_slot($2) WHERE sku_id = $1", sku.id, ends
    )
    with clock.use(lambda: noon):
        assert sku.id not in [row["id"] for row in await low_stock.now_low(1)]
    with clock.use(lambda: noon + timedelta(days=20)):
        assert [row["free"] for row in await low_stock.now_low(1) if row["id"] == sku.id] == [0]
        assert await stock.free_counts([sku.id]) == {sku.id: 0}


async def test_a_sku_without_any_batch_is_not_running_low() -> None:
    sku = await stocked.sku(5)
    await db.execute("DELETE FROM vault_code WHERE sku_id = $1", sku.id)
    await db.execute("DELETE FROM vault_batch WHERE sku_id = $1", sku.id)
    assert await look() == 0


async def test_only_those_who_look_after_the_stock_are_told() -> None:
    for role in ("stock", "support", "finance", "readonly"):
        await db.execute(
            "INSERT INTO people_staff (shop_id, email, role) VALUES (1, $1, $2)", f"{role}@example.com", role
        )
    await db.execute(
        "INSERT INTO people_staff (shop_id, email, role, disabled_at) VALUES (1, 'gone@example.com', 'owner', now())"
    )
    sku = await stocked.sku(1)
    assert await look() == 2
    told = await db.fetch("SELECT recipient FROM messages_message WHERE event = 'low_stock' ORDER BY id DESC LIMIT 2")
    assert {row["recipient"] for row in told} == {"a@b.cd", "stock@example.com"}
    assert sku.id in [row["id"] for row in await low_stock.now_low(1)]


AS_IT_WAS_FOR_A_WHILE = """
ALTER TABLE vault_code DROP CONSTRAINT vault_code_hold_id_fkey;
CREATE FUNCTION vault_code_hold_guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE CONSTRAINT TRIGGER vault_code_held AFTER UPDATE OF hold_id ON vault_code FOR EACH ROW
    EXECUTE FUNCTION vault_code_hold_guard();
CREATE FUNCTION vault_hold_guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
CREATE TRIGGER vault_hold_kept BEFORE DELETE ON vault_hold FOR EACH ROW EXECUTE FUNCTION vault_hold_guard();
"""
GUARDS_OF_HOLDS = """
SELECT conname FROM pg_constraint WHERE conname = 'vault_code_hold_id_fkey' UNION ALL
SELECT tgname FROM pg_trigger WHERE tgname IN ('vault_code_held', 'vault_hold_kept') UNION ALL
SELECT proname FROM pg_proc WHERE proname IN ('vault_code_hold_guard', 'vault_hold_guard')
"""


@pytest.mark.parametrize("before", ["SELECT 1", AS_IT_WAS_FOR_A_WHILE], ids=["with its key", "with triggers"])
async def test_codes_and_holds_get_their_key_whatever_the_shop_had(pool, before: str) -> None:
    for statements in (before, vault_2026_11_23_holds.SQL):
        await db.transaction(lambda tx, given=statements: tx.connection.execute(given))
    assert [row["conname"] for row in await db.fetch(GUARDS_OF_HOLDS)] == ["vault_code_hold_id_fkey"]
