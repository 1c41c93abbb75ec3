"""Catalogue, price and stock of a supplier are followed; what must not be sold is not."""

import time

import pytest

from core import db
from core.api.testing import Fault
from core.audit.person import Person
from core.catalog import browse
from core.checkout import channel
from core.checkout.place import SoldOut
from core.checkout.selling import Counter
from core.money import Money
from core.refused import Refused
from core.shops import service as shops
from core.supply import accounts, importing, skus, suppliers, sync
from core.supply.importing import Wish
from core.supply.price_rule import PriceRule, in_shop_currency, in_supplier_currency, jumped
from core.supply.skus import Draft
from core.supply.supplier import AccountField
from tests import stocked
from tests.supply.conftest import RULE, World


def test_prices_by_rule():
    assert RULE.price(1001) == 1600
    assert PriceRule(True, 1234, 50, 1).price(999) == 1173
    assert PriceRule(True, -5000, 0, 10).price(1) == 10
    assert PriceRule(least_margin=100).cap(1990) == 1890
    assert in_shop_currency(Money(100, "USD"), "CNY", {"USD": "7.123"}) == 713
    assert in_supplier_currency(Money(713, "CNY"), "USD", {"USD": "7.123"}) == 100
    assert in_shop_currency(Money(100, "USD"), "CNY", {"USD": "0"}) is None
    assert in_shop_currency(Money(500, "JPY"), "CNY", {"JPY": "0.05"}) == 2500
    assert [jumped(1000, now, 1000) for now in (1100, 1101, 900, 899)] == [False, True, False, True]


@pytest.mark.parametrize(
    ("pattern", "harmless"),
    [
        (r"1\d{10}", True),
        (r"^[A-Za-z0-9_.-]{3,20}$", True),
        (r"[^@\s]+@[^@\s]+", True),
        (r"(a+)+$", False),
        (r"(a|a)*b", False),
        (r"a*a*a*a*b", False),
        (r"\d{1,999}\d{1,999}\d{1,999}\d{1,999}x", False),
        (r"[", False),
        ("x" * 201, False),
        (r"[^\]a?]*", True),
        ("a?" * 5 + "b", True),
        ("a?" * 60 + "a" * 60, False),
    ],
)
def test_a_pattern_that_could_hold_the_shop_up_is_not_tried(pattern, harmless):
    assert accounts.is_harmless(pattern) is harmless


def test_looking_at_a_pattern_does_not_hold_the_shop_up_either():
    began = time.process_time()
    assert not accounts.is_harmless("[^a]" * 22 + "(")
    assert time.process_time() - began < 0.5


async def stand(sku_id: int) -> tuple[int, int | None]:
    row = await db.fetchrow("SELECT price, available FROM catalog_sku WHERE id = $1", sku_id)
    return row["price"], row["available"]


async def slug_of(sku_id: int) -> str:
    return await db.fetchval(
        "SELECT slug FROM catalog_product WHERE id = (SELECT product_id FROM catalog_sku WHERE id = $1)", sku_id
    )


async def band(sku_id: int) -> str:
    shown = await browse.product(1, await slug_of(sku_id))
    return shown.skus[0].stock.band


async def test_price_and_stock_follow_by_themselves(world: World):
    offer = world.warehouse.offer("steam", cost=1000, stock=3)
    for number in range(4):
        world.warehouse.offer(f"more-{number}")
    sku = await world.sku("steam", rule=RULE)
    assert await stand(sku.id) == (1500, 3)
    assert await band(sku.id) == "plenty"
    offer.update(cost=1110, stock=0)
    await world.sync()
    assert await stand(sku.id) == (1500, 0)
    assert await band(sku.id) == "out"
    with pytest.raises(SoldOut):
        await world.order(sku)
    offer.update(stock=2)
    await world.sync()
    assert await stand(sku.id) == (1700, 2)
    await world.order(sku, 2)
    with pytest.raises(SoldOut):
        await world.order(sku)
    del world.warehouse.offers["steam"]
    await world.sync()
    assert await band(sku.id) == "out"
    assert await db.fetchval("SELECT gone FROM supply_offer WHERE id = $1", await world.offer_id("steam"))
    world.warehouse.offer("steam", cost=1000, stock=None)
    await world.sync()
    assert await stand(sku.id) == (1500, None)


