import dataclasses
from datetime import UTC, datetime

import pytest

from core.api import CodeRefused, Money
from core.api.testing import PromotionContract, a_basket, a_line
from plugins.promotions.coupon import codes, coupons
from plugins.promotions.coupon.coupons import CodeTaken, Draft

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def draft(**changes):
    facts = {
        "name": "Test",
        "kind": "percent",
        "percent": 1000,
        "amount": None,
        "currency": "CNY",
        "most_off": None,
        "least": Money(0, "CNY"),
        "goods": (),
        "uses": None,
        "uses_per_code": None,
        "uses_per_buyer": None,
        "first_order": False,
        "alone": True,
        "starts_at": None,
        "ends_at": None,
    }
    return Draft(**{**facts, **changes})


def off(cents):
    return {"kind": "amount", "percent": None, "amount": Money(cents, "CNY")}


async def made(machine, code, **changes):
    db = machine.loaded.context.db

    async def work(tx):
        coupon_id = await coupons.make(tx, "main", draft(**changes), "")
        await coupons.add_code(tx, "main", coupon_id, code)
        return coupon_id

    return await db.transaction(work)


class TestContract(PromotionContract):
    plugin = "promotions.coupon"

    async def prepare(self, machine):
        db = machine.loaded.context.db
        await db.execute("DELETE FROM promotions_coupon_code")
        await db.execute("DELETE FROM promotions_coupon")
        await made(machine, "Ten", uses=3, uses_per_buyer=1, first_order=True)
        await made(machine, "DEAR", least=Money(100_000, "CNY"))

    def fits(self):
        return [a_basket(codes=("TEN",)), a_basket(codes=("ten",), contact="", first_order=None)]

    def misses(self):
        return [a_basket()]

    def refused(self):
        return [a_basket(codes=("DEAR",)), a_basket(codes=("TEN",), first_order=False)]

    @pytest.mark.parametrize(
        ("rules", "lines", "taken"),
        [
            ({}, [(1990, 1)], 199),
            ({"percent": 1250}, [(1990, 1)], 249),  # 248.75
            ({"percent": 50}, [(100, 1)], 1),  # half a fen is rounded up
            ({"percent": 10_000}, [(1990, 2)], 3980),
            ({"most_off": Money(150, "CNY")}, [(1990, 1)], 150),
            (off(500), [(1990, 1)], 500),
            (off(5000), [(1990, 1)], 1990),
            ({**off(0), "kind": "price", "amount": Money(1500, "CNY")}, [(1990, 2), (1000, 1)], 980),
            ({"goods": ("sku:SKU-1",)}, [(1990, 1)], 199),
            ({"goods": ("product:a-month", "category:other")}, [(1990, 1)], 199),
            ({"goods": ("category:music",), "least": Money(1990, "CNY")}, [(1990, 1)], 199),
        ],
    )
    async def test_what_it_takes_off(self, machine, promotion, rules, lines, taken):
        await made(machine, "RULES", **rules)
        [one] = await promotion.adjust(a_basket(*(a_line(*line) for line in lines), codes=("rules",)))
        assert (one.amount, one.code, one.alone) == (Money(-taken, "CNY"), "rules", True)

    @pytest.mark.parametrize(
        ("rules", "words"),
        [
            ({"ends_at": NOW}, "has expired"),
            ({"starts_at": datetime(2026, 11, 23, tzinfo=UTC)}, "not count yet"),
            ({"goods": ("category:games",)}, "not for what you have chosen"),
            ({"least": Money(1991, "CNY")}, "from CN¥19.91 on"),
            ({"currency": "USD", "least": Money(0, "USD")}, "prices in USD"),
            ({"kind": "price", "percent": None, "amount": Money(1990, "CNY")}, "takes nothing off"),
        ],
    )
    async def test_what_is_missing_is_said(self, machine, promotion, rules, words):
        await made(machine, "RULES", **rules)
        with pytest.raises(CodeRefused, match=words):
            await promotion.adjust(a_basket(codes=("RULES",), at=NOW, locale="en"))

    async def test_limits_become_caps_and_a_stopped_one_is_unknown(self, machine, promotion):
        coupon_id = await made(machine, "ALL", uses=9, uses_per_code=8, uses_per_buyer=7, first_order=True)
        basket = a_basket(codes=("ALL",))
        [one] = await promotion.adjust(basket)
        assert [(cap.key.split(":")[2:3], cap.most) for cap in one.caps] == [
            ([], 9),
            (["code"], 8),
            (["buyer"], 7),
            (["first"], 1),
        ]
        [unknown_buyer] = await promotion.adjust(dataclasses.replace(basket, contact="", first_order=None))
        assert [cap.most for cap in unknown_buyer.caps] == [9, 8]
        assert "buyer@example.com" not in str(one)
        await coupons.stop(machine.loaded.context.db, "main", coupon_id, NOW)
        assert list(await promotion.adjust(basket)) == []
        assert list(await promotion.adjust(dataclasses.replace(basket, shop="other"))) == []

    async def test_two_codes_of_one_coupon_do_not_add_up(self, machine, promotion):
        coupon_id = await made(machine, "MANY-1", alone=False)
        db = machine.loaded.context.db
        await db.transaction(coupons.add_code, "main", coupon_id, "MANY-2")
        with pytest.raises(CodeRefused, match="Only one code of this kind"):
            await promotion.adjust(a_basket(codes=("MANY-1", "MANY-2")))
        with pytest.raises(CodeTaken):
            await db.transaction(coupons.add_code, "main", coupon_id, "many-1")

    async def test_a_thousand_codes_are_a_thousand(self, machine, promotion):
        coupon_id = await made(machine, "BULK")
        db = machine.loaded.context.db
        await db.transaction(coupons.add_random, "main", coupon_id, "SALE-", 1000)
        coupon = await coupons.one(db, "main", coupon_id)
        every = await coupons.codes_of(db, coupon, coupon.codes)
        assert (coupon.codes, len({codes.matched(code) for code in every})) == (1001, 1001)
        assert all(code.startswith("SALE-") and len(code) == 15 for code in every[1:])
