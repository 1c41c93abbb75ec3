"""The suppliers of this server: what their plugins deliver, and what was seen of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from core import db
from core.audit import service as audit
from core.db import Tx
from core.hooks import runtime
from core.money import Money
from core.refused import Refused
from core.supply.supplier import Supplier
from core.web.amounts import read_amount
from core.web.i18n import _, in_language

LONGEST_RATE = 20

SEEN = """
SELECT supplier.*, (SELECT count(*) FROM supply_offer WHERE supplier = supplier.key AND NOT gone) AS offers,
       (SELECT count(DISTINCT link.sku_id) FROM supply_link link JOIN supply_offer offer ON offer.id = link.offer_id
        WHERE offer.supplier = supplier.key) AS skus,
       (SELECT json_agg(DISTINCT currency) FROM supply_offer WHERE supplier = supplier.key AND NOT gone) AS currencies
FROM supply_supplier supplier
"""


@dataclass(frozen=True, slots=True)
class Known:
    """A supplier as its page shows it. ``works`` is False while its plugin is off or broken."""

    key: str
    title: dict[str, str]
    works: bool
    plugin: str
    balance: Money | None
    balance_at: datetime | None
    low_balance: Money | None
    is_low: bool
    synced_at: datetime | None
    catalogue_at: datetime | None
    sync_error: str
    failures: int
    offers: int
    skus: int
    currencies: list[str]
    rates: dict[str, str]

    @property
    def currency(self) -> str:
        """In which its account is kept, as far as is known."""
        return self.balance.currency if self.balance else next(iter(self.currencies), "")


async def known() -> list[Known]:
    """Those that work, and those of which something is stored."""
    rows = {row["key"]: row for row in await db.fetch(SEEN + "ORDER BY supplier.key")}
    delivered = runtime.current().delivered("register_suppliers")
    for key in delivered.keys() - rows.keys():
        rows[key] = None
    return [_known(key, rows[key], delivered.get(key)) for key in sorted(rows)]


async def one(key: str) -> Known | None:
    row = await db.fetchrow(SEEN + "WHERE supplier.key = $1", key)
    delivered = runtime.current().delivered("register_suppliers").get(key)
    return _known(key, row, delivered) if row is not None or delivered is not None else None


def _known(key: str, row: Any, delivered: Any) -> Known:
    item = delivered.item if delivered else None
    facts: dict[str, Any] = dict(row) if row is not None else {}
    currency = facts.get("currency")
    currencies = facts.get("currencies") or []
    account = currency or next(iter(currencies), None)
    low = facts.get("low_balance")
    return Known(
        key=key,
        title=dict(item.title) if item is not None else facts.get("title") or {"en": key},
        works=isinstance(item, Supplier),
        plugin=delivered.plugin if delivered else "",
        balance=Money(facts["balance"], currency) if currency and facts.get("balance") is not None else None,
        balance_at=facts.get("balance_at"),
        low_balance=Money(low, account) if low is not None and account else None,
        is_low=bool(facts.get("low_told")),
        synced_at=facts.get("synced_at"),
        catalogue_at=facts.get("catalogue_at"),
        sync_error=in_language(facts.get("sync_error", "")),
        failures=facts.get("failures", 0),
        offers=facts.get("offers", 0),
        skus=facts.get("skus", 0),
        currencies=currencies,
        rates=facts.get("rates") or {},
    )


async def save(tx: Tx, key: str, low_balance: str, rates: dict[str, str], staff_id: int, ip: str | None) -> list[int]:
    """Set from which balance on staff is warned, and what foreign currencies are worth; gives the offers to follow.

    :raises Refused: a number cannot be read.
    """
    row = await tx.fetchrow(SEEN + "WHERE supplier.key = $1", key)
    if row is None:
        raise Refused(_("There is no such supplier."))
    currency = row["currency"] or next(iter(row["currencies"] or []), None)
    floor = None
    if low_balance.strip() and currency:
        floor = read_amount(low_balance, currency, "low_balance").amount
        if floor < 0:
            raise Refused(_("Write an amount in digits, such as 19.90."), "low_balance")
    good = {name: text for name, given in rates.items() if (text := _rate(name, given))}
    await tx.execute(
        "UPDATE supply_supplier SET low_balance = $2, rates = $3, low_told = false WHERE key = $1", key, floor, good
    )
    await audit.record(
        tx, f"staff:{staff_id}", "supplier.saved", f"supplier:{key}", {"low_balance": floor, "rates": good}, ip=ip
    )
    return [
        row["id"]
        for row in await tx.fetch(
            "SELECT id FROM supply_offer WHERE supplier = $1 AND id IN (SELECT offer_id FROM supply_link)", key
        )
    ]


def _rate(currency: str, text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    try:
        rate = Decimal(text)
    except InvalidOperation:
        rate = Decimal(0)
    if len(text) > LONGEST_RATE or not rate.is_finite() or rate <= 0:
        raise Refused(_("Write a rate such as 7.12."), f"rate_{currency}")
    return text
