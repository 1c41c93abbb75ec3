"""Prices for larger quantities of one SKU. Such a price counts only while it is below the SKU's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.money import Money

MOST_TIERS = 10


@dataclass(frozen=True, slots=True)
class Tier:
    """``price`` is for one piece, from that many in an order on."""

    from_quantity: int
    price: Money


OF_SKU = """
(SELECT coalesce(json_agg(json_build_array(tier.from_quantity, tier.price) ORDER BY tier.from_quantity), '[]')
 FROM catalog_price_tier tier WHERE tier.sku_id = {sku}.id)
"""
"""A column of a statement that has the SKU under that name."""


def read_tiers(found: Iterable[tuple[int, int]], price: Money) -> tuple[Tier, ...]:
    """Those that count beside ``price``: one that is not below it, since it fell, changes nothing."""
    return tuple(Tier(least, Money(amount, price.currency)) for least, amount in found if amount < price.amount)


def unit_price(price: Money, tiers: Iterable[Tier], quantity: int) -> Money:
    """What one piece costs when that many are bought."""
    return min([price, *(tier.price for tier in tiers if tier.from_quantity <= quantity)], key=lambda one: one.amount)
