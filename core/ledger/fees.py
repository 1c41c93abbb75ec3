"""What payment methods keep for themselves: a part of each payment in hundredths of a percent, and a fixed amount.

A rate counts for payments that are booked from then on. The part is rounded to the minor unit, halves up.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from core import db
from core.audit import service as audit
from core.db import Tx
from core.ledger.chart import BALANCE_METHOD, GATEWAY, real_methods
from core.money import Money
from core.refused import Refused
from core.web.amounts import read_amount
from core.web.i18n import _

# A method that is switched on, or the shop was ever paid by, or has a rate for.
OF_SHOP = """
SELECT known.method, coalesce(fee.percent, 0) AS percent, coalesce(fee.fixed, 0) AS fixed FROM (
    SELECT substr(code, length($3) + 1) AS method FROM ledger_account
    WHERE shop_id = $1 AND currency = $2 AND starts_with(code, $3)
    UNION SELECT method FROM ledger_fee WHERE shop_id = $1 AND currency = $2
    UNION SELECT unnest($5::text[])) AS known
LEFT JOIN ledger_fee fee ON fee.shop_id = $1 AND fee.currency = $2 AND fee.method = known.method
WHERE known.method <> $4 ORDER BY known.method
"""


@dataclass(frozen=True, slots=True)
class Fee:
    """``percent`` counts hundredths: 60 is 0.60 %."""

    method: str
    percent: int
    fixed: Money

    @property
    def percent_text(self) -> str:
        return f"{Decimal(self.percent) / 100:.2f}"


async def of_shop(shop_id: int, currency: str) -> list[Fee]:
    rows = await db.fetch(OF_SHOP, shop_id, currency, GATEWAY.format(""), BALANCE_METHOD, real_methods())
    return [Fee(row["method"], row["percent"], Money(row["fixed"], currency)) for row in rows]


def read(method: str, percent: str, fixed: str, currency: str) -> Fee:
    """A rate as a person wrote it.

    :raises Refused: not a number, or outside what a fee can be.
    """
    if not method or len(method) > 60:
        raise Refused(_("Choose a payment method."), "method")
    return Fee(method, _hundredths(percent or "0"), _fixed(fixed or "0", currency))


def _hundredths(text: str) -> int:
    try:
        hundredths = Decimal(text) * 100
    except InvalidOperation:
        raise Refused(_("Write a percentage such as 0.60."), "percent") from None
    if not hundredths.is_finite() or hundredths != hundredths.to_integral_value() or not 0 <= hundredths <= 10000:
        raise Refused(_("A percentage is between 0 and 100, with two decimals at most."), "percent")
    return int(hundredths)


def _fixed(text: str, currency: str) -> Money:
    money = read_amount(text, currency, "fixed")
    if not 0 <= money.amount <= 10**12:
        raise Refused(_("An amount cannot be negative."), "fixed")
    return money


async def save(tx: Tx, shop_id: int, fee: Fee, staff_id: int) -> None:
    await tx.execute(
        "INSERT INTO ledger_fee (shop_id, method, currency, percent, fixed) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (shop_id, method, currency) DO UPDATE SET percent = excluded.percent, fixed = excluded.fixed",
        shop_id,
        fee.method,
        fee.fixed.currency,
        fee.percent,
        fee.fixed.amount,
    )
    detail = {"percent": fee.percent_text, "fixed": fee.fixed.plain(), "currency": fee.fixed.currency}
    await audit.record(tx, f"staff:{staff_id}", "fee.changed", f"method:{fee.method}", detail, shop_id=shop_id)
