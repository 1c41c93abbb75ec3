"""The counter for programs: sold, paid from the partner's balance and delivered in one go, or nothing of it."""

import asyncio
from dataclasses import replace

import pytest

from core import db
from core.catalog import service as catalog
from core.checkout import selling
from core.checkout.channel import BalanceTooSmall, NotForSale, NothingLeft, SaleState, Wish
from core.checkout.selling import Counter
from core.ledger import service as ledger
from core.money import Money
from core.partners import accounts
from core.partners.accounts import Partner
from core.refused import Refused
from core.shops import service as shops
from tests import stocked
from tests.stocked import Sku


async def partner(name: str, money: int = 100_000, discount: int = 0) -> Partner:
    staff = await stocked.staff_member()
    keys = await accounts.make(1, name, discount, "", staff)
    made = await accounts.by_id(1, keys.partner_id)
    assert made is not None and made.secret.reveal() == keys.secret
    if money:
        await accounts.put_in(
            made, Money(money, "CNY"), cash=True, staff_id=staff, reason="paid", key=f"first-{name}", ip=None
        )
    return made


async def counter() -> Counter:
    return Counter(await shops.main_shop(), "test", "http://shop.test", "192.0.2.1")


def wish(what: Sku, reference: str, quantity: int = 1) -> Wish:
    return Wish(reference, what.id, quantity, {})


async def left(of: Partner) -> int:
    return (await accounts.balance_of(of, "CNY")).amount


async def rows() -> tuple[int, ...]:
    tables = ("orders_order", "orders_line", "payments_attempt", "payments_event", "ledger_entry", "partners_order")
    return tuple([await db.fetchval(f"SELECT count(*) FROM {table}") for table in tables])  # noqa: S608


async def test_a_sale_is_whole_and_the_books_are_exact():
    sku, buyer, till = await stocked.sku(5), await partner("whole", discount=750), await counter()
    sold = await till.sell(buyer, wish(sku, "R-1", 2))
    assert (sold.state, sold.unit_price, sold.total) == (SaleState.DELIVERED, Money(1841, "CNY"), Money(3682, "CNY"))
    assert await left(buyer) == 100_000 - 3682
    assert await ledger.balance(1, "gateway:balance", "CNY") == 0
    assert await ledger.balance(1, "deposits", "CNY") == 0
    goods = await till.goods(buyer, sold)
    assert len(goods) == 2 and set(goods) <= set(sku.codes)
    assert await db.fetchval("SELECT list_price FROM orders_line WHERE order_id = $1", sold.id) == 1990
    assert await db.fetchval("SELECT count(*) FROM vault_reveal WHERE session_hash = $1", buyer.session_hash) == 2
    assert await stocked.codes_by_state(sku) == {"delivered": 2, "free": 3}
    assert await db.fetchval("SELECT count(*) FROM messages_message") == 0
