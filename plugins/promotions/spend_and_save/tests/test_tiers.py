import pytest

from core.api import Money
from core.api.testing import PromotionContract, a_basket, a_line

TIERS = [{"least": "100", "off": "10"}, {"least": "200", "off": "25"}]


class TestContract(PromotionContract):
    plugin = "promotions.spend_and_save"

    def settings(self, other_side):
        return {"tiers": [{name: Money.parse(sum, "CNY") for name, sum in tier.items()} for tier in TIERS]}

    def fits(self):
        return [a_basket(a_line(10_000)), a_basket(a_line(19_999)), a_basket(a_line(5_000, 3), a_line(8_000))]

    def misses(self):
        return [a_basket(a_line(9_999))]

    @pytest.mark.parametrize(("sum", "off"), [(9_999, 0), (10_000, 1_000), (19_999, 1_000), (20_000, 2_500)])
    async def test_the_highest_tier_that_is_reached_counts(self, promotion, sum, off):
        found = await promotion.adjust(a_basket(a_line(sum)))
        assert [-one.amount.amount for one in found] == ([off] if off else [])

    async def test_only_its_goods_are_counted_and_only_in_its_time(self, machine, promotion):
        both = (a_line(15_000, categories=("games",)), a_line(9_000))
        settings = {**self.settings(None), "categories": ("games",), "starts": "2026-11-11 00:00+08:00"}
        at = machine.model(**settings)
        promotion.settings = at
        [one] = await promotion.adjust(a_basket(*both))
        assert one.amount == Money(-1_000, "CNY")
        assert not one.alone
        assert one.title == {"en": "CN¥10.00 off from CN¥100.00", "zh-CN": "满 ¥100.00 减 ¥10.00"}
        ended = {**settings, "ends": "2026-11-12 00:00+08:00"}
        promotion.settings = machine.model(**ended)
        assert list(await promotion.adjust(a_basket(*both))) == []

    @pytest.mark.parametrize(
        "wrong",
        [
            {"tiers": []},
            {"tiers": [{"least": Money(100, "CNY"), "off": Money(101, "CNY")}]},
            {"tiers": [{"least": Money(100, "CNY"), "off": Money(1, "CNY")}] * 2},
            {"starts": "2026-11-11 00:00"},
            {"starts": "2026-11-11 00:00+08:00", "ends": "2026-11-11 00:00+08:00"},
        ],
    )
    async def test_settings_that_make_no_sense_are_refused(self, machine, wrong):
        with pytest.raises(ValueError, match=next(reversed(wrong))):
            machine.model(**{**self.settings(None), **wrong})
