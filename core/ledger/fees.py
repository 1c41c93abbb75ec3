"""What payment methods keep for themselves: a part of each payment in hundredths of a percent, and a fixed amount.

A rate counts for payments that are booked from then on. The part is rounded to the minor unit, halves up.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from core import db
from core.audit import service as audit
from core.db import Tx
from core.ledger.chart import BALANCE_METHOD, GATEWAY, real_methods
from core.money import Money
from core.refused import Refused
from core.web.amounts import read_amount_from_zero, read_percent
from core.web.i18n import _

MOST_FIXED = 10**12

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
    return Fee(method, read_percent(percent, "percent", 0, 100_00), _fixed(fixed or "0", currency))


def _fixed(text: str, currency: str) -> Money:
    money = read_amount_from_zero(text, currency, "fixed")
    if money.amount > MOST_FIXED:
        raise Refused(_("This amount is too large."), "fixed")
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