async def test_a_failed_look_keeps_what_was_known_and_is_shown(world: World):
    world.warehouse.offer("steam", stock=3)
    sku = await world.sku("steam")
    world.warehouse.fails("/catalogue", Fault.GARBAGE)
    with pytest.raises(Exception, match="JSON"):
        await sync.look("warehouse", (), whole=True)
    assert await stand(sku.id) == (1990, 3)
    known = await suppliers.one("warehouse")
    assert (known.sync_error, known.failures) == ("this is not JSON", 1)
    await world.sync()
    known = await suppliers.one("warehouse")
    assert (known.sync_error, known.failures, known.balance) == ("", 0, Money(100_000, "CNY"))


async def test_only_linked_offers_are_looked_at_between_whole_catalogues(world: World):
    world.warehouse.offer("steam", cost=1000)
    world.warehouse.offer("other", cost=1000)
    sku = await world.sku("steam", rule=RULE)
    world.warehouse.offers["steam"]["cost"] = world.warehouse.offers["other"]["cost"] = 1200
    await sync.look("warehouse", ("steam",), whole=False)
    assert await stand(sku.id) == (1800, 10)
    assert await db.fetchval("SELECT cost FROM supply_offer WHERE id = $1", await world.offer_id("other")) == 1000


async def test_a_cost_that_jumps_pauses_the_sku_until_a_person_accepts_it(world: World):
    offer = world.warehouse.offer("steam", cost=1000)
    sku = await world.sku("steam", rule=RULE, jump=2000)
    offer["cost"] = 1201
    await world.sync()
    await world.sync()
    assert await stand(sku.id) == (1500, 0)
    asked = await db.fetch("SELECT state FROM review_item WHERE kind = 'cost_jump' AND data ->> 'sku' = $1", sku.code)
    assert [row["state"] for row in asked] == ["open"]
    editor = Person(1, await stocked.staff_member())
    await db.transaction(skus.accept_cost, editor, sku.id)
    assert await stand(sku.id) == (1900, 10)
    asked = await db.fetch("SELECT state FROM review_item WHERE kind = 'cost_jump' AND data ->> 'sku' = $1", sku.code)
    assert [row["state"] for row in asked] == ["done"]
    with pytest.raises(Refused):
        await db.transaction(skus.accept_cost, editor, sku.id)


@pytest.mark.parametrize(("below", "state"), [("delist", "review"), ("alarm", "preparing")])
async def test_for_a_partner_no_more_is_paid_than_the_partner_paid(world: World, below: str, state: str):
    world.warehouse.offer("steam", cost=1500)
    sku = await world.sku("steam", below_margin=below)
    partner = await stocked.partner(f"half-{below}", 10_000, discount=5000)
    till = Counter(await shops.main_shop(), "test", "http://shop.test")
    sold = await till.sell(partner, channel.Wish("R-1", sku.id, 1, {}))
    assert sold.total == Money(995, "CNY")
    found = await db.fetchval("SELECT fulfilment_state FROM orders_order WHERE id = $1", sold.id)
    bought = await db.fetchval("SELECT count(*) FROM supply_purchase WHERE order_id = $1", sold.id)
    assert (found, bought) == (state, int(below == "alarm"))


@pytest.mark.parametrize(("below", "available"), [("delist", 0), ("alarm", 10)])
async def test_nothing_is_sold_below_its_cost_unless_the_merchant_wants_it(world: World, below: str, available: int):
    offer = world.warehouse.offer("steam", cost=1000)
    sku = await world.sku("steam", rule=PriceRule(least_margin=500), below_margin=below)
    offer["cost"] = 1600
    await world.sync()
    await world.sync()
    assert await stand(sku.id) == (1990, available)
    alarms = await db.fetchval(
        "SELECT count(*) FROM audit_alarm WHERE kind = 'supply.below_margin' AND subject = $1", f"sku:{sku.code}"
    )
    assert alarms == 1
    if below == "alarm":
        placed = await world.paid(sku)
        await world.work()
        assert await stocked.states(placed) == ("paid", "delivered")


