"""Prices for larger quantities: what counts when, and what the database refuses."""

import asyncpg
import pytest

from core import db
from core.audit.person import Person
from core.catalog import browse, editing
from core.catalog.editing import ChangedMeanwhile
from core.catalog.service import forget, sku_facts
from core.catalog.tiers import Tier
from core.checkout.selling import _for_partner
from core.money import Money
from core.partners.accounts import Partner
from core.pricing.quote import Item, quote
from core.refused import Refused
from core.shops import service as shops
from tests import stocked


async def version_of(sku):
    return await db.fetchval("SELECT version FROM catalog_sku WHERE id = $1", sku.id)


async def give(sku, tiers):
    await editing.save_tiers(Person(1, await stocked.staff_member()), sku.id, await version_of(sku), tiers)


async def stored(sku):
    rows = await db.fetch("SELECT from_quantity, price FROM catalog_price_tier WHERE sku_id = $1 ORDER BY 1", sku.id)
    return [tuple(row.values()) for row in rows]


async def unit_price(sku, quantity):
    shop = await shops.main_shop()
    found = await quote(shop.id, [Item(sku.code, quantity)])
    assert found.total == found.lines[0].unit_price.times(quantity)
    return found.lines[0].unit_price.amount


async def test_whoever_takes_more_pays_less_and_the_order_keeps_that_price():
    sku = await stocked.sku(20, price=1000)
    await give(sku, {10: 800, 5: 900})
    assert [await unit_price(sku, n) for n in (1, 4, 5, 9, 10, 20)] == [1000, 1000, 900, 900, 800, 800]
    placed = await stocked.order(sku, 5)
    line = await db.fetchrow("SELECT unit_price, total FROM orders_line WHERE order_id = $1", placed.order_id)
    assert (line["unit_price"], line["total"]) == (900, 4500)
    slug = (await sku_facts(1, [sku.code]))[sku.code].product_slug
    (shown,) = (await browse.product(1, slug)).skus
    assert shown.tiers == (Tier(5, Money(900, "CNY")), Tier(10, Money(800, "CNY")))


async def test_the_lower_of_both_counts_when_the_price_falls_and_a_new_currency_ends_them():
    sku = await stocked.sku(20, price=1000)
    await give(sku, {5: 900, 10: 800})
    await db.execute("UPDATE catalog_sku SET price = 850 WHERE id = $1", sku.id)
    forget()
    assert [await unit_price(sku, n) for n in (1, 5, 10)] == [850, 850, 800]
    assert (await sku_facts(1, [sku.code]))[sku.code].tiers == (Tier(10, Money(800, "CNY")),)
    await db.execute("UPDATE catalog_sku SET currency = 'JPY' WHERE id = $1", sku.id)
    assert await stored(sku) == []


async def test_a_partner_pays_its_own_price_or_the_one_for_many_if_that_is_lower():
    sku = await stocked.sku(20, price=1000)
    await give(sku, {5: 900})
    partner = Partner(1, 1, "p", "k", 500, "", b"", False, None)
    shop = await shops.main_shop()
    listed = {n: await quote(shop.id, [Item(sku.code, n)]) for n in (1, 5)}
    assert [_for_partner(partner, listed[n]).total.amount for n in (1, 5)] == [950, 4500]


@pytest.mark.parametrize(
    ("tiers", "field"),
    [({5: 1000}, "5_price"), ({5: 900, 10: 900}, "10_price"), ({1: 900}, "1_from"), ({101: 900}, "101_from")],
)
async def test_prices_that_do_not_fall_are_refused_and_nothing_is_changed(tiers, field):
    sku = await stocked.sku(0, price=1000)
    await give(sku, {7: 950})
    with pytest.raises(Refused) as refused:
        await give(sku, tiers)
    assert (refused.value.field, await stored(sku)) == (field, [(7, 950)])


async def test_the_database_refuses_what_nobody_should_write():
    sku = await stocked.sku(0, price=1000)
    add = "INSERT INTO catalog_price_tier (sku_id, from_quantity, price) VALUES "
    for wrong in ("($1, 1, 900)", "($1, 5, 0)", "($1, 5, 900), ($1, 10, 900)", "($1, 5, 900), ($1, 5, 800)"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await db.execute(add + wrong, sku.id)
    assert await stored(sku) == []


async def test_two_who_change_them_at_once_do_not_overwrite_each_other():
    sku = await stocked.sku(0, price=1000)
    seen = await version_of(sku)
    await give(sku, {5: 900})
    with pytest.raises(ChangedMeanwhile):
        await editing.save_tiers(Person(1, await stocked.staff_member()), sku.id, seen, {5: 100})
    assert await stored(sku) == [(5, 900)]
