"""Amounts as Stripe counts them. It has its own opinion on some currencies, so its decimals stand here."""

from decimal import Decimal

from core.api import GatewayRefused, Money

WITHOUT_DECIMALS = frozenset("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF".split())
THREE_DECIMALS = frozenset("BHD JOD KWD OMR TND".split())
"""Their last digit must be 0. All others have two, also ISK and UGX, which have none any more."""


def _decimals(currency: str) -> int:
    if currency in WITHOUT_DECIMALS:
        return 0
    return 3 if currency in THREE_DECIMALS else 2


def to_stripe(money: Money) -> int:
    """:raises GatewayRefused: Stripe has no such amount."""
    amount = money.decimal().scaleb(_decimals(money.currency))
    step = 10 if money.currency in THREE_DECIMALS else 1
    if amount != amount.to_integral_value() or int(amount) % step:
        raise GatewayRefused(f"Stripe has no amount of {money.plain()} {money.currency}")
    return int(amount)


def from_stripe(amount: object, currency: object) -> Money:
    """:raises ValueError: it is no amount, or one our currency has no coins for."""
    if type(amount) is not int or not isinstance(currency, str):
        raise ValueError("there is no amount")
    code = currency.upper()
    return Money.parse(f"{Decimal(amount).scaleb(-_decimals(code)):f}", code)
