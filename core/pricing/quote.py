"""A basket becomes a quote. Prices come from the catalogue alone, never from the buyer's browser."""

from __future__ import annotations

from dataclasses import dataclass

from core.catalog.service import SkuFacts, late_sku_facts
from core.money import Money
from core.refused import Refused
from core.web.i18n import _


@dataclass(frozen=True, slots=True)
class Item:
    sku_code: str
    quantity: int


@dataclass(frozen=True, slots=True)
class QuoteLine:
    sku: SkuFacts
    quantity: int
    unit_price: Money
    total: Money


@dataclass(frozen=True, slots=True)
class Quote:
    lines: tuple[QuoteLine, ...]
    total: Money


async def quote(shop_id: int, items: list[Item]) -> Quote:
    """Price a basket and hold it against the limits of its SKUs.

    :raises Refused: an unknown or withdrawn SKU, or a quantity outside its limits.
    """
    if not items:
        raise Refused(_("Nothing was chosen."))
    codes = [item.sku_code for item in items]
    if len(set(codes)) < len(codes):
        raise Refused(_("An item stands twice in the basket."))
    facts = await late_sku_facts(shop_id, codes)
    lines = tuple(_line(facts.get(item.sku_code), item.quantity) for item in items)
    total = lines[0].total
    for line in lines[1:]:
        if line.total.currency != total.currency:
            raise Refused(_("These items have different currencies and cannot share an order."))
        total = total + line.total
    return Quote(lines, total)


def _line(sku: SkuFacts | None, quantity: int) -> QuoteLine:
    if sku is None or not sku.on_sale:
        raise Refused(_("This item is not on sale any more."), "sku")
    if not sku.min_per_order <= quantity <= sku.max_per_order:
        raise Refused(
            _("Choose a quantity from %(least)d to %(most)d.", least=sku.min_per_order, most=sku.max_per_order),
            "quantity",
        )
    return QuoteLine(sku, quantity, sku.price, sku.price.times(quantity))
