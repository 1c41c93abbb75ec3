"""What every promotion must keep: typed adjustments that only lower the price, the same for the same basket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from core import clock
from core.api import Adjustment, Basket, BasketLine, CodeRefused, Money, Promotion
from core.api.testing.contract import Contract
from core.api.testing.machine import Machine

SECONDS = 2.0


def a_line(price: int = 1990, quantity: int = 1, **changes: Any) -> BasketLine:
    """One line of a basket; ``price`` is of one piece, in fen."""
    unit = Money(price, "CNY")
    facts: dict[str, Any] = {
        "sku_code": "SKU-1",
        "product_slug": "a-month",
        "categories": ("music",),
        "quantity": quantity,
        "unit_price": unit,
        "total": unit.times(quantity),
    }
    return BasketLine(**{**facts, **changes})


def a_basket(*lines: BasketLine, **changes: Any) -> Basket:
    """A basket with these lines, one thing for ¥19.90 if there are none."""
    lines = lines or (a_line(),)
    total = Money(sum(line.total.amount for line in lines), lines[0].total.currency)
    facts: dict[str, Any] = {
        "shop": "main",
        "lines": lines,
        "total": total,
        "contact": "buyer@example.com",
        "codes": (),
        "locale": "zh-CN",
        "at": clock.now(),
        "first_order": True,
    }
    return Basket(**{**facts, **changes})


class PromotionContract(Contract):
    """Derive, set ``plugin``, and write :meth:`fits` and :meth:`misses`."""

    async def prepare(self, machine: Machine) -> None:
        """What must stand in the database before it is asked, such as a coupon."""

    def fits(self) -> Sequence[Basket]:
        """Baskets that it makes cheaper."""
        raise NotImplementedError

    def misses(self) -> Sequence[Basket]:
        """Baskets that it leaves alone."""
        raise NotImplementedError

    def refused(self) -> Sequence[Basket]:
        """Baskets with a code that is known but cannot be used there."""
        return ()

    @pytest.fixture
    async def promotion(self, machine: Machine) -> Promotion:
        await self.prepare(machine)
        found: Promotion = self.the_one(machine.runtime.promotions)
        return found

    async def adjusted(self, promotion: Promotion, basket: Basket) -> list[Adjustment]:
        """What it makes of the basket, asked within its time."""
        async with asyncio.timeout(SECONDS):
            return list(await promotion.adjust(basket))

    async def test_it_has_a_name(self, promotion: Promotion) -> None:
        assert isinstance(promotion, Promotion) and promotion.title.get("en")

    async def test_what_fits_becomes_cheaper(self, promotion: Promotion) -> None:
        for basket in self.fits():
            found = await self.adjusted(promotion, basket)
            assert found, f"it takes nothing off {basket}"
            for one in found:
                self._check(one, basket)
            off = -sum(one.amount.amount for one in found if not one.alone)
            assert off <= basket.total.amount, "it takes off more than there is"

    def _check(self, one: Adjustment, basket: Basket) -> None:
        assert one.amount.amount < 0, f"{one.amount} makes it dearer"
        assert one.amount.currency == basket.total.currency
        assert one.key and one.title.get("en"), "an adjustment needs a key and a title for en"
        assert one.line is None or 0 <= one.line < len(basket.lines)
        room = basket.total if one.line is None else basket.lines[one.line].total
        assert -one.amount.amount <= room.amount, f"{one.amount} off a line of {room}"
        assert not one.code or one.code in basket.codes
        for cap in one.caps:
            assert 0 < len(cap.key) <= 200 and cap.most >= 1, f"{cap} cannot be stored"

    async def test_what_does_not_fit_stays_as_it_is(self, promotion: Promotion) -> None:
        for basket in self.misses():
            assert await self.adjusted(promotion, basket) == []

    async def test_a_code_that_cannot_be_used_here_says_why(self, promotion: Promotion) -> None:
        for basket in self.refused():
            with pytest.raises(CodeRefused) as caught:
                await self.adjusted(promotion, basket)
            assert str(caught.value).strip()

    async def test_the_same_basket_gets_the_same_answer(self, promotion: Promotion) -> None:
        for basket in self.fits():
            assert await self.adjusted(promotion, basket) == await self.adjusted(promotion, basket)

    async def test_codes_of_others_are_left_alone(self, promotion: Promotion) -> None:
        basket = replace(self.misses()[0], codes=("SOMEBODY-ELSES", "", "'; --", "码" * 50))
        assert await self.adjusted(promotion, basket) == []

    async def test_another_currency_is_never_mixed_in(self, promotion: Promotion) -> None:
        for basket in self.fits():
            price = Money(basket.lines[0].unit_price.amount, "JPY")
            line = replace(basket.lines[0], unit_price=price, total=price.times(basket.lines[0].quantity))
            abroad = replace(basket, lines=(line,), total=line.total)
            try:
                found = await self.adjusted(promotion, abroad)
            except CodeRefused:
                continue
            for one in found:
                self._check(one, abroad)
