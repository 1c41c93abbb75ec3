"""What a buyer pays: the price with its discounts, how often codes may be tried, and whether it is what was shown."""

from __future__ import annotations

from core.money import Money
from core.pricing.promote import FIELD, promote, read_codes
from core.pricing.quote import Quote
from core.refused import Refused
from core.shops.service import Shop
from core.web import limits
from core.web.errors import TooMany
from core.web.i18n import _


class PriceRose(Refused):
    """The order would cost more than its buyer saw."""

    def __init__(self, now: Money, locale: str) -> None:
        super().__init__(
            _(
                "The price has changed while you were here: it is %(now)s now. Nothing was ordered. "
                "If the new price suits you, order again.",
                now=now.text(locale),
            )
        )


class NotYetSeen(Refused):
    """A code was entered and makes a price that its buyer has not seen."""

    def __init__(self) -> None:
        super().__init__(_("Your code counts. This is the new total: if it suits you, order now."))


async def with_codes(shop: Shop, quote: Quote, entered: str, *, contact: str, locale: str, ip: str) -> Quote:
    """The price with all discounts. ``entered`` is what the buyer typed as codes.

    Every try of a code counts until it turns out good, so that many tries at once guess no more than one after
    the other.

    :raises Refused: at the field of the code: it takes nothing off, or too many were tried.
    """
    codes = read_codes(entered)
    if not codes:
        return await promote(shop, quote, contact=contact, locale=locale)
    try:
        await limits.hit("coupon", ip)
    except TooMany:
        words = _("Too many codes were tried. Wait a few minutes, or order without a code.")
        raise Refused(words, FIELD) from None
    promoted = await promote(shop, quote, contact=contact, codes=codes, locale=locale)
    await limits.take_back("coupon", ip)
    return promoted


def as_text(total: Money) -> str:
    """The total as the form carries it."""
    return f"{total.amount} {total.currency}"


def compare(seen: str, quote: Quote, locale: str) -> None:
    """Hold the total against the one the form carried; a form that carries none agrees to any.

    :raises PriceRose: it is more, or in another currency.
    :raises NotYetSeen: a code made it less, and the buyer should see that first.
    """
    if seen in ("", as_text(quote.total)):
        return
    amount, _space, currency = seen.partition(" ")
    if not amount.isdecimal() or len(amount) > 15 or currency != quote.total.currency:
        raise PriceRose(quote.total, locale)
    if int(amount) < quote.total.amount:
        raise PriceRose(quote.total, locale)
    if any(discount.code for discount in quote.discounts):
        raise NotYetSeen
