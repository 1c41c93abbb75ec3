"""What a supplier is: the object a supplier plugin delivers, and the values that pass through it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from core.money import Money
from core.payments.method import Answer, CallbackRequest


class SupplierUnavailable(Exception):
    """The supplier could not be reached or answered garbage: nothing is known.

    Core never buys again under another reference after this; it asks :meth:`Supplier.query`, else a person decides.
    The text is shown to staff and must hold no key and no code.
    """


class SupplierRefused(Exception):
    """The supplier said no and meant it: nothing was sold and nothing was charged. The text is shown to staff."""


class AboveCap(SupplierRefused):
    """The supplier wants more than the price cap. Nothing was sold."""


class OutOfStock(SupplierRefused):
    """The supplier has none left. Nothing was sold."""


class Delivers(StrEnum):
    """What a purchase of an offer brings."""

    CODES = "codes"
    """Codes, one for each piece, in ``PurchaseAnswer.goods``."""
    TOP_UP = "top_up"
    """Nothing to hand over: the supplier puts it on the buyer's account itself."""


@dataclass(frozen=True, slots=True)
class AccountField:
    """One thing a top-up must know of the buyer's account (``phone``, ``uid``).

    ``key`` is the supplier's name for it, ``title`` is by locale. ``pattern`` is a regular expression that the whole
    answer must fit; ``choices`` are value → title by locale when only certain answers do (a game's server).
    """

    key: str
    title: Mapping[str, str]
    pattern: str = ""
    choices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing a supplier sells, as it stands now.

    ``item`` is the supplier's own number of it, at most 100 signs, and never changes. ``cost`` is what one piece costs
    us, None when the supplier's price cannot be read: that offer alone is not sold then. ``stock`` is how many can be
    bought, None when the supplier does not say. ``listed`` is False when it is not sold at the moment. ``face_value``
    is what is printed on the card, where that is known. ``least`` and ``most`` bound the quantity of one purchase.
    ``fields`` are what a top-up asks for. ``title``, ``category`` and ``description`` are the supplier's own words, in
    its language.
    """

    item: str
    title: str
    cost: Money | None
    delivers: Delivers = Delivers.CODES
    stock: int | None = None
    listed: bool = True
    face_value: Money | None = None
    least: int = 1
    most: int | None = None
    fields: tuple[AccountField, ...] = ()
    category: str = ""
    description: str = ""
    image_url: str = ""


@dataclass(frozen=True, slots=True)
class OfferPage:
    """A part of a catalogue; ``next`` asks for the part after it, None when this was the last."""

    offers: tuple[Offer, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Good:
    """One code that was bought. ``number`` and ``pin`` of a card are joined by core as its import does.

    ``expires_on`` is the last day it can be used, where the supplier says so.
    """

    code: str = field(repr=False)
    pin: str = field(default="", repr=False)
    expires_on: date | None = None


Keep = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Purchase:
    """One thing to buy; its row is committed before the supplier hears of it.

    ``ref`` is our reference and the supplier's idempotency key: letters, digits and ``-``, at most 32, always the same
    for the same purchase. ``price_cap`` is the most that the whole purchase may cost. ``account`` are the buyer's
    answers to the offer's fields, for a top-up. ``callback_url`` is where the supplier may tell the outcome.
    ``supplier_ref`` is the supplier's number once it is known. ``created_at`` is in UTC.

    ``keep`` takes the supplier's answer as it came, before it is read: core seals it, so that no code is lost when
    reading it goes wrong. Await it with every answer that may hold a code.
    """

    ref: str
    item: str
    quantity: int
    price_cap: Money
    account: Mapping[str, str] = field(repr=False)
    callback_url: str
    created_at: datetime
    keep: Keep = field(repr=False)
    supplier_ref: str = ""


class PurchaseState(StrEnum):
    """How the supplier says a purchase stands."""

    DONE = "done"
    """Sold and delivered: ``goods`` holds every code, or the top-up has arrived."""
    WAITING = "waiting"
    """The supplier took the order and works on it; core asks again or waits for its call."""
    FAILED = "failed"
    """Nothing was sold, or all of it was taken back and paid back: it may be bought again, elsewhere too."""


@dataclass(frozen=True, slots=True)
class PurchaseAnswer:
    """What a supplier says of a purchase.

    ``cost`` is what it charged in all, None while it does not say: of goods that came without it core asks
    :meth:`Supplier.query` again. ``supplier_ref`` is its own number of the purchase, ``text`` is shown to staff.
    """

    state: PurchaseState
    supplier_ref: str = ""
    cost: Money | None = None
    goods: tuple[Good, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class PurchaseNews:
    """A supplier's call about a purchase. Without an ``answer`` core asks :meth:`Supplier.query` at once.

    ``reply`` is for suppliers that want to be told something else than ``accepted``.
    """

    ref: str
    answer: PurchaseAnswer | None = None
    reply: Answer | None = None


@dataclass(frozen=True, slots=True)
class OfferNews:
    """A supplier's call about changed offers: core looks at ``items`` again, at all of them when there are none."""

    items: tuple[str, ...] = ()
    reply: Answer | None = None


