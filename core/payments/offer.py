"""The ways to pay that a buyer may choose from now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.hooks import runtime
from core.payments.method import PaymentMethod
from core.refused import Refused
from core.web.i18n import _


@dataclass(frozen=True, slots=True)
class Offer:
    """One button. ``value`` is what the form sends: ``epay:alipay``, or ``manual`` for a method without options."""

    method: PaymentMethod
    option: str
    title: Mapping[str, str]
    icon: str

    @property
    def value(self) -> str:
        return f"{self.method.key}:{self.option}" if self.option else self.method.key


def offers(shop_id: int, currency: str, test_mode: bool, balance: bool = False) -> list[Offer]:
    """Every button for a new order in ``currency``. Test methods are offered only in test mode.

    ``balance``: the buyer has shown to own a balance that is enough.
    """
    usable = [method for method in _methods_in(shop_id).values() if test_mode or not method.test_only]
    return _offers(currency, usable, balance)


def offers_for_order(shop_id: int, currency: str, test: bool, test_mode: bool, balance: bool = False) -> list[Offer]:
    """Every button for an order that is there: a test order is paid by a test method while the shop is in test mode,
    a real one by a real method."""
    if test and not test_mode:
        return []
    usable = [method for method in _methods_in(shop_id).values() if method.test_only == test]
    return _offers(currency, usable, balance and not test)


def takes_balance(value: str) -> bool:
    """Whether a form named a method that pays from the buyer's balance."""
    method = methods().get(value.partition(":")[0])
    return method is not None and method.from_balance


def balance_is_taken(shop_id: int) -> bool:
    """Whether any method of this shop pays from a balance."""
    return any(method.from_balance for method in _methods_in(shop_id).values())


def _offers(currency: str, usable: list[PaymentMethod], balance: bool) -> list[Offer]:
    found: list[Offer] = []
    for method in usable:
        if method.from_balance and not balance:
            continue
        if not _takes(method, currency):
            continue
        found += [Offer(method, one.key, one.title, one.icon) for one in method.options] or [
            Offer(method, "", method.title, getattr(method, "icon", "credit-card"))
        ]
    return found


def _takes(method: PaymentMethod, currency: str) -> bool:
    """One that cannot tell is not offered; the others are."""
    try:
        currencies = method.currencies()
        return currencies is None or currency in currencies
    except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin's mistake of any kind
        plugins = runtime.current()
        plugins.count_failure(plugins.owner("register_payment_methods", method.key), "currencies", error)
        return False


def chosen(value: str, offered: list[Offer]) -> Offer:
    """The offer a form named; a method's key alone means its first option."""
    for offer in offered:
        if value in (offer.value, offer.method.key):
            return offer
    raise Refused(_("Choose how you want to pay."), "method")


def methods() -> dict[str, Any]:
    """All that are there: gateways call about payments that were begun while a method was still offered."""
    return runtime.current().payment_methods


def _methods_in(shop_id: int) -> dict[str, Any]:
    return runtime.current().payment_methods_in(shop_id)
