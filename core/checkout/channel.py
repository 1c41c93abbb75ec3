"""What a channel is: the object a channel plugin delivers to sell to other programs, and what passes through it.

Core knows the partners, their balances, the catalogue and the orders. A channel knows the language of a program:
it reads its calls, proves who makes them, and puts the answers into words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from core.money import Money
from core.partners.accounts import Partner
from core.payments.method import Answer
from core.refused import Refused
from core.web.i18n import Text, _, source


class ForgedCall(Exception):
    """The call is not from a partner, was altered, or is old: nothing is done and an alarm is left.

    ``reason`` is for staff and never holds a key. ``answer`` is what the caller is told.
    """

    def __init__(self, reason: Text | str, answer: Answer) -> None:
        super().__init__(source(reason))
        self.answer = answer


class NotForSale(Refused):
    """This SKU is not there, or not on sale. Nothing was changed."""


class WrongWish(Refused):
    """It is not sold in such a quantity, or the answers do not fit its questions. Nothing was changed."""


class NothingLeft(Refused):
    """Not enough of it is in stock. Nothing was changed."""

    def __init__(self) -> None:
        super().__init__(_("There is not enough in stock."), "quantity")


class BalanceTooSmall(Refused):
    """The partner's balance is not enough. Nothing was changed."""

    def __init__(self) -> None:
        super().__init__(_("The balance is not enough."))


class PartnerUnavailable(Exception):
    """The partner could not be told; core tries again, later and later. The text is shown to staff."""


