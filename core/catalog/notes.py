"""A product's delivery note: Markdown with a few variables, filled in for one line of an order. It never has codes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from babel import dates

from core import clock, db
from core.catalog.service import Words, words
from core.web.i18n import Text, _, speaking
from core.web.merchant_text import BadTemplate, filled, has_braces
from core.web.visit import Shop

log = logging.getLogger("vouchsafe.catalog")

VARIABLES: dict[str, Text] = {
    "product": _("The product's name"),
    "sku": _("The SKU's name"),
    "quantity": _("How many were bought"),
    "order.ref": _("Order number"),
    "order.placed": _("When the order was placed"),
    "order.test": _("True for a test order"),
    "contact": _("The buyer's address or number, most of it hidden; empty for who got it as a gift"),
    "link": _("The page this stands on; in mails it opens without a password"),
    "shop.name": _("The shop's name"),
    "shop.contact": _("How to reach the shop; may be empty"),
    "shop.address": _("The address of the shop"),
}


@dataclass(frozen=True, slots=True)
class Sold:
    """One line of an order, as far as its note may name it."""

    ref: str
    placed: datetime
    product: Words
    sku: Words
    quantity: int
    contact: str = ""
    """A hint of it, never the whole."""
    link: str = ""
    test: bool = False


def contact_hint(contact: str) -> str:
    """Enough to recognise it, not enough to use it."""
    name, at, host = contact.partition("@")
    if at:
        return f"{name[:2]}•••@{host}"
    return f"{name[:3]}••••{name[-2:]}"


def written(note: Words, sold: Sold, shop: Shop, address: str, locale: str) -> str:
    """The note as Markdown. One that does not work stands as it was typed: nobody may lose the way to their goods."""
    source = words(note, locale, shop.locale)
    if not has_braces(source):
        return source
    try:
        return fill(source, sold, shop, address, locale)
    except BadTemplate as error:
        log.warning("a delivery note of shop %s does not work: %s", shop.id, error)
        return source


def before_buying(note: Words, product: Words, shop: Shop, address: str, locale: str) -> str:
    """The note for the product's page, where there is no order yet; empty when it speaks of one."""
    source = words(note, locale, shop.locale)
    if not has_braces(source):
        return source
    try:
        return filled(source, {"product": words(product, locale, shop.locale), "shop": _shop(shop, address)})
    except BadTemplate:
        works = wrong(source, shop, address, locale) is None
        return "" if works else source


def wrong(source: str, shop: Shop, address: str, locale: str) -> str | None:
    """What is wrong with this note, in words for the merchant."""
    try:
        fill(source, sample(shop, address, locale), shop, address, locale)
    except BadTemplate as error:
        return str(error)
    return None


def fill(source: str, sold: Sold, shop: Shop, address: str, locale: str) -> str:
    """:raises BadTemplate: with the reason, for the merchant."""
    if not has_braces(source):
        return source
    zone = dates.get_timezone(shop.timezone)
    context = {
        "product": words(sold.product, locale, shop.locale),
        "sku": words(sold.sku, locale, shop.locale),
        "quantity": sold.quantity,
        "order": {
            "ref": sold.ref,
            "placed": dates.format_datetime(sold.placed, "medium", tzinfo=zone, locale=locale.replace("-", "_")),
            "test": sold.test,
        },
        "contact": sold.contact,
        "link": sold.link,
        "shop": _shop(shop, address),
    }
    return filled(source, context)


def _shop(shop: Shop, address: str) -> dict[str, str]:
    return {"name": shop.name, "contact": shop.settings.support_contact, "address": address}


# -- for trying a note out --------------------------------------------------------------

NEWEST = """
SELECT o.ref, o.created_at, o.contact, o.test, newest.product_title, newest.sku_title, newest.quantity
FROM catalog_sku sku CROSS JOIN LATERAL (
    SELECT line.* FROM orders_line line WHERE line.sku_id = sku.id ORDER BY line.id DESC LIMIT 1
) newest JOIN orders_order o ON o.id = newest.order_id
WHERE sku.shop_id = $1 AND sku.product_id = $2 ORDER BY newest.id DESC LIMIT 1
"""


async def newest_sold(shop_id: int, product_id: int, address: str) -> Sold | None:
    """The product's newest order, for a preview: its link opens nothing."""
    row = await db.fetchrow(NEWEST, shop_id, product_id)
    if row is None:
        return None
    return Sold(
        ref=row["ref"],
        placed=row["created_at"],
        product=row["product_title"],
        sku=row["sku_title"],
        quantity=row["quantity"],
        contact=contact_hint(row["contact"]),
        link=f"{address}/o/{row['ref']}",
        test=row["test"],
    )


def sample(shop: Shop, address: str, locale: str) -> Sold:
    """An order that never was."""
    with speaking(locale):
        product, sku = str(_("A month of music")), str(_("One month"))
    link = f"{address}/o/VSAMPLE00000"
    hint = contact_hint("mei@example.com")
    return Sold("VSAMPLE00000", clock.now(), {"": product}, {"": sku}, 2, hint, link, test=True)
