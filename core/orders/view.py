"""An order as its buyer sees it: typed values for the page, and in which phase of its life it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core import clock
from core.catalog.service import Words
from core.money import Money


@dataclass(frozen=True, slots=True)
class MaskedCode:
    id: int
    mask: str


@dataclass(frozen=True, slots=True)
class LineView:
    id: int
    product_title: Words
    sku_title: Words
    sku_code: str
    quantity: int
    unit_price: Money
    total: Money
    answers: list[tuple[Words, str]]
    """What the buyer was asked, and said."""
    delivery_note: Words
    codes: list[MaskedCode]


@dataclass(frozen=True, slots=True)
class OrderView:
    id: int
    ref: str
    contact: str
    payment_state: str
    fulfilment_state: str
    total: Money
    test: bool
    created_at: datetime
    expires_at: datetime
    paid_at: datetime | None
    delivered_at: datetime | None
    lines: list[LineView]
    attempts: list[dict[str, Any]]
    last_event: int

    @property
    def mark(self) -> str:
        """Changes whenever the page would."""
        return f"{self.last_event}-{self.phase}"

    @property
    def phase(self) -> str:
        """``unpaid expired cancelled review preparing delivered refunded``: which page the buyer needs."""
        if self.fulfilment_state == "delivered":
            return "delivered"
        if self.payment_state == "refunded" or self.fulfilment_state == "void":
            return "refunded"
        if self.payment_state == "mismatch" or self.fulfilment_state == "review":
            return "review"
        if self.payment_state == "paid":
            return "preparing"
        if self.payment_state == "unpaid" and self.expires_at <= clock.now():
            # The timer has not come by yet, but nobody can pay this any more in time.
            return "expired"
        return self.payment_state

    @property
    def lives(self) -> bool:
        """Whether the page may still change by itself."""
        return self.phase not in ("delivered", "refunded", "cancelled")

    @property
    def codes(self) -> list[MaskedCode]:
        return [code for line in self.lines for code in line.codes]

    @property
    def contact_hint(self) -> str:
        """Enough to recognise it, not enough to use it."""
        name, at, host = self.contact.partition("@")
        if at:
            return f"{name[:2]}•••@{host}"
        return f"{name[:3]}••••{name[-2:]}"


def order_view(row: dict[str, Any]) -> OrderView:
    currency = row["currency"]
    return OrderView(
        id=row["id"],
        ref=row["ref"],
        contact=row["contact"],
        payment_state=row["payment_state"],
        fulfilment_state=row["fulfilment_state"],
        total=Money(row["total"], currency),
        test=row["test"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        paid_at=row["paid_at"],
        delivered_at=row["delivered_at"],
        lines=[_line(line, currency) for line in row["lines"] or []],
        attempts=row["attempts"] or [],
        last_event=row["last_event"],
    )


def _line(line: dict[str, Any], currency: str) -> LineView:
    return LineView(
        id=line["id"],
        product_title=line["product_title"],
        sku_title=line["sku_title"],
        sku_code=line["sku_code"],
        quantity=line["quantity"],
        unit_price=Money(line["unit_price"], currency),
        total=Money(line["total"], currency),
        answers=_answers(line["fields"], line["labels"] or {}),
        delivery_note=line["delivery_note"],
        codes=[MaskedCode(**code) for code in line["codes"] or []],
    )


def _answers(answers: dict[str, str], labels: dict[str, Words]) -> list[tuple[Words, str]]:
    """A question that the product asks no more still has its key."""
    return [(labels.get(key) or {"en": key}, answer) for key, answer in answers.items() if answer]
