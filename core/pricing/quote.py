"""A basket becomes a quote. Prices come from the catalogue alone, never from the buyer's browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.catalog.service import SkuFacts, late_sku_facts
from core.catalog.tiers import unit_price
from core.money import Money
from core.pricing.promotion import Cap
from core.refused import Refused
from core.web.i18n import Text, _


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

    @property
    def claims(self) -> int:
        """How many codes of the vault it takes; none when its goods are bought or made after it is paid."""
        return self.quantity if self.sku.source == "codes" or self.sku.own_first else 0


@dataclass(frozen=True, slots=True)
class Discount:
    """What a promotion takes off, as it is stored with the order. ``amount`` is below zero."""

    promotion: str
    key: str
    title: Mapping[str, str]
    amount: Money
    sku_id: int | None = None
    code: str = ""
    caps: tuple[Cap, ...] = ()
    data: Mapping[str, str | int] | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """``total`` is what is to be paid: the lines at catalogue prices, less the discounts."""

    lines: tuple[QuoteLine, ...]
    total: Money
    discounts: tuple[Discount, ...] = ()
    not_needed: tuple[str, ...] = ()
    """Entered codes that are good, but take off nothing beside what is here."""

    @property
    def subtotal(self) -> Money:
        return summed(self.lines)


class LineRefused(Refused):
    """Something is wrong with one or some of the things that are to be bought; ``skus`` are their codes."""

    def __init__(self, text: Text, field: str, skus: Sequence[str] = ()) -> None:
        super().__init__(text, field)
        self.skus = tuple(skus)


async def quote(shop_id: int, items: list[Item]) -> Quote:
    """Price a basket at catalogue prices and hold it against the limits of its SKUs.

    :raises LineRefused: an unknown or withdrawn SKU, or a quantity outside its limits.
    :raises Refused: the items do not go together.
    """
    if not items:
        raise Refused(_("Nothing was chosen."))
    codes = [item.sku_code for item in items]
    if len(set(codes)) < len(codes):
        raise Refused(_("An item stands twice in the basket."))
    facts = await late_sku_facts(shop_id, codes)
    lines = tuple(_checked(item, facts.get(item.sku_code)) for item in items)
    if len({line.total.currency for line in lines}) > 1:
        raise Refused(_("These items have different currencies and cannot share an order."))
    return Quote(lines, summed(lines))


def priced(wanted: Sequence[tuple[SkuFacts, int]]) -> Quote:
    """These SKUs at their catalogue prices, so many of each, whether or not they may be sold now."""
    lines = tuple(_line(sku, quantity) for sku, quantity in wanted)
    return Quote(lines, summed(lines))


def summed(lines: tuple[QuoteLine, ...]) -> Money:
    return Money(sum(line.total.amount for line in lines), lines[0].total.currency)


def _checked(item: Item, sku: SkuFacts | None) -> QuoteLine:
    if sku is None or not sku.on_sale:
        raise LineRefused(_("This item is not on sale any more."), "sku", [item.sku_code])
    if not sku.min_per_order <= item.quantity <= sku.max_per_order:
        raise LineRefused(
            _("Choose a quantity from %(least)d to %(most)d.", least=sku.min_per_order, most=sku.max_per_order),
            "quantity",
            [sku.code],
        )
    return _line(sku, item.quantity)


def _line(sku: SkuFacts, quantity: int) -> QuoteLine:
    price = unit_price(sku.price, sku.tiers, quantity)
    return QuoteLine(sku, quantity, price, price.times(quantity))