async def test_a_price_for_many_is_held_against_the_cost_too(world: World):
    offer = world.warehouse.offer("steam", cost=1000)
    sku = await world.sku("steam", rule=PriceRule(least_margin=100), below_margin="delist")
    await db.execute("INSERT INTO catalog_price_tier (sku_id, from_quantity, price) VALUES ($1, 10, 1500)", sku.id)
    offer["cost"] = 1400
    await world.sync()
    assert await stand(sku.id) == (1990, 10)
    offer["cost"] = 1401
    await world.sync()
    assert await stand(sku.id) == (1990, 0)


async def test_what_became_dearer_after_the_sale_is_not_bought_at_a_loss(world: World):
    offer = world.warehouse.offer("steam", cost=1000)
    sku = await world.sku("steam", rule=PriceRule(least_margin=200))
    placed = await world.paid(sku)
    offer["cost"] = 1800
    await world.work()
    assert await world.purchases(placed) == [("-1-1", "failed")]
    assert await world.questions(placed) == ["purchase_failed"]
    assert world.warehouse.sales == []


async def test_routing_takes_the_cheapest_or_the_first(world: World):
    world.warehouse.offer("dear", cost=1200)
    world.second.offer("cheap", cost=900)
    cheapest = await world.sku("dear", "second/cheap")
    in_order = await world.sku("dear", "second/cheap", routing="order")
    for sku in (cheapest, in_order):
        await world.paid(sku)
    await world.work()
    assert (len(world.warehouse.sales), len(world.second.sales)) == (1, 1)
    assert world.second.sales == [f"{world.orders[0].ref}-1-1"]


async def test_offers_become_products_and_a_foreign_currency_needs_its_rate(world: World):
    world.warehouse.offer("a", cost=1000, category="Games")
    world.warehouse.offer("b", cost=100, currency="USD", category="Games")
    await world.sync()
    editor = Person(1, await stocked.staff_member())
    ids = [await world.offer_id("a"), await world.offer_id("b")]
    wish = Wish(Draft("supplier", rule=RULE), "en", "CNY", "listed")
    made = await importing.make_products(editor, ids, wish)
    assert len(made.product_ids) == 1
    assert [title for title, _why in made.left_out] == ["Card b"]
    staff_id = editor.staff_id
    await db.transaction(suppliers.save, "warehouse", "900", {"USD": "7.10"}, staff_id, None)
    again = await importing.make_products(editor, ids, wish)
    assert [title for title, _why in again.left_out] == ["Card a"]
    rows = await db.fetch(
        "SELECT sku.price, sku.source, sku.available, category.title FROM catalog_sku sku"
        " JOIN catalog_product product ON product.id = sku.product_id"
        " JOIN catalog_category category ON category.id = product.category_id WHERE product.id = ANY($1) ORDER BY 1",
        [*made.product_ids, *again.product_ids],
    )
    assert [tuple(row) for row in rows] == [
        (1100, "supplier", 10, {"en": "Games"}),
        (1500, "supplier", 10, {"en": "Games"}),
    ]
    with pytest.raises(Refused):
        await db.transaction(suppliers.save, "warehouse", "", {"USD": "-1"}, staff_id, None)


async def test_little_balance_raises_one_alarm_until_it_is_filled_up(world: World):
    world.warehouse.offer("steam")
    await world.sync()
    await db.transaction(suppliers.save, "warehouse", "500", {}, await stocked.staff_member(), None)
    counts = []
    for balance in (50_000, 49_999, 40_000, 60_000, 100):
        world.warehouse.balance = balance
        await world.sync()
        counts.append(await db.fetchval("SELECT count(*) FROM audit_alarm WHERE kind = 'supply.low_balance'"))
    assert counts == [0, 1, 1, 1, 2]


FIELDS = [
    {"key": "phone", "title": {"en": "Phone"}, "pattern": r"1\d{10}"},
    {"key": "server", "title": {"en": "Server"}, "choices": {"eu": {"en": "Europe"}, "as": {"en": "Asia"}}},
]


