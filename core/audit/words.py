"""What alarms are called, and details of the log for people."""

from __future__ import annotations

from typing import Any

from core.money import Money
from core.web.i18n import Text, _, locale

KINDS: dict[str, Text] = {
    "payment.forged": _("Forged callback"),
    "channel.forged": _("Forged call of a partner"),
    "channel.foreign_order": _("Partner asked for another's order"),
    "supply.forged": _("Forged call of a supplier"),
    "supply.unknown": _("A supplier's call about no purchase"),
    "supply.odd_purchase": _("Odd purchase"),
    "supply.below_margin": _("Sold below its cost"),
    "supply.odd_price": _("A supplier's price that cannot be"),
    "supply.low_balance": _("Little balance at a supplier"),
    "payment.unknown": _("Payment of no order"),
    "payment.wrong_amount": _("Wrong amount"),
    "payment.chargeback": _("Charged back"),
    "order.wrong_link": _("Wrong link to an order"),
    "gift.wrong_link": _("Wrong link to a gift"),
    "order.foreign_reveal": _("Codes of another's order asked for"),
    "order.second_reveal": _("Codes asked for in a second browser"),
    "staff.too_many_codes": _("Staff asked for too many codes"),
    "passkey.copied": _("A passkey may have been copied"),
    "redemption.guessing": _("Codes were guessed"),
}

AMOUNTS = ("amount", "asked", "came", "balance", "floor", "price", "cost", "list_price", "face_value")
"""What details give in minor units, in the currency beside it."""


def readable(detail: dict[str, Any]) -> dict[str, Any]:
    """Details with money in place of minor units and their currencies."""
    shown, said = dict(detail), set()
    for key in AMOUNTS:
        currency = f"{key}_currency" if f"{key}_currency" in detail else "currency"
        money = _money(detail.get(key), detail.get(currency))
        if money:
            shown[key] = money.text(locale())
            said.add(currency)
    return {key: value for key, value in shown.items() if key not in said}


def _money(amount: Any, currency: Any) -> Money | None:
    """None when it is none: plugins write details too."""
    try:
        return Money(amount, currency.strip()) if isinstance(currency, str) else None
    except ValueError:
        return None
