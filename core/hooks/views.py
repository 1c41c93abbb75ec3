"""Frozen views: what a hook is shown of the shop's things. Never live rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.money import Money


class Keyed(Protocol):
    """What a ``register_*`` hook delivers: an object with a key of its own."""

    @property
    def key(self) -> str: ...


class OrderHistory(Protocol):
    """How much this buyer ordered before, counted in the database when asked."""

    async def by_contact(self, since: datetime) -> int:
        """Orders placed with the same contact since ``since`` (UTC), paid or not."""
        ...

    async def by_address(self, since: datetime) -> int:
        """Orders placed from the same network address since ``since`` (UTC); 0 when the address is not known."""
        ...


@dataclass(frozen=True, slots=True)
class LineToCheck:
    """One line of an order that is about to be placed. ``unit_price`` and ``total`` are minor units."""

    sku_code: str
    product_title: str
    quantity: int
    unit_price: Money
    total: Money


@dataclass(frozen=True, slots=True)
class OrderToCheck:
    """An order that is about to be placed; nothing of it is stored yet.

    ``contact`` is a lower-case e-mail address or a phone number in digits, ``contact_kind`` says which
    (``email``, ``phone``). ``ip`` is the buyer's address, empty when unknown. ``answers`` are the buyer's
    answers to the product's own fields.
    """

    contact: str
    contact_kind: str
    ip: str
    agent: str
    locale: str
    total: Money
    lines: tuple[LineToCheck, ...]
    answers: Mapping[str, str]
    history: OrderHistory