class Supplier:
    """Where goods come from. Derive, set ``key`` and ``title``, and write the methods.

    ``key`` is part of the address suppliers call (``/supply/<key>/notify``) and of stored offers: never change it.
    ``title`` is by locale. ``query_after`` are the seconds after which core asks :meth:`query` about a purchase whose
    outcome is not known, one number for each try. ``absent_means_unsold`` says that when :meth:`query` gives None three
    minutes after :meth:`purchase` failed, nothing was sold and nothing will be; leave it False unless the supplier's
    documents promise that. ``sync_seconds`` is how often prices and stock are looked at. ``accepted`` and ``refused``
    are what the supplier takes for yes (the call was understood) and no (it was forged).

    No method is ever called inside a database transaction. Amounts are integer minor units.
    """

    key: str
    title: Mapping[str, str]
    query_after: tuple[int, ...] = (5, 15, 60, 300, 900, 3600)
    absent_means_unsold: bool = False
    sync_seconds: int = 300
    accepted: Answer = Answer()
    refused: Answer = Answer(body=b"fail", status=400)

    async def catalogue(self, start: str | None = None) -> OfferPage:
        """What this supplier sells, page by page. ``start`` is the ``next`` of the page before, None for the first.

        :raises SupplierUnavailable: nothing is known; what core knew stays.
        :raises SupplierRefused: the access data are not accepted.
        """
        raise NotImplementedError

    async def offers(self, items: tuple[str, ...]) -> Mapping[str, Offer | None]:
        """Price and stock of these items now; None for one that is not sold any more.

        Called often, with at most 50 items. As it stands here it reads the whole catalogue.
        """
        found: dict[str, Offer | None] = dict.fromkeys(items)
        start: str | None = None
        while True:
            part = await self.catalogue(start)
            found.update({offer.item: offer for offer in part.offers if offer.item in found})
            start = part.next
            if start is None:
                return found

    async def balance(self) -> Money | None:
        """What is left of our money with this supplier; None when it does not tell."""
        return None

    async def purchase(self, purchase: Purchase) -> PurchaseAnswer:
        """Buy. Use ``purchase.ref`` as the supplier's own idempotency key, and hold the price cap.

        Called once; again with the same ``ref`` only when the call before certainly did not arrive.

        :raises NotSent: the request certainly did not arrive (from ``ctx.http``; let it pass).
        :raises SupplierRefused: certainly nothing was sold (:class:`OutOfStock`, :class:`AboveCap`).
        :raises SupplierUnavailable: anything else. Core asks :meth:`query`; it never buys again on its own.
        """
        raise NotImplementedError

    async def query(self, purchase: Purchase) -> PurchaseAnswer | None:
        """What became of a purchase, by our ``ref``. None: the supplier does not know it.

        :raises SupplierUnavailable: nothing is known.
        :raises SupplierRefused: the supplier does not answer such questions; a person decides.
        """
        raise NotImplementedError

    async def parse_callback(self, request: CallbackRequest) -> PurchaseNews | OfferNews | Answer | None:
        """Verify a call to ``/supply/<key>/notify`` over the raw bytes and say what it tells. Change nothing.

        None means a true message that asks for nothing. Core seals the body before it acts on the news.

        :raises Forged: it is not from the supplier.
        :raises SupplierUnavailable: it cannot be verified now; the supplier shall call again.
        """
        raise NotImplementedError
