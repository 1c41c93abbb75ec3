"""Buying from a Dujiao-Next shop: what every supplier must keep, the vectors, and what is peculiar to it."""

import time
from dataclasses import replace

import pytest

from core.api import (
    Delivers,
    Forged,
    Money,
    NotSent,
    OfferNews,
    OutOfStock,
    PurchaseNews,
    PurchaseState,
    SupplierRefused,
    SupplierUnavailable,
)
from core.api.testing import Fault, SupplierContract

from .. import wire
from .fake import CARD, ROOT, TOP_UP, DujiaoShop

VECTORS = [
    (
        "/api/v1/upstream/orders",
        b'{"sku_id":1,"quantity":1}',
        "80e9b0ae078e379001fba9fab6628c2b1ea21518c48dc34035ecb38feba6c265",
    ),
    ("/api/v1/upstream/ping", b"", "70e5ddd685198f8b2c3acd26b6011dfe6a15d09c94d0b40b9a01086d86f469d8"),
]


@pytest.mark.parametrize(("path", "body", "expected"), VECTORS)
def test_signatures_are_those_of_the_document(path, body, expected):
    assert wire.signature("your_api_secret", "POST", path, "1700000000", body) == expected


class TestContract(SupplierContract):
    plugin = "bridges.dujiao_next"

    @pytest.fixture
    async def other_side(self):
        async with DujiaoShop() as shop:
            yield shop

    # -- what is peculiar to it ---------------------------------------------------------

    async def test_products_become_offers(self, supplier, other_side):
        page = await supplier.catalogue()
        assert page.next is None
        card, top_up = page.offers
        assert (card.item, card.title, card.cost, card.stock) == (CARD, "商品 1", Money(790, "CNY"), 100)
        assert (card.delivers, card.category, card.listed) == (Delivers.CODES, "游戏", True)
        assert (top_up.item, top_up.title, top_up.delivers) == (TOP_UP, "商品 2 · Red / 128GB", Delivers.TOP_UP)
        assert [(one.key, dict(one.title)) for one in top_up.fields] == [("qq", {"zh-CN": "QQ 号", "en": "QQ"})]
        other_side.stock = -1
        assert (await supplier.offers((CARD,)))[CARD].stock is None

    @pytest.mark.parametrize("price", ["free", "99999999999999.00", "NaN"])
    async def test_a_price_that_cannot_be_read_is_that_of_its_offer_alone(self, supplier, other_side, price):
        other_side.top_up_price = price
        assert [one.cost for one in (await supplier.catalogue()).offers] == [Money(790, "CNY"), None]
        assert (await supplier.offers((TOP_UP,)))[TOP_UP].cost is None
        with pytest.raises(NotSent, match="cannot be read"):
            await supplier.purchase(self.purchase(other_side, item=TOP_UP, account=other_side.account))
        assert other_side.orders == {}

    async def test_an_order_without_a_number_has_none(self, supplier, other_side):
        purchase = self.purchase(other_side)
        await supplier.purchase(purchase)
        other_side.order_of(purchase.ref).number = None
        answer = await supplier.query(purchase)
        assert (answer.supplier_ref, len(answer.goods)) == ("", 1)

    async def test_the_shop_is_told_all_it_needs(self, supplier, other_side):
        purchase = self.purchase(other_side, 2)
        answer = await supplier.purchase(purchase)
        assert [good.code for good in answer.goods] == ["CODE-101-0", "CODE-101-1"]
        assert (answer.supplier_ref, answer.cost) == ("101", Money(1580, "CNY"))
        facts = other_side.order_of(purchase.ref).facts
        trace = facts.pop("trace_id")
        assert len(trace) == 32
        assert facts == {
            "sku_id": 11,
            "quantity": 2,
            "downstream_order_no": purchase.ref,
            "callback_url": purchase.callback_url,
        }
        assert await supplier.balance() == Money(100_000, "CNY")

    async def test_a_slow_order_waits_and_its_call_brings_the_goods(self, supplier, other_side):
        other_side.at_once = False
        purchase = self.purchase(other_side)
        assert (await supplier.purchase(purchase)).state is PurchaseState.WAITING
        await other_side.finish(purchase.ref)
        news = await supplier.parse_callback(await other_side.callback(purchase))
        assert isinstance(news, PurchaseNews) and news.answer is not None
        assert (news.ref, news.answer.state, len(news.answer.goods)) == (purchase.ref, PurchaseState.DONE, 1)
        assert news.answer.cost == other_side.price
        other_side.fails(f"{ROOT}/orders/101", Fault.ERROR)
        news = await supplier.parse_callback(await other_side.callback(purchase))
        assert (len(news.answer.goods), news.answer.cost) == (1, None)
        other_side.order_of(purchase.ref).status = "canceled"
        gone = await supplier.query(replace(purchase, supplier_ref="101"))
        assert gone is not None and gone.state is PurchaseState.FAILED

    async def test_a_call_without_goods_makes_core_ask(self, supplier, other_side):
        said = {"order_id": 5, "downstream_order_no": "V1-1-1", "status": "canceled"}
        assert await supplier.parse_callback(other_side.call(said)) == PurchaseNews("V1-1-1")

    async def test_news_of_the_catalogue(self, supplier, other_side):
        said = {"event": "catalog.changed", "skus": [{"product_id": 1, "sku_id": 11}]}
        assert await supplier.parse_callback(other_side.call(said)) == OfferNews((CARD,))
        assert await supplier.parse_callback(other_side.call({"event": "catalog.changed"})) == OfferNews()

    async def test_a_call_of_another_time_or_key_is_forged(self, supplier, other_side):
        said = {"order_id": 5, "downstream_order_no": "V1-1-1", "status": "completed"}
        for call in (
            other_side.call(said, stamp=int(time.time()) - 70),
            other_side.call(said, stamp=int(time.time()) + 70),
            other_side.call(said, secret="another"),
        ):
            with pytest.raises(Forged):
                await supplier.parse_callback(call)

    async def test_the_goods_of_another_order_are_not_taken(self, supplier, other_side):
        other_side.at_once = False
        purchase = self.purchase(other_side)
        await supplier.purchase(purchase)
        await other_side.finish(purchase.ref)
        other_side.order_of(purchase.ref).facts["downstream_order_no"] = "V9-1-1"
        with pytest.raises(SupplierUnavailable, match="another order"):
            await supplier.query(replace(purchase, supplier_ref="101"))

    async def test_no_means_no(self, supplier, other_side):
        other_side.payment_fails = True
        with pytest.raises(SupplierRefused):
            await supplier.purchase(self.purchase(other_side))
        other_side.payment_fails, other_side.stock = False, 1
        with pytest.raises(OutOfStock):
            await supplier.purchase(self.purchase(other_side, 2))
        assert other_side.orders == {}

    async def test_a_published_shop_cannot_be_asked_by_our_reference(self, supplier, other_side):
        """The order's answer got lost: its call brings the number, or a person decides."""
        other_side.finds_by_reference = False
        purchase = self.purchase(other_side)
        other_side.fails(f"{ROOT}/orders", Fault.CUT)
        with pytest.raises(SupplierUnavailable):
            await supplier.purchase(purchase)
        assert other_side.sales(purchase.ref) == 1
        with pytest.raises(SupplierRefused):
            await supplier.query(purchase)
        news = await supplier.parse_callback(await other_side.callback(purchase))
        assert news.answer is not None and len(news.answer.goods) == 1

    async def test_without_a_shop_to_buy_from_it_only_sells(self, machine):
        await machine.save({"address": None, "api_key": None, "api_secret": None})
        assert machine.runtime.suppliers == {}
        assert list(machine.runtime.channels) == ["dujiao_next"]
        await machine.save({"selling": False})
        assert machine.runtime.channels == {}
