"""Frozen views: what a hook is shown of the shop's things. Never live rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from core.money import Money


class Keyed(Protocol):
    """What a ``register_*`` hook delivers: an object with a key of its own."""

    @property
    def key(self) -> str: ...


FoundBy = Literal["contact", "account", "device", "address", "network"]
"""By what a buyer's other orders are found; see :class:`OrderToCheck` for each."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Orders that were found: how many, how many of them are paid for what sum, and by how many different contacts.

    ``spent`` is in the currency of the order that is checked; orders in another currency count, their sums do not.
    """

    orders: int
    paid: int
    spent: Money
    contacts: int


class OrderHistory(Protocol):
    """What this buyer did before, counted in the database when asked. The order that is checked is not in it.

    Rules are asked side by side, and what they ask in one moment goes to the database in one statement; asking twice
    for the same costs once. No more than 500 orders are counted. Nothing is found by what is not known (an empty
    ``ip``, nobody signed in).
    """

    async def by_contact(self, since: datetime) -> int:
        """Orders placed with the same contact since ``since`` (UTC), paid or not."""
        ...

    async def by_address(self, since: datetime) -> int:
        """Orders placed from the same network address since ``since`` (UTC); 0 when the address is not known."""
        ...

    async def count(self, by: FoundBy, within: timedelta) -> Counted:
        """Orders of the same contact, account, device, address or network in the time before now, paid or not."""
        ...

    async def failed_payments(self, by: FoundBy, within: timedelta) -> int:
        """Tries to pay for such orders that a gateway declined, in the time before now."""
        ...

    async def of_value(self, face_value: Money, within: timedelta) -> Counted:
        """Orders of anybody with a line of exactly this face value, in the time before now."""
        ...

    async def account(self) -> str:
        """The e-mail address this browser has proven to own, by a link sent there; empty for most buyers."""
        ...

    async def is_first(self) -> bool:
        """Whether nobody ever paid for an order with this contact."""
        ...


@dataclass(frozen=True, slots=True)
class LineToCheck:
    """One line of an order that is about to be placed.

    ``unit_price`` is what one piece costs this buyer, ``total`` all of them. ``face_value`` is what one piece costs in
    the catalogue, whatever was taken off for this buyer.
    """

    sku_code: str
    product_title: str
    quantity: int
    unit_price: Money
    total: Money
    face_value: Money


@dataclass(frozen=True, slots=True)
class OrderToCheck:
    """An order that is about to be placed; nothing of it is stored yet.

    ``contact`` is a lower-case e-mail address or a phone number in digits, ``contact_kind`` says which (``email``,
    ``phone``). ``agent`` is what the browser calls itself, ``locale`` the buyer's language (``zh_CN``). ``total`` is
    what must be paid. ``ip`` is the buyer's address, empty when unknown; it says nothing about buyers and is empty too
    when everybody comes from this machine, behind a proxy that was not named. ``answers`` are the buyer's answers to
    the products' own fields; what several goods ask stands one below the other.

    ``network`` is the neighbourhood of ``ip``: the 256 addresses around an IPv4 address (``203.0.113.0/24``), the
    /64 of an IPv6 address. ``device`` stands for the browser, by the session cookie that every buyer gets to find
    their orders again; it is no fingerprint and says nothing outside this shop. Whoever clears cookies is a new
    device. ``account`` costs a look into the database: ``await order.history.account()``.
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
    network: str = ""
    device: str = ""


# -- what facts show --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LineView:
    """One line of an order. ``title`` is the product's, in the language of the shop."""

    sku_code: str
    title: str
    quantity: int
    total: Money


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order as it is at the moment it is shown, which may be later than the fact it comes with.

    ``shop`` is the code of the shop that sold it. ``payment_state`` is ``unpaid``, ``paid``, ``expired``,
    ``cancelled``, ``mismatch``, ``refunded`` or ``charged_back``; ``fulfilment_state`` is ``reserved``, ``released``,
    ``preparing``, ``delivered``, ``review`` or ``void``. ``contact_kind`` says how the buyer is reached (``email``,
    ``phone``; ``erased`` once they are forgotten); ``contact`` is empty unless the plugin's manifest asks for the
    permission ``contacts``. ``locale`` is the language the buyer ordered in (``zh_CN``). ``total`` is what must be or
    was paid, after discounts. Times are UTC. ``test`` marks an order of a shop that only tries things out. There are no
    codes in it.
    """

    ref: str
    shop: str
    test: bool
    contact_kind: str
    contact: str
    locale: str
    total: Money
    payment_state: str
    fulfilment_state: str
    lines: tuple[LineView, ...]
    placed_at: datetime
    expires_at: datetime
    paid_at: datetime | None
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True)
class RefundView:
    """Money of an order that was given back. ``way`` is ``source`` (the way it came), ``balance`` or ``hand``.

    ``ref`` belongs to this refund alone; an order can have several. ``ended_at`` (UTC) is when it was written down that
    the money went.
    """

    ref: str
    amount: Money
    way: str
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class RemovedView:
    """An order that is not there any more; nothing but its number ``ref`` and the code of its ``shop`` is left."""

    ref: str
    shop: str


@dataclass(frozen=True, slots=True)
class ReviewView:
    """A question that waits for a person in the review queue.

    ``kind`` says what it is (``out_of_stock``, ``paid_twice``, ``chargeback`` and others), ``reason`` the same in the
    words of staff, in the language of the shop. ``order_ref`` is empty when it is not about an order. ``number``
    belongs to this question alone; ``open`` is False when it has been answered meanwhile. ``shop`` is the code of the
    shop whose staff is asked, ``opened_at`` is in UTC.
    """

    number: int
    shop: str
    kind: str
    reason: str
    order_ref: str
    opened_at: datetime
    open: bool


@dataclass(frozen=True, slots=True)
class StockView:
    """A SKU that runs low. ``left`` are the codes that can be sold now, at most one more than the threshold ``low``.

    ``shop`` is the code of the shop, ``title`` the product's in the language of the shop.
    """

    shop: str
    sku_code: str
    title: str
    left: int
    low: int
