"""The chart of accounts: what each account is called, what it is, and on which side it grows.

A code is a heading's own (``revenue``), or a heading and a name (``gateway:epay``): one account each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.web.i18n import Text, _
from core.web.words import in_words

GATEWAY = "gateway:{}"
CUSTOMER = "customer:{}"
SUPPLIER = "supplier:{}"
CASH = "cash"
STOCK = "stock"
DEPOSITS = "deposits"
REVENUE = "revenue"
DISCOUNTS = "discounts"
REFUNDS = "refunds"
COST = "cost"
FEES = "fees"
CHARGEBACKS = "chargebacks"
GOODWILL = "goodwill"

BALANCE_METHOD = "balance"
"""The payment method that takes from a buyer's balance; its gateway account is empty again after each payment."""


class Nature(StrEnum):
    ASSET = "asset"
    LIABILITY = "liability"
    INCOME = "income"
    EXPENSE = "expense"


NATURES: dict[Nature, Text] = {
    Nature.ASSET: _("Assets"),
    Nature.LIABILITY: _("Liabilities"),
    Nature.INCOME: _("Income"),
    Nature.EXPENSE: _("Expenses"),
}


@dataclass(frozen=True, slots=True)
class Heading:
    """``grows_by_debit`` is the normal side: assets, expenses and what is taken off income."""

    key: str
    title: Text
    about: Text
    nature: Nature
    grows_by_debit: bool


CHART = {
    heading.key: heading
    for heading in (
        Heading(
            "gateway",
            _("Money at payment methods"),
            _("What a payment method took for the shop and has not paid back."),
            Nature.ASSET,
            True,
        ),
        Heading("cash", _("Cash"), _("Money that staff took in or paid out by hand."), Nature.ASSET, True),
        Heading("stock", _("Stock"), _("What the codes in stock cost."), Nature.ASSET, True),
        Heading("supplier", _("Suppliers"), _("What the shop owes for codes it brought in."), Nature.LIABILITY, False),
        Heading(
            "deposits",
            _("Paid, not delivered"),
            _("Money of buyers whose goods were not handed over yet."),
            Nature.LIABILITY,
            False,
        ),
        Heading("customer", _("Customer balances"), _("What buyers keep with the shop."), Nature.LIABILITY, False),
        Heading("revenue", _("Sales"), _("Delivered goods at their list price."), Nature.INCOME, False),
        Heading("discounts", _("Discounts"), _("What was taken off the list price."), Nature.INCOME, True),
        Heading("refunds", _("Refunds"), _("Money given back for delivered goods."), Nature.INCOME, True),
        Heading("cost", _("Cost of goods"), _("What the delivered codes cost."), Nature.EXPENSE, True),
        Heading("fees", _("Payment fees"), _("What payment methods keep for themselves."), Nature.EXPENSE, True),
        Heading(
            "chargebacks", _("Chargebacks"), _("Payments a gateway took back after delivery."), Nature.EXPENSE, True
        ),
        Heading("goodwill", _("Goodwill"), _("Balance that staff gave or took without money."), Nature.EXPENSE, True),
    )
}

KINDS: dict[str, Text] = {
    "payment": _("Payment"),
    "sale": _("Sale"),
    "discount": _("Discount"),
    "cost": _("Cost of goods"),
    "fee": _("Payment fee"),
    "refund": _("Refund"),
    "difference": _("Difference to the price"),
    "purchase": _("Bought from a supplier"),
    "stock_in": _("Codes brought in"),
    "stock_out": _("Codes taken out again"),
    "written_off": _("Codes written off"),
    "chargeback_won": _("Dispute won"),
    "replacement": _("Code given for a bad one"),
    "balance_in": _("Balance put in"),
    "balance_out": _("Balance taken out"),
    "balance_paid": _("Paid from balance"),
    "balance_refund": _("Refund to balance"),
    "balance_card": _("Value card put in"),
}
"""What entries are called on pages."""


class UnknownAccount(ValueError):
    """An account that is not in the chart. Give it a heading there first."""


def heading(code: str) -> Heading:
    """:raises UnknownAccount: the chart has no such account."""
    found = CHART.get(code.partition(":")[0])
    if found is None:
        raise UnknownAccount(f"the chart of accounts has no {code!r}")
    return found


def title(code: str) -> str:
    """What an account is called: the heading, and behind it the name of this one of its kind."""
    kind, _colon, name = code.partition(":")
    text = str(heading(code).title)
    if not name:
        return text
    return f"{text}: {method_title(name) if kind == 'gateway' else name}"


_titles: Mapping[str, Mapping[str, str]] = {}
_real: Sequence[str] = ()


def of_methods(titles: Mapping[str, Mapping[str, str]], real: Sequence[str]) -> None:
    """From now on payment methods are called so, each in several languages; ``real`` are those that take money."""
    global _titles, _real
    _titles, _real = titles, real


def real_methods() -> list[str]:
    """The payment methods that are switched on and take money."""
    return list(_real)


def method_title(key: str) -> str:
    """What a payment method is called; its key when its plugin is off or gone."""
    return in_words(_titles.get(key)) or key
