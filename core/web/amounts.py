"""Amounts of money and percentages as people type them into forms."""

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


def read_percent(text: str, field: str, least: int, most: int) -> int:
    """A percentage in hundredths: ``12.5`` is 1250, an empty field 0. ``least`` and ``most`` are in hundredths too.

    :raises Refused: it is no percentage with two decimals at most, or outside its bounds.
    """
    try:
        hundredths = Money.parse(text.strip() or "0", "CNY").amount  # which has two decimals as well
    except ValueError:
        raise Refused(_("Write a percentage with two decimals at most, such as 12.5."), field) from None
    if not least <= hundredths <= most:
        bounds = {"least": f"{least / 100:g}", "most": f"{most / 100:g}"}
        raise Refused(_("Write a percentage from %(least)s to %(most)s.", **bounds), field)
    return hundredths
