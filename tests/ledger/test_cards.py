"""Topping up by buying: a value card of the shop is emptied into a balance, once, for exactly what is left on it."""

import asyncio

import pytest

from core import db
from core.balances import cards
from core.checkout.settle import settle
from core.insight import breakdown, span
from core.ledger import customers
from core.ledger import service as ledger
from core.money import Money
from core.redemption.redeem import redeem
from core.refused import Refused
from core.shops import service as shops
from tests import stocked
from tests.redemption.own import a_code, new_id, own_batch, texts, till, voucher

pytestmark = pytest.mark.usefixtures("pool")

ME = till("buyer:1", "/balance")


async def held(contact: str) -> list[int]:
    return [balance.money.amount for balance in await customers.of_contact(1, contact)]


async def test_a_card_bought_here_becomes_balance_and_is_no_revenue_any_more():
    what = await stocked.sku(0, price=10000)
    batch_id = await own_batch(what=what, on_paper=False, face_value=10000)
    placed = await stocked.order(what)
    await settle("epay", stocked.paid(placed, 10000), "callback")
    assert await ledger.balance(1, "revenue", "CNY") == -10000
    [code] = await texts(batch_id)
    assert await cards.put_in(ME, "ann@example.com", new_id(), code) == Money(10000, "CNY")
    assert await held("ann@example.com") == [10000]
    assert await ledger.balance(1, "revenue", "CNY") == 0
    assert (await voucher(code))["balance"] == 0
    assert await customers.out_of_step() == []


async def test_a_card_that_became_balance_earned_nothing_and_leads_to_its_order_and_its_holder_to_none():
    what = await stocked.sku(0, price=9500)
    batch_id = await own_batch(what=what, on_paper=False, face_value=10000)
    placed = await stocked.order(what)
    await settle("epay", stocked.paid(placed, 9500), "callback")
    await cards.put_in(ME, "given@example.com", new_id(), (await texts(batch_id))[0])
    shop = await shops.main_shop()
    [table] = await breakdown.of(shop, span.of("today", None, None, shop.timezone), "sku")
    [row] = [row for row in table.rows if row.key == what.code]
    assert (row.sales.amount, row.cost.amount, row.profit.amount) == (9500, 10000, -500)
    booked = "SELECT count(*) FROM ledger_entry WHERE kind = 'balance_card' AND order_id = $1"
    assert await db.fetchval(booked, placed.order_id) == 1
    [balance] = await customers.of_contact(1, "given@example.com")
    assert [(change.kind, change.order_ref) for change in await customers.history(balance, 9)] == [
        ("balance_card", None)
    ]


async def test_only_what_is_left_goes_in_and_a_second_click_gives_the_first_answer():
    code = await a_code(face_value=5000)
    await redeem(till(), new_id(), code, 1250, "CNY")
    goodwill, key = await ledger.balance(1, "goodwill", "CNY"), new_id()
    for _click in range(2):
        assert await cards.put_in(ME, "bob@example.com", key, code) == Money(3750, "CNY")
    assert await held("bob@example.com") == [3750]
    assert await ledger.balance(1, "goodwill", "CNY") == goodwill + 3750
    with pytest.raises(Refused, match="used up"):
        await cards.put_in(ME, "bob@example.com", new_id(), code)
    assert await held("bob@example.com") == [3750]


async def test_ten_at_once_put_one_card_in_once():
    code = await a_code(face_value=2000)

    async def one(number: int) -> bool:
        try:
            await cards.put_in(till(f"buyer:{number}", "/balance"), f"many{number}@example.com", new_id(), code)
        except Refused:
            return False
        return True

    assert sum(await asyncio.gather(*(one(number) for number in range(10)))) == 1
    balances = [await held(f"many{number}@example.com") for number in range(10)]
    assert sorted(balances, reverse=True)[:2] == [[2000], []]


async def test_what_is_no_value_card_of_this_shop_puts_nothing_in():
    single = await a_code()
    for code, why in ((single, "no value card"), ("7K2M9", "mistyped"), (single[:-1] + "!", "mistyped")):
        with pytest.raises(Refused, match=why):
            await cards.put_in(ME, "eve@example.com", new_id(), code)
    assert await held("eve@example.com") == []
    assert (await voucher(single))["balance"] == 1


async def test_a_card_from_a_test_order_is_worth_nothing():
    what = await stocked.sku(0)
    batch_id = await own_batch(what=what, on_paper=False, face_value=3000)
    placed = await stocked.order(what, test=True)
    await settle("epay", stocked.paid(placed), "callback")
    [code] = await texts(batch_id)
    entries = await db.fetchval("SELECT count(*) FROM ledger_entry")
    with pytest.raises(Refused, match="test order"):
        await cards.put_in(ME, "eve@example.com", new_id(), code)
    assert await held("eve@example.com") == []
    assert (await voucher(code))["balance"] == 3000
    assert await db.fetchval("SELECT count(*) FROM ledger_entry") == entries