@dataclass(frozen=True, slots=True)
class ChannelCall:
    """One call to ``/channel/<key>/<path>``. ``body`` is raw, ``headers`` have lower-case names.

    ``path`` begins with a slash and has no query; ``query`` holds the first value of each name.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    client_ip: str


@dataclass(frozen=True, slots=True)
class Shelf:
    """A category. ``title`` is by locale; the lowest ``position`` comes first."""

    id: int
    slug: str
    title: Mapping[str, str]
    position: int


@dataclass(frozen=True, slots=True)
class Question:
    """One thing the buyer of a product is asked. ``kind`` is text, email, phone, number or select (of ``options``).

    ``label`` is by locale.
    """

    key: str
    label: Mapping[str, str]
    kind: str
    required: bool
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """A SKU as it stands now. ``price`` is what this partner pays for one, ``list_price`` the catalogue's.

    ``title`` is by locale. ``least`` and ``most`` bound the quantity of one order. ``stock`` is how many it can have,
    counted up to a thousand; None when that is not bounded.
    """

    id: int
    code: str
    title: Mapping[str, str]
    price: Money
    list_price: Money
    stock: int | None
    least: int
    most: int
    listed: bool


@dataclass(frozen=True, slots=True)
class Article:
    """A product with its SKUs. ``by_hand``: a person or a top-up fulfils it, and ``questions`` must be answered.

    ``title``, ``summary`` and ``description`` (Markdown) are by locale. ``image_url`` is empty when there is no
    picture, ``category_id`` the ``id`` of a :class:`Shelf`. Times are UTC.
    """

    id: int
    slug: str
    title: Mapping[str, str]
    summary: Mapping[str, str]
    description: Mapping[str, str]
    image_url: str
    category_id: int | None
    by_hand: bool
    listed: bool
    questions: tuple[Question, ...]
    choices: tuple[Choice, ...]
    created_at: datetime
    updated_at: datetime


class SaleState(StrEnum):
    """How an order of a partner stands."""

    WAITING = "waiting"
    """Paid for; the goods are on their way, or a person has to look."""
    DELIVERED = "delivered"
    """All goods are handed over."""
    CANCELLED = "cancelled"
    """Nothing is delivered, and the money is back."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a partner wants to buy. ``reference`` is its own number of it: the same again gives the same order.

    ``answers`` are the buyer's to the product's questions, by key. ``callback_url`` is where it wants to be told; the
    plugin has looked whether that is an address to call.
    """

    reference: str
    sku_id: int
    quantity: int
    answers: Mapping[str, str]
    callback_url: str = ""


@dataclass(frozen=True, slots=True)
class Sale:
    """An order of a partner. ``ref`` is our number of it, ``reference`` the partner's own.

    ``unit_price`` is what the partner pays for one, ``total`` for all, ``refunded`` what of it went back;
    all in the shop's currency. ``title`` is by locale. ``by_hand`` as in :class:`Article`. Times are UTC.
    """

    id: int
    ref: str
    reference: str
    state: SaleState
    total: Money
    refunded: Money
    product_id: int
    sku_id: int
    title: Mapping[str, str]
    quantity: int
    unit_price: Money
    by_hand: bool
    created_at: datetime
    delivered_at: datetime | None


class Seller(Protocol):
    """The counter for programs: what a channel may ask of the shop. Every call is about one shop."""

    @property
    def name(self) -> str:
        """What the shop is called."""
        ...

    @property
    def currency(self) -> str:
        """The shop's currency, such as ``CNY``: prices and balances are in it."""
        ...

    async def partner(self, api_key: str) -> Partner | None:
        """Whose key that is. The caller has proven nothing yet."""
        ...

    async def balance(self, partner: Partner) -> Money:
        """What the partner has left, in the shop's currency."""
        ...

    async def shelves(self) -> list[Shelf]:
        """The categories buyers see."""
        ...

    async def articles(self, partner: Partner, page: int, size: int) -> tuple[list[Article], int]:
        """A page of what is on sale (the first is 1), and how many products there are in all."""
        ...

    async def article(self, partner: Partner, product_id: int) -> Article | None:
        """One product, also when it is not on sale now; None for a draft or an unknown one."""
        ...

    async def sell(self, partner: Partner, wish: Wish) -> Sale:
        """Sell at once: price it, take it from stock, pay it from the partner's balance, deliver what is there.

        Asked again with the same ``reference`` it gives the same order, whatever else is asked.

        :raises NotForSale: no such SKU, or it is not on sale.
        :raises WrongWish: not in that quantity, or not with those answers; the text is for people.
        :raises NothingLeft: not enough in stock.
        :raises BalanceTooSmall: the partner has to put money in first.
        """
        ...

    async def sale(self, partner: Partner, sale_id: int) -> Sale | None:
        """An order of this partner. Asking for somebody else's gives None and leaves an alarm."""
        ...

    async def sale_of(self, partner: Partner, reference: str) -> Sale | None:
        """The order of this partner with that number of its own."""
        ...

    async def goods(self, partner: Partner, sale: Sale) -> tuple[str, ...]:
        """The codes of a delivered order in plain text, each showing written down.

        Put them into the answer to the partner and nowhere else. Codes that were erased meanwhile are missing.
        """
        ...


class Channel:
    """A way to sell to other programs. Derive, set ``key`` and ``title``, and write the methods.

    ``key`` is part of the address programs call (``/channel/<key>/…``) and is stored with their orders: never
    change it. ``title`` is by locale. No method is called inside a database transaction.
    """

    key: str
    title: Mapping[str, str]

    async def answer(self, call: ChannelCall, seller: Seller) -> Answer:
        """Find out who calls, verify it over the raw bytes, do what is asked, and say how it went.

        :raises ForgedCall: it is not from a partner.
        """
        raise NotImplementedError

    async def tell_sale(self, partner: Partner, sale: Sale, goods: tuple[str, ...], url: str) -> None:
        """Tell a partner at its ``callback_url`` that its order is delivered (``goods`` are the codes) or cancelled.

        Called from a durable job until it succeeds; telling it twice does no harm there.

        :raises PartnerUnavailable: it did not take the news; ``HttpError`` may simply pass.
        """
        raise NotImplementedError

    async def tell_stand(self, partner: Partner, changed: tuple[tuple[int, int], ...], url: str) -> None:
        """Tell a partner that price or stock of these (product id, SKU id) changed, where staff entered an address.

        Called from a durable job, at most once every few seconds. A protocol without such news does nothing.

        :raises PartnerUnavailable: as above.
        """
