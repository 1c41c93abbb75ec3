"""What core makes of the answers of promotions, good and bad ones."""

import asyncio

import pytest

from core import db
from core.checkout.discounts import with_discounts
from core.hooks import runtime
from core.pricing.promote import CannotTell, CodeWrong, promote, read_codes
from core.pricing.quote import Item, quote
from core.shops import service as shops
from tests import stocked

pytestmark = pytest.mark.usefixtures("moody_plugin")


@pytest.fixture(scope="module")
async def sku(moody_plugin):
    return await stocked.sku(1)


async def priced(sku, mood, codes=()):
    shop = await shops.main_shop()
    at_list = await quote(shop.id, [Item(sku.code, 1)])
    return await promote(shop, at_list, contact=f"{mood}@example.com", codes=codes)


def failures(plugins):
    found = plugins.plugin("promotions.moody").failures.get("adjust")
    return found.count if found else 0


@pytest.mark.parametrize(
    "mood",
    [
        "raise",
        "exit",
        "cancel",
        "raise-the-price",
        "abroad",
        "no-key",
        "no-line",
        "strange-code",
        "no-use",
        "many-uses",
        "half-a-use",
        "odd-key",
        "odd-cap",
        "odd-title",
        "odd-data",
        "no-list",
        "nonsense",
    ],
)
async def test_a_bad_answer_gives_nothing_and_is_counted(moody_plugin, sku, mood):
    before = failures(moody_plugin)
    found = await priced(sku, mood)
    assert (found.total.amount, found.discounts) == (1990, ())
    assert failures(moody_plugin) == before + 1
    with pytest.raises(CannotTell):
        await priced(sku, mood, codes=("CODE",))


async def test_one_that_hangs_is_given_up_and_holds_nobody_else(moody_plugin, sku):
    before = failures(moody_plugin)
    found = await asyncio.gather(*(priced(sku, "hang") for _buyer in range(5)))
    assert [one.total.amount for one in found] == [1990] * 5
    assert failures(moody_plugin) == before + 5


@pytest.mark.parametrize(
    ("mood", "keys", "total"),
    [
        ("fine", ["moody"], 1890),
        ("nobody", [], 1990),
        ("too-much", ["a", "b"], 0),
        ("alone-more", ["alone-b"], 1689),
        ("alone-as-much", ["together"], 1690),
        ("alone-in-two-parts", ["alone", "alone"], 1688),
        ("steady", ["always"], 1989),
    ],
)
async def test_the_sum_is_made_here(sku, mood, keys, total):
    found = await priced(sku, mood)
    assert ([one.key for one in found.discounts], found.total.amount) == (keys, total)
    assert found.subtotal.amount + sum(one.amount.amount for one in found.discounts) == total


async def test_a_code_that_is_not_needed_is_named(sku):
    assert (await priced(sku, "fine", ("Code",))).not_needed == ()
    assert (await priced(sku, "too-much", ("Code",))).not_needed == ("Code",)
    assert (await priced(sku, "alone-as-much", ("Code",))).not_needed == ("Code",)


async def test_a_code_nobody_knows_is_refused(sku):
    with pytest.raises(CodeWrong, match="not valid"):
        await priced(sku, "nobody", ("CODE",))
    with pytest.raises(CodeWrong, match="not valid"):
        await priced(sku, "fine", ("CODE", "ANOTHER"))


@pytest.mark.parametrize(
    ("typed", "codes"),
    [
        ("", ()),
        (" A-1 ", ("A-1",)),
        ("A-1, b_2；C3 a-1", ("A-1", "b_2", "C3")),
    ],
)
def test_codes_are_read_as_people_type_them(typed, codes):
    assert read_codes(typed) == codes


@pytest.mark.parametrize("typed", ["a b c d e f", "x" * 61])
def test_more_codes_than_anybody_has_are_no_codes(typed):
    with pytest.raises(CodeWrong, match="not valid"):
        read_codes(typed)


async def test_without_promotions_nothing_is_asked_or_added(sku, database):
    shop = await shops.main_shop()
    at_list = await quote(shop.id, [Item(sku.code, 1)])
    moody = runtime.current()
    runtime.use(runtime.Runtime(safe_mode=True))
    # no statement reaches the database: this one would fail
    await db.close_pool()
    assert await promote(shop, at_list, contact="fine@example.com") is at_list
    assert with_discounts("PLACE", (1,), at_list) == ("PLACE", (1,))
    with pytest.raises(CodeWrong):
        await promote(shop, at_list, codes=("CODE",))
    await db.open_pool(database)
    runtime.use(moody)
