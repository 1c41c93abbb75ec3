"""What a product page says about when the goods come, and the questions buyers ask before they pay."""

from __future__ import annotations

from core.catalog.browse import ProductPage
from core.web.i18n import Text, _
from core.web.words import span


def delivery(product: ProductPage, seconds: float | None) -> Text:
    """Measured where there were enough orders; else by where the goods come from."""
    if seconds is not None:
        return in_time(seconds)
    if product.source == "hand":
        return _("Made ready by a person after you pay; the order page tells you when")
    if product.source == "supplier":
        return _("Ordered for you the moment your payment arrives")
    return _("Delivered by itself as soon as your payment arrives")


def in_time(seconds: float) -> Text:
    if seconds < 1.5:
        return _("Usually yours within a second of paying")
    if seconds < 90:
        return _("Usually yours %(seconds)s seconds after paying", seconds=round(seconds))
    return _("Usually yours %(time)s after paying", time=span(int(seconds)))


def questions(product: ProductPage, seconds: float | None) -> list[tuple[Text, Text]]:
    """Each with its answer; only what is true of this shop whatever its settings are."""
    when = _("%(when)s. It stands on your order page, which you can open at any time.", when=delivery(product, seconds))
    account = _("No. An e-mail address or phone number is enough to find your order again under “My orders”.")
    trouble = _("Ask for help on the order page: what was delivered is already attached, so nobody asks you twice.")
    return [
        (_("When and where do I get it?"), when),
        (_("Do I need an account?"), account),
        (_("What if something does not work?"), trouble),
    ]
