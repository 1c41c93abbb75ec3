"""What a SKU costs when a supplier delivers it, and the most that may be paid for one. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation

from core.money import MAX_AMOUNT, Money, exponent

WHOLE = 10_000
"""Markups and cost jumps count hundredths of a percent."""
MOST_PRICE = MAX_AMOUNT // 1000
"""What a rule may make of one piece: an order of a thousand is still an amount of money."""


@dataclass(frozen=True, slots=True)
class PriceRule:
    """``markup`` on the cost in hundredths of a percent, ``fixed`` on top, rounded up to a multiple of ``round_to``.

    ``least_margin`` is what must be left of the price. Amounts are minor units in the currency of the SKU.
    """

    follows: bool = False
    markup: int = 0
    fixed: int = 0
    round_to: int = 1
    least_margin: int = 0

    def price(self, cost: int) -> int:
        raw = -(-cost * (WHOLE + self.markup) // WHOLE) + self.fixed
        return max(0, -(-raw // self.round_to) * self.round_to)

    def is_enough(self, price: int, cost: int) -> bool:
        return price >= cost + self.least_margin

    def cap(self, price: int) -> int:
        """The most that one piece may cost."""
        return max(0, price - self.least_margin)


def can_be_asked(price: int) -> bool:
    """Whether a price by rule is one: nobody pays nothing, and a slip of the supplier may be anything."""
    return 0 < price <= MOST_PRICE


def jumped(before: int, now: int, bound: int) -> bool:
    """Whether the cost moved by more than ``bound`` in either direction: cheaper may be a slip of the supplier."""
    return abs(now - before) * WHOLE > before * bound


def rate_of(rates: Mapping[str, str], supplier_currency: str, shop_currency: str) -> Decimal | None:
    """What one unit of the supplier's currency is worth in the shop's; None when nobody said."""
    if supplier_currency == shop_currency:
        return Decimal(1)
    try:
        rate = Decimal(rates.get(supplier_currency, ""))
    except InvalidOperation:
        return None
    return rate if rate.is_finite() and rate > 0 else None


def in_shop_currency(cost: Money, currency: str, rates: Mapping[str, str]) -> int | None:
    """The cost in minor units of ``currency``, rounded up; None without an exchange rate.

    What is more than any amount of money is as much as one can be.
    """
    rate = rate_of(rates, cost.currency, currency)
    if rate is None:
        return None
    exact = (cost.decimal() * rate).scaleb(exponent(currency))
    return int(min(exact.to_integral_value(ROUND_CEILING), Decimal(MAX_AMOUNT)))


def in_supplier_currency(amount: Money, currency: str, rates: Mapping[str, str]) -> int | None:
    """The other way round, rounded down: what a cap in the shop's currency allows at the supplier."""
    rate = rate_of(rates, currency, amount.currency)
    if rate is None:
        return None
    exact = (amount.decimal() / rate).scaleb(exponent(currency))
    return int(exact.to_integral_value(ROUND_FLOOR))
