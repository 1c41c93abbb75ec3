"""Amounts of money as people type them into forms."""

from __future__ import annotations

from core.money import Money
from core.refused import Refused
from core.web.i18n import _


def read_amount(text: str, currency: str, field: str) -> Money:
    """:raises Refused: it is no amount of this currency."""
    try:
        return Money.parse(text, currency)
    except ValueError:
        raise Refused(_("Write an amount in digits, such as 19.90."), field) from None


def read_amount_from_zero(text: str, currency: str, field: str) -> Money:
    """:raises Refused: it is no amount of this currency, or less than nothing."""
    money = read_amount(text, currency, field)
    if money.amount < 0:
        raise Refused(_("An amount cannot be negative."), field)
    return money


def read_amount_above_zero(text: str, currency: str, field: str) -> Money:
    """:raises Refused: it is no amount of this currency, or nothing and less."""
    money = read_amount(text, currency, field)
    if money.amount <= 0:
        raise Refused(_("Write an amount above zero."), field)
    return money
