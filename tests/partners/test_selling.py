"""The counter for programs: sold, paid from the partner's balance and delivered in one go, or nothing of it."""

import asyncio

import pytest

from core import db
from core.audit.person import Person
from core.catalog import service as catalog
from core.checkout import partner_news, selling
from core.checkout.channel import BalanceTooSmall, NotForSale, NothingLeft, Sale, SaleState, Wish, WrongWish
from core.checkout.selling import Counter
from core.ledger import customers
from core.ledger import service as ledger
from core.money import Money
from core.partners import accounts
from core.partners.accounts import Partner
from core.payments import refunds
from core.payments.money import payments_of
from core.shops import service as shops
from tests import stocked
from tests.stocked import Sku

MANY = 12


@pytest.fixture
async def till() -> Counter:
    return Counter(await shops.main_shop(), "test", "http://shop.test", "192.0.2.1")


def wish(what: Sku, reference: str, quantity: int = 1, url: str = "") -> Wish:
    return Wish(reference, what.id, quantity, {}, url)


async def left(of: Partner) -> int:
    return (await accounts.balance_of(of, "CNY")).amount


async def everything() -> dict[str, int]:
    tables = ("orders_order", "orders_line", "payments_attempt", "payments_event", "ledger_entry", "partners_order")
    return {table: await db.fetchval(f"SELECT count(*) FROM {table}") for table in tables}


async def test_a_sale_is_whole_and_the_books_are_exact(till):
    sku, buyer = await stocked.sku(5), await stocked.partner("whole", discount=750)
    sold = await till.sell(buyer, wish(sku, "R-1", 2))
    assert (sold.state, sold.unit_price, sold.total) == (SaleState.DELIVERED, Money(1841, "CNY"), Money(3682, "CNY"))
    assert await left(buyer) == 100_000 - 3682
    assert [await ledger.balance(1, code, "CNY") for code in ("gateway:balance", "deposits")] == [0, 0]
    assert await customers.out_of_step() == []
    goods = await till.goods(buyer, sold)
    assert len(goods) == 2 and set(goods) <= set(sku.codes)
    assert await db.fetchval("SELECT list_price FROM orders_line WHERE order_id = $1", sold.id) == 1990
    assert await db.fetchval("SELECT count(*) FROM vault_reveal WHERE session_hash = $1", buyer.session_hash) == 2
    assert await stocked.codes_by_state(sku) == {"delivered": 2, "free": 3}
    assert await db.fetchval("SELECT count(*) FROM messages_message") == 0


async def test_the_same_reference_is_the_same_order(till):
    sku, buyer, other = await stocked.sku(5), await stocked.partner("again"), await stocked.partner("stranger")
    first = await till.sell(buyer, wish(sku, "R-1"))
    assert await till.sell(buyer, wish(sku, "R-1", 3)) == first
    assert (await till.sell(other, wish(sku, "R-1"))).id != first.id
    assert await till.sale_of(buyer, "R-1") == first
    assert (await left(buyer), await left(other)) == (98_010, 98_010)


async def test_an_order_of_somebody_else_is_not_there_and_asking_leaves_an_alarm(till):
    sku, buyer, other = await stocked.sku(1), await stocked.partner("owner"), await stocked.partner("curious")
    sold = await till.sell(buyer, wish(sku, "R-1"))
    assert await till.sale(other, sold.id) is None
    assert await till.goods(other, sold) == ()
    assert await db.fetchval("SELECT count(*) FROM audit_alarm WHERE subject = 'partner:curious'") == 1
    assert await till.sale(other, sold.id + 1000) is None
    assert await db.fetchval("SELECT count(*) FROM audit_alarm WHERE subject = 'partner:curious'") == 1