async def test_a_top_up_asks_for_the_account_checks_it_and_hands_it_on(world: World):
    from core.catalog.buyer_fields import check_answers
    from core.catalog.service import sku_facts

    world.warehouse.offer("credit", delivers="top_up", fields=FIELDS)
    sku = await world.sku("credit")
    fields = (await sku_facts(1, [sku.code]))[sku.code].buyer_fields
    good = {"account_phone": "13800138000", "account_server": "as"}
    assert check_answers(fields, good, "en") == good
    for bad in ({**good, "account_phone": "12"}, {**good, "account_server": "us"}, {"account_phone": "13800138000"}):
        with pytest.raises(Refused):
            check_answers(fields, bad, "en")
    placed = await world.order(sku, answers=good)
    await world.pay(placed)
    await world.work()
    assert world.warehouse.accounts[f"{placed.ref}-1-1"] == {"phone": "13800138000", "server": "as"}
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await world.masks(placed) == []


async def test_a_field_no_form_can_carry_is_not_linked():
    with pytest.raises(Refused):
        accounts.buyer_fields(accounts.stored([AccountField("a b", {"en": "x"})]))


FIELD = {"key": "qq", "title": {"en": "QQ"}}


@pytest.mark.parametrize(
    ("odd", "available", "told"),
    [
        ({"cost": -1}, 0, "odd costs less than nothing"),
        ({"cost": None}, 0, "the price of odd cannot be read"),
        ({"most": 10**12}, 10, ""),
        ({"fields": [{**FIELD, "title": {"en": "Q\x00Q\ud800"}}]}, 10, ""),
        ({"fields": [{**FIELD, "key": "your QQ"}]}, 0, ""),
    ],
    ids=["cost", "price", "most", "signs", "key"],
)
async def test_one_odd_offer_keeps_no_other_from_being_followed(world: World, odd: dict, available: int, told: str):
    offer = world.warehouse.offer("odd", cost=1000, delivers="top_up", fields=[FIELD])
    other = world.warehouse.offer("steam", cost=1000)
    sku, bought = await world.sku("steam", rule=RULE), await world.sku("odd", rule=RULE)
    offer.update(odd)
    other.update(cost=1110)
    await world.sync()
    assert await stand(sku.id) == (1700, 10)
    assert await stand(bought.id) == (1500, available)
    assert (await suppliers.one("warehouse")).sync_error == told
    offer.update(cost=1110, fields=[FIELD])
    await sync.look("warehouse", (), whole=False)
    assert await stand(bought.id) == (1700, 10)
    assert (await suppliers.one("warehouse")).sync_error == ""


@pytest.mark.parametrize("cost", [0, 10**15])
async def test_a_cost_that_makes_no_price_stops_the_sku_and_not_the_shop(world: World, cost: int):
    offer = world.warehouse.offer("steam", cost=1000)
    sku = await world.sku("steam", rule=RULE)
    offer["cost"] = cost
    await world.sync()
    await world.sync()
    assert await stand(sku.id) == (1500, 0)
    with pytest.raises(SoldOut):
        await world.order(sku)
    alarms = "SELECT count(*) FROM audit_alarm WHERE kind = 'supply.odd_price' AND subject = $1"
    assert await db.fetchval(alarms, f"sku:{sku.code}") == 1
    assert skus.is_odd(await skus.one(1, sku.id))
    offer["cost"] = 1110
    await world.sync()
    assert await stand(sku.id) == (1700, 10)
    assert not skus.is_odd(await skus.one(1, sku.id))


async def test_an_offer_whose_cost_makes_no_price_becomes_no_product(world: World):
    for cost in (0, 10**15):
        world.warehouse.offer(f"slip-{cost}", cost=cost)
    await world.sync()
    chosen = [await world.offer_id(f"slip-{cost}") for cost in (0, 10**15)]
    editor, wish = Person(1, await stocked.staff_member()), Wish(Draft("supplier", rule=RULE), "en", "CNY")
    made = await importing.make_products(editor, chosen, wish)
    assert made.product_ids == []
    assert len(made.left_out) == 2
