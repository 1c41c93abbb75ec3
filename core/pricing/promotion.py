"""What a promotion is: the object a promotion plugin delivers, and the values that pass through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from core.money import Money
from core.refused import Refused


class CodeRefused(Refused):
    """Raised by :meth:`Promotion.adjust`: a code the buyer entered is known but cannot be used here.

    The text is shown at the field of the code and says what is missing (``From ¥100 on.``).
    """


@dataclass(frozen=True, slots=True)
class BasketLine:
    """One line of a basket at catalogue prices: ``unit_price`` for one piece, ``total`` for all. ``categories`` are
    slugs."""

    sku_code: str
    product_slug: str
    categories: tuple[str, ...]
    quantity: int
    unit_price: Money
    total: Money


@dataclass(frozen=True, slots=True)
class Basket:
    """What a buyer wants, at catalogue prices; nothing of it is stored.

    ``contact`` is empty until the buyer has told it, and always for a plugin whose manifest does not ask for the
    permission ``contacts``. ``codes`` are what was entered as coupon codes, trimmed, as typed. ``first_order`` is True
    when this contact has paid for nothing before, None when the contact is not known. ``shop`` is the shop's code,
    ``total`` the sum of the lines, ``locale`` the buyer's language (``zh_CN``), ``at`` the time now (UTC).
    """

    shop: str
    lines: tuple[BasketLine, ...]
    total: Money
    contact: str
    codes: tuple[str, ...]
    locale: str
    at: datetime
    first_order: bool | None = None


@dataclass(frozen=True, slots=True)
class Cap:
    """A limit on uses that the database holds: of ``most`` uses of ``key``, none is given twice.

    ``key`` is the promotion's own (``coupon:12``, ``coupon:12:a@example.com``), at most 200 signs; core keeps it apart
    from the keys of other plugins. A use is taken with the order, in its transaction, and comes back when the order
    expires or is cancelled unpaid.
    """

    key: str
    most: int


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One change of the price. ``amount`` is negative and in the basket's currency.

    ``key`` is what it is counted under in reports (``coupon:12``); ``title`` is by locale and shown to the buyer.
    ``line`` is the index of the line it is for, None for the whole basket. ``code`` is the entered code it comes from.
    Core adds up the adjustments of all promotions, whatever their order, and the total never falls below zero. Of
    those with ``alone`` only the one that takes off most is used, and only when it takes off more than all others
    together. ``caps`` are limits taken with the order; ``data`` is stored with it, a few plain facts.
    """

    key: str
    title: Mapping[str, str]
    amount: Money
    line: int | None = None
    code: str = ""
    caps: tuple[Cap, ...] = ()
    alone: bool = False
    data: Mapping[str, str | int] = field(default_factory=dict)


class Promotion:
    """What changes the price of a basket. Derive, set ``key`` and ``title``, and write :meth:`adjust`.

    ``key`` is stored with orders and never changes; ``title`` is by locale. ``takes_codes`` makes the checkout show a
    field for coupon codes.

    Never called inside a database transaction. Works from catalogue prices, never from other promotions.
    """

    key: str
    title: Mapping[str, str]
    takes_codes: bool = False

    async def adjust(self, basket: Basket) -> Sequence[Adjustment]:
        """The adjustments this promotion makes to ``basket``; none when it does not apply.

        Called for the order form and again when the order is placed, so the same basket must give the same answer. It
        has two seconds. A promotion that fails gives no discount and is counted as failed on the plugins page; an
        order that entered a code is then refused rather than sold at another price than was shown.

        :raises CodeRefused: an entered code is one of ours but cannot be used for this basket.
        """
        raise NotImplementedError