async def test_a_refusal_changes_nothing(till):
    sku, poor, rich = await stocked.sku(2, most=5), await stocked.partner("poor", 1989), await stocked.partner("rich")
    unlisted = await stocked.sku(1)
    await db.execute("UPDATE catalog_sku SET listed = false WHERE id = $1", unlisted.id)
    before = await everything()
    for buyer, what, error in (
        (poor, wish(sku, "R-1"), BalanceTooSmall),
        (rich, wish(sku, "R-2", 3), NothingLeft),
        (rich, wish(sku, "R-3", 6), WrongWish),
        (rich, Wish("R-4", 999_999, 1, {}), NotForSale),
        (rich, wish(unlisted, "R-5"), NotForSale),
        (rich, Wish("R-6", sku.id, 1, {"uid": "7"}), WrongWish),
    ):
        with pytest.raises(error):
            await till.sell(buyer, what)
    assert await everything() == before
    assert await stocked.codes_by_state(sku) == {"free": 2}
    assert (await left(poor), await left(rich)) == (1989, 100_000)


async def test_many_at_once_sell_what_is_there_and_what_is_paid_for(till):
    few, buyer = await stocked.sku(5), await stocked.partner("hasty")
    results = await asyncio.gather(
        *(till.sell(buyer, wish(few, f"R-{number}")) for number in range(MANY)), return_exceptions=True
    )
    sold = [one for one in results if isinstance(one, Sale)]
    assert len(sold) == 5 and all(isinstance(one, Sale | NothingLeft) for one in results)
    goods = [code for one in sold for code in await till.goods(buyer, one)]
    assert sorted(goods) == sorted(few.codes)
    assert await left(buyer) == 100_000 - 5 * 1990

    many, poor = await stocked.sku(MANY), await stocked.partner("poor and hasty", 3 * 1990 + 1)
    results = await asyncio.gather(
        *(till.sell(poor, wish(many, f"R-{number}")) for number in range(MANY)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in results) == ["BalanceTooSmall"] * (MANY - 3) + ["Sale"] * 3
    assert await left(poor) == 1
    assert await stocked.codes_by_state(many) == {"delivered": 3, "free": MANY - 3}
    assert await customers.out_of_step() == []


async def test_one_reference_many_times_at_once_is_one_order(till):
    sku, buyer = await stocked.sku(1), await stocked.partner("double")
    results = await asyncio.gather(*(till.sell(buyer, wish(sku, "R-1")) for _ in range(MANY)))
    assert len({one.id for one in results}) == 1
    assert await left(buyer) == 100_000 - 1990


async def test_without_the_lock_the_second_is_told_that_nothing_is_left(till):
    """The control of the test before: what keeps one from losing sight of its own order."""
    sku, buyer = await stocked.sku(1), await stocked.partner("unlocked")
    listed, answers = await till._priced(wish(sku, "R-1"))
    sell = (selling._sell, till, buyer, wish(sku, "R-1"), listed, answers)
    results = await asyncio.gather(*(db.transaction(*sell) for _ in range(MANY)), return_exceptions=True)
    assert any(isinstance(one, selling._CodesTaken) for one in results)
    assert await left(buyer) == 100_000 - 1990


async def test_money_given_back_goes_into_the_balance_and_the_partner_is_told(till):
    sku, buyer = await stocked.sku(1), await stocked.partner("refunded")
    sold = await till.sell(buyer, wish(sku, "R-1", url="http://partner.test/callback"))
    assert await jobs_of(sold) == [f"checkout.tell_sale:{sold.id}:delivered"]
    await db.transaction(_give_back, sold.ref, await stocked.staff_member())
    assert await left(buyer) == 100_000
    assert (await till.sale(buyer, sold.id)).state is SaleState.CANCELLED


async def test_it_is_cancelled_for_the_partner_when_the_second_person_has_agreed(till):
    sku, buyer = await stocked.sku(0), await stocked.partner("cautious")
    await db.execute("UPDATE catalog_sku SET source = 'hand', available = 2 WHERE id = $1", sku.id)
    catalog.forget()
    first, second = [await till.sell(buyer, wish(sku, ref, url="http://partner.test/callback")) for ref in "AB"]
    await db.execute("""UPDATE shops_shop SET settings = settings || '{"refund_limit": 100}'""")
    try:
        for sold in (first, second):
            await db.transaction(_give_back, sold.ref, await stocked.staff_member())
            assert (await till.sale(buyer, sold.id)).state is SaleState.WAITING
        assert await db.transaction(partner_news.orders_to_tell) == []
        another = Person(
            1,
            await db.fetchval(
                "INSERT INTO people_staff (shop_id, email, role) VALUES (1, 'b@b.cd', 'owner') RETURNING id"
            ),
        )
        for sold, decide in ((first, refunds.approve), (second, refunds.decline)):
            refund = await db.fetchval("SELECT id FROM payments_refund WHERE order_id = $1", sold.id)
            await db.transaction(decide, 1, refund, another)
    finally:
        await db.execute("UPDATE shops_shop SET settings = settings - 'refund_limit'")
    assert (await till.sale(buyer, first.id)).state is SaleState.CANCELLED
    assert (await till.sale(buyer, second.id)).state is SaleState.WAITING
    await db.transaction(partner_news.orders_to_tell)
    assert await jobs_of(first) == [f"checkout.tell_sale:{first.id}:cancelled"]
    assert await jobs_of(second) == []
    assert await left(buyer) == 100_000 - 1990


async def _give_back(tx: db.Tx, ref: str, staff_id: int) -> None:
    order = await refunds.locked(tx, 1, ref)
    parts = [(payment, payment.left.amount) for payment in await payments_of(order["id"], tx)]
    await refunds.ask(tx, order, parts, refunds.Wish("balance", take_codes=True), Person(1, staff_id))


async def jobs_of(sale: Sale) -> list[str]:
    begin = f"checkout.tell_sale:{sale.id}:"
    rows = await db.fetch("SELECT key FROM jobs_job WHERE starts_with(key, $1) ORDER BY id", begin)
    return [row["key"] for row in rows]


async def test_what_is_made_or_bought_after_it_is_paid_comes_later_and_is_told(till):
    sku, buyer = await stocked.sku(1), await stocked.partner("patient")
    await db.execute("UPDATE catalog_sku SET source = 'hand', own_first = true, available = 2 WHERE id = $1", sku.id)
    catalog.forget()
    first = await till.sell(buyer, wish(sku, "R-1"))
    assert first.state is SaleState.DELIVERED  # the one that lay in the vault
    later = await till.sell(buyer, wish(sku, "R-2", url="http://partner.test/callback"))
    assert (later.state, await till.goods(buyer, later)) == (SaleState.WAITING, ())
    with pytest.raises(NothingLeft):
        await till.sell(buyer, wish(sku, "R-3", 3))
    assert await left(buyer) == 100_000 - 2 * 1990
    assert await db.transaction(partner_news.orders_to_tell) == []
    await db.execute(
        "UPDATE orders_order SET fulfilment_state = 'delivered', delivered_at = now() WHERE id = $1", later.id
    )
    assert len(await db.transaction(partner_news.orders_to_tell)) == 1
    assert await db.transaction(partner_news.orders_to_tell) == []
    assert await jobs_of(later) == [f"checkout.tell_sale:{later.id}:delivered"]


async def test_news_are_looked_for_where_somebody_listens(till):
    sku = await stocked.sku(30)
    assert await db.transaction(partner_news.stands_to_tell) == []
    keys = await accounts.make(1, "listener", 0, "http://partner.test/news", await stocked.staff_member())
    await db.transaction(partner_news.stands_to_tell)
    await db.execute("DELETE FROM jobs_job WHERE name = 'checkout.tell_stand'")
    assert await db.transaction(partner_news.stands_to_tell) == []
    await stocked.order(sku)  # thirty or twenty-nine: nobody needs to know
    assert await db.transaction(partner_news.stands_to_tell) == []
    await db.execute("UPDATE catalog_sku SET price = 2090 WHERE id = $1", sku.id)
    assert len(await db.transaction(partner_news.stands_to_tell)) == 1
    told = await db.fetchval("SELECT args FROM jobs_job WHERE name = 'checkout.tell_stand'")
    assert told == {"partner": keys.partner_id, "skus": [sku.id]}
