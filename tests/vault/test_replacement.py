"""A bad code is reported once and replaced once; the chain stays readable and the old code is not shown again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from core import db
from core.checkout.settle import settle
from core.fulfilment import replacement
from core.fulfilment.replacement import Reporter
from core.ids import new_token, token_hash
from core.orders import service as orders
from core.orders.view import order_view
from core.refused import Refused
from core.vault import replace, reusable
from core.vault.reusable import NewCode
from tests import stocked

pytestmark = pytest.mark.usefixtures("pool")


@dataclass(frozen=True)
class Sold:
    sku: stocked.Sku
    ref: str
    order_id: int
    session: bytes
    codes: list[int]

    @property
    def who(self) -> Reporter:
        return Reporter(self.session, "127.0.0.1", "test")


async def sold(free: int = 3, quantity: int = 1, what: stocked.Sku | None = None) -> Sold:
    """A delivered order, with so many codes left in stock."""
    sku = what or await stocked.sku(quantity + free)
    token = new_token()
    placed = await stocked.order(sku, quantity, stocked.buyer(session=token))
    await settle("epay", stocked.paid(placed, 1990 * quantity), "callback")
    rows = await db.fetch("SELECT id FROM vault_code WHERE sku_id = $1 AND state = 'delivered' ORDER BY id", sku.id)
    return Sold(sku, placed.ref, placed.order_id, token_hash(token), [row["id"] for row in rows])


async def give(of: Sold, code: int | None = None, shop: int = 1) -> replacement.Replaced:
    code = of.codes[0] if code is None else code
    return await replacement.give_another(shop, of.ref, code, "does not work", await stocked.staff_member())


async def count(sql: str, *args: Any) -> int:
    return int(await db.fetchval(f"SELECT count(*) FROM {sql}", *args))


async def questions(of: Sold) -> list[tuple[str, str]]:
    rows = await db.fetch("SELECT state, resolution FROM review_item WHERE order_id = $1 ORDER BY id", of.order_id)
    return [(row["state"], row["resolution"]) for row in rows]


async def shown_to_buyer(of: Sold) -> list[int]:
    row = await orders.for_session(of.ref, of.session)
    assert row is not None
    return [code.id for code in order_view(row).kept_codes]


async def test_a_bad_code_is_replaced_and_the_chain_stays() -> None:
    one = await sold()
    done = await give(one)
    chain = await replace.chain(one.order_id)
    assert (chain[0]["id"], chain[0]["new_mask"]) == (one.codes[0], done.mask)
    assert [row["replaced_by"] for row in chain] == [chain[1]["id"], None]
    assert await stocked.codes_by_state(one.sku) == {"delivered": 2, "free": 2}
    assert await shown_to_buyer(one) == [chain[1]["id"]]
    assert await count("orders_event WHERE order_id = $1 AND kind = 'code_replaced'", one.order_id) == 1
    assert await count("audit_entry WHERE act = 'code.replaced' AND object = 'order:' || $1", one.ref) == 1
    mails = await db.fetch("SELECT event FROM messages_message WHERE order_id = $1 ORDER BY id", one.order_id)
    assert [row["event"] for row in mails] == ["order_delivered", "code_replaced"]


async def test_a_replacement_can_be_replaced_in_its_turn() -> None:
    one = await sold()
    await give(one)
    second = (await replace.chain(one.order_id))[1]["id"]
    await give(one, second)
    chain = await replace.chain(one.order_id)
    assert [row["replaced_by"] for row in chain] == [chain[1]["id"], chain[2]["id"], None]
    assert await shown_to_buyer(one) == [chain[2]["id"]]


async def test_only_the_bad_one_of_several_is_replaced() -> None:
    one = await sold(quantity=3)
    await give(one, one.codes[1])
    shown = await shown_to_buyer(one)
    assert len(shown) == 3
    assert one.codes[1] not in shown
    assert {one.codes[0], one.codes[2]} < set(shown)


async def test_many_at_once_give_one_code() -> None:
    one = await sold(free=20)
    done = await asyncio.gather(*(give(one) for _ in range(12)), return_exceptions=True)
    assert sum(isinstance(each, Refused) for each in done) == 11
    assert await stocked.codes_by_state(one.sku) == {"delivered": 2, "free": 19}
    assert await count("messages_message WHERE order_id = $1 AND event = 'code_replaced'", one.order_id) == 1


async def test_without_the_lock_and_the_mark_two_are_given_for_one() -> None:
    """The control: look whether it was replaced, then give, as a careless program would."""
    one = await sold(free=20)
    line = await db.fetchval("SELECT line_id FROM vault_code WHERE id = $1", one.codes[0])
    ready = asyncio.Barrier(6)

    async def careless(tx: db.Tx) -> None:
        replaced = await tx.fetchval("SELECT replaced_by FROM vault_code WHERE id = $1", one.codes[0])
        await ready.wait()
        if replaced is None:
            await tx.execute(
                "UPDATE vault_code SET state = 'delivered', line_id = $2, delivered_at = now() WHERE id = ("
                "SELECT id FROM vault_code WHERE sku_id = $1 AND state = 'free' LIMIT 1 FOR UPDATE SKIP LOCKED)",
                one.sku.id,
                line,
            )

    await asyncio.gather(*(db.transaction(careless) for _ in range(6)))
    assert await stocked.codes_by_state(one.sku) == {"delivered": 7, "free": 14}


async def test_the_database_refuses_a_second_code_for_one_and_one_code_for_two() -> None:
    one = await sold(quantity=2)
    await give(one)
    bad, good, new = (row["id"] for row in await replace.chain(one.order_id))
    for value, error in ((good, asyncpg.CheckViolationError), (None, asyncpg.CheckViolationError)):
        with pytest.raises(error):
            await db.execute("UPDATE vault_code SET replaced_by = $2 WHERE id = $1", bad, value)
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.execute("UPDATE vault_code SET replaced_by = $2 WHERE id = $1", good, new)
    assert [row["replaced_by"] for row in await replace.chain(one.order_id)] == [new, None, None]


async def test_without_stock_it_waits_and_is_one_click_later() -> None:
    one = await sold(free=0)
    assert (await give(one)).mask == ""
    assert (await give(one)).mask == ""
    assert await questions(one) == [("open", "")]
    assert await stocked.codes_by_state(one.sku) == {"delivered": 1}
    await stocked.stock_up(one.sku.id, [f"LATER-{one.ref}"])
    assert (await give(one)).mask
    assert await questions(one) == [("done", "replaced")]


async def test_a_buyer_reports_a_code_once() -> None:
    one = await sold()
    await replacement.report(one.ref, one.codes[0], "used", "  it says: taken  ", one.who)
    item = await db.fetchrow("SELECT * FROM review_item WHERE order_id = $1", one.order_id)
    assert item is not None
    assert (item["kind"], item["state"]) == ("bad_code", "open")
    assert item["data"]["note"] == "it says: taken"
    assert item["data"]["shown"]["times"] == 0
    assert one.sku.codes[0] not in str(dict(item))
    with pytest.raises(Refused):
        await replacement.report(one.ref, one.codes[0], "used", "", one.who)
    assert await questions(one) == [("open", "")]
    row = await orders.for_session(one.ref, one.session)
    assert row is not None
    assert [code.reported for code in order_view(row).codes] == [True]
    await give(one)
    assert await questions(one) == [("done", "replaced")]


async def test_reports_at_once_ask_one_question() -> None:
    one = await sold()
    done = await asyncio.gather(
        *(replacement.report(one.ref, one.codes[0], "used", "", one.who) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(each, Refused) for each in done) == 7
    assert await questions(one) == [("open", "")]
    assert await count("orders_event WHERE order_id = $1 AND kind = 'code_reported'", one.order_id) == 1


async def test_nobody_reports_codes_of_others() -> None:
    one, other = await sold(), await sold()
    for ref, code, who in (
        (one.ref, one.codes[0], other.who),
        (one.ref, other.codes[0], one.who),
        ("VNOBODY", one.codes[0], one.who),
        (one.ref, 0, one.who),
    ):
        with pytest.raises(Refused):
            await replacement.report(ref, code, "used", "", who)
    with pytest.raises(Refused):
        await replacement.report(one.ref, one.codes[0], "<script>", "", one.who)
    assert await questions(one) == await questions(other) == []
    assert await count("vault_code WHERE reported_at IS NOT NULL AND sku_id = $1", one.sku.id) == 0


async def test_staff_of_another_shop_and_wrong_orders_replace_nothing() -> None:
    one, other = await sold(), await sold()
    for of, code, shop in ((one, None, 2), (one, other.codes[0], 1), (one, 0, 1)):
        with pytest.raises(Refused):
            await give(of, code, shop)
    await db.execute("UPDATE orders_order SET payment_state = 'refunded' WHERE id = $1", one.order_id)
    with pytest.raises(Refused):
        await give(one)
    assert await stocked.codes_by_state(one.sku) == {"delivered": 1, "free": 3}


async def test_a_code_that_is_good_closes_the_question() -> None:
    one = await sold()
    await replacement.report(one.ref, one.codes[0], "other", "", one.who)
    staff = await stocked.staff_member()
    await replacement.is_good(1, one.ref, one.codes[0], "works for us", staff)
    assert await questions(one) == [("done", "good")]
    with pytest.raises(Refused):
        await replacement.is_good(1, one.ref, one.codes[0], "again", staff)
    assert await stocked.codes_by_state(one.sku) == {"delivered": 1, "free": 3}


async def test_a_code_that_was_found_good_and_needs_another_after_all_waits_too() -> None:
    one = await sold(free=0)
    await replacement.report(one.ref, one.codes[0], "other", "", one.who)
    await replacement.is_good(1, one.ref, one.codes[0], "works for us", await stocked.staff_member())
    assert (await give(one)).mask == ""
    assert await questions(one) == [("open", "")]


async def test_a_reusable_code_is_not_replaced_by_itself() -> None:
    sku = await stocked.sku(0)
    new = NewCode(sku.id, "link", f"https://example.com/{sku.code}", 4)
    await db.transaction(reusable.add, 1, new, await stocked.staff_member())
    one = await sold(what=sku)
    assert (await give(one)).mask == ""
    await stocked.stock_up(sku.id, [f"OTHER-{sku.code}-0001"])
    assert (await give(one)).mask == "••••0001"


async def test_the_second_code_is_booked_at_its_cost_once() -> None:
    one = await sold()
    await db.execute("UPDATE vault_batch SET unit_cost = 650 WHERE sku_id = $1", one.sku.id)
    await give(one)
    rows = await db.fetch("SELECT amount FROM ledger_entry WHERE order_id = $1 AND kind = 'replacement'", one.order_id)
    assert [row["amount"] for row in rows] == [650]
