"""Amounts of money: whole minor units and a currency, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from babel.core import Locale, get_global
from babel.numbers import format_currency

MAX_AMOUNT = 10**15


@lru_cache(maxsize=64)
def _locale(name: str) -> Locale:
    return Locale.parse(name.replace("-", "_"))


def exponent(currency: str) -> int:
    """How many decimals the currency has (CNY 2, JPY 0, KWD 3), from Unicode CLDR."""
    fractions: dict[str, tuple[int, ...]] = get_global("currency_fractions")  # type: ignore[assignment]
    return fractions.get(currency, fractions["DEFAULT"])[0]


@dataclass(frozen=True, slots=True)
class Money:
    """``amount`` counts minor units (fen, cents); it may be negative for money going back.

    ``currency`` is its ISO 4217 code; how many decimals it has is what Unicode CLDR says. ``+`` and ``-`` want the same
    currency on both sides.

    :raises ValueError: no whole number, more than 10^15 minor units, no code, or two currencies.
    """

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.amount) is not int or abs(self.amount) > MAX_AMOUNT:
            raise ValueError("an amount of money is a whole number of minor units within 10^15")
        if len(self.currency) != 3 or not self.currency.isascii() or not self.currency.isupper():
            raise ValueError("a currency is three capital letters, such as CNY")

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other), self.currency)

    def times(self, quantity: int) -> Money:
        """The price of ``quantity`` things."""
        return Money(self.amount * quantity, self.currency)

    def decimal(self) -> Decimal:
        """In major units: ``Decimal("19.90")`` for 1990 fen."""
        return Decimal(self.amount).scaleb(-exponent(self.currency))

    def plain(self) -> str:
        """The number alone with the currency's decimals: ``19.90``, as gateways want it."""
        return f"{self.decimal():.{exponent(self.currency)}f}"

    def text(self, locale: str = "en") -> str:
        """For people: ``¥19.90``, in the habits of ``locale`` (``zh_CN`` or ``zh-CN``)."""
        return format_currency(self.decimal(), self.currency, locale=_locale(locale))

    @classmethod
    def parse(cls, text: str, currency: str) -> Money:
        """Read what a person or a gateway wrote (``19.9``); refuses more decimals than the currency has.

        :raises ValueError: it is no amount of this currency, or more than 10^15 minor units.
        """
        cleaned = text.strip()
        if not cleaned.isascii() or not cleaned.removeprefix("-").replace(".", "", 1).isdigit():
            raise ValueError("write an amount in digits, such as 19.90")
        try:
            minor = Decimal(cleaned).scaleb(exponent(currency))
        except InvalidOperation:
            raise ValueError("write an amount in digits, such as 19.90") from None
        if minor != minor.to_integral_value():
            raise ValueError(f"{currency} has {exponent(currency)} decimals")
        if abs(minor) > MAX_AMOUNT:
            raise ValueError("the amount is too large")
        return cls(int(minor), currency)

    def _same(self, other: Money) -> int:
        if other.currency != self.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not add up")
        return other.amount
