"""From a message's row to the words that are sent. What is written here is never stored: it may hold codes."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any
from urllib.parse import quote

from babel import dates

from core import clock, db
from core.catalog import notes
from core.catalog.service import words
from core.messages import markup, texts
from core.messages.events import (
    ACCOUNT_ERASE,
    ACCOUNT_LINK,
    BALANCE_LINK,
    EVENTS,
    GIFT,
    LOW_STOCK,
    ORDER_LINKS,
    STAFF_NEWS,
)
from core.messages.markup import Markdown
from core.messages.notifier import OutgoingMessage
from core.messages.texts import Written
from core.money import Money
from core.orders import gifts
from core.people import contact_code, contact_proof
from core.shops import service as shops
from core.shops.service import Shop
from core.vault import low_stock, reveal
from core.vault.cipher import open_secret
from core.web.i18n import _, known, speaking
from core.web.merchant_text import BadTemplate

log = logging.getLogger("vouchsafe.messages")

TOKEN_PURPOSE = "order-token"  # noqa: S105 - the name of a purpose
HIDDEN = "••••"
MOST_LINKS = 5

DOORS: dict[str, tuple[str, contact_proof.Purpose]] = {
    BALANCE_LINK.key: ("/balance/open", "open"),
    ACCOUNT_LINK.key: ("/account/open", "open"),
    ACCOUNT_ERASE.key: ("/account/erase", "erase"),
}
"""Mails whose link shows that the address is the reader's: where it leads, and what for."""

Context = dict[str, Any]

ORDER = """
SELECT o.id, o.ref, o.contact, o.total, o.currency, o.created_at, o.test, o.token_sealed, (
    SELECT jsonb_agg(jsonb_build_object('id', line.id, 'product', line.product_title, 'sku', line.sku_title,
        'quantity', line.quantity, 'total', line.total, 'note', line.delivery_note) ORDER BY line.id)
    FROM orders_line line WHERE line.order_id = o.id) AS lines, (
    SELECT jsonb_agg(jsonb_build_object('title', title, 'amount', amount, 'code', code) ORDER BY id)
    FROM orders_adjustment WHERE order_id = o.id) AS discounts, (
    SELECT jsonb_agg(jsonb_build_object('amount', refund.amount, 'currency', refund.currency, 'way', refund.way)
                     ORDER BY refund.ended_at)
    FROM payments_refund refund WHERE refund.order_id = o.id AND refund.state = 'done') AS refunds
FROM orders_order o
"""

MASKS = """
SELECT code.id, code.line_id, code.mask, code.burned_at FROM vault_code code
JOIN orders_line line ON line.id = code.line_id
WHERE line.order_id = $1 AND code.state = 'delivered' AND code.replaced_by IS NULL ORDER BY code.line_id, code.id
"""


async def outgoing(message: Any, handover: int, base_url: str) -> OutgoingMessage:
    """The message as it is sent, with the real link and, if the merchant wants it, the codes."""
    shop = await shops.by_id(message["shop_id"])
    address = shops.address(shop.host, base_url)
    context = await _context(message, shop, address, secret=True)
    written = await _written(message, shop, context)
    return OutgoingMessage(
        id=f"{message['id']}.{handover}.{message['created_at']:%Y%m%d%H%M%S}",
        recipient=message["recipient"],
        subject=written.subject,
        text=written.body.text,
        html=framed(shop, written, message["locale"], address),
        locale=message["locale"],
        from_name=" ".join(shop.name.split()),
        reply_to=shop.settings.support_contact if "@" in shop.settings.support_contact else "",
    )


async def shown(message: Any, base_url: str) -> Written:
    """The message for the eyes of staff: the link without its token, the codes masked."""
    shop = await shops.by_id(message["shop_id"])
    context = await _context(message, shop, shops.address(shop.host, base_url), secret=False)
    return await _written(message, shop, context)


async def _written(message: Any, shop: Shop, context: Context) -> Written:
    template = await texts.template(shop.id, message["event"], message["locale"])
    with speaking(template.locale):
        try:
            return texts.write(template, context)
        except BadTemplate as error:
            if template.changed_at is None:
                raise
            # A mistake in a merchant's text must not keep a buyer from the codes.
            log.warning("the text %s (%s) does not work: %s", template.event, template.locale, error)
            return texts.write(texts.default(template.event, template.locale), context)


def framed(shop: Shop, written: Written, locale: str, base_url: str) -> str:
    footer = base_url.partition("://")[2]
    return markup.framed(written.subject, shop.name, written.body.mail_html, footer, locale)


# -- what the texts may name ------------------------------------------------------------


async def _context(message: Any, shop: Shop, base_url: str, *, secret: bool) -> Context:
    locale = known(message["locale"]) or "en"
    if message["event"] == ORDER_LINKS.key:
        return await _links_context(message, shop, base_url, locale, secret)
    if message["event"] in DOORS:
        return await _door_context(message, shop, base_url, secret)
    if message["event"] == LOW_STOCK.key:
        return await _stock_context(shop, base_url, locale)
    if message["event"] == GIFT.key:
        return await _gift_context(message, shop, base_url, secret)
    if message["event"] == STAFF_NEWS.key:
        return {"shop": _shop(shop), "news": _news(message), "link": f"{base_url}{message['data']['path']}"}
    row = await db.fetchrow(f"{ORDER} WHERE o.id = $1", message["order_id"])
    if row is None:
        raise LookupError("the order of this message is gone")
    codes = await _codes(message, shop, secret)
    context = order_context(shop, row, locale, base_url, _link(row, base_url, secret) + _further(message), codes)
    return {**context, "news": _news(message)}


def _news(message: Any) -> Context:
    return {"title": message["data"].get("title", ""), "text": message["data"].get("text", "")}


def _further(message: Any) -> str:
    """Where the link leads once it has let its reader in, when not to the order itself."""
    path = message["data"].get("path", "")
    return f"&to={quote(path, safe='/')}" if path else ""


async def _codes(message: Any, shop: Shop, secret: bool) -> list[tuple[int, str]]:
    if not (EVENTS[message["event"]].codes and shop.settings.mail_codes):
        return []
    opened = {}
    if secret:
        codes = await reveal.codes_for_mail(message["order_id"])
        opened = {code.code_id: code.text for code in codes}
    rows = await db.fetch(MASKS, message["order_id"])
    with speaking(known(message["locale"]) or "en"):
        return [(row["line_id"], opened.get(row["id"]) or _masked(row, secret)) for row in rows]


def _masked(row: Any, secret: bool) -> str:
    """What stands for a code that the mail does not carry."""
    if row["burned_at"] is not None:
        return str(_("%(mask)s (erased for good)", mask=row["mask"]))
    return str(_("%(mask)s (only on the order page)", mask=row["mask"])) if secret else row["mask"]


def order_context(shop: Shop, row: Any, locale: str, base_url: str, link: str, codes: list[tuple[int, str]]) -> Context:
    lines = {
        line["id"]: {
            **_line(line, row["currency"], locale, shop.locale),
            "note": Markdown(notes.written(line["note"], _sold(line, row, link), shop, base_url, locale)),
        }
        for line in row["lines"] or []
    }
    return {
        "shop": _shop(shop),
        "order": {
            "ref": row["ref"],
            "subtotal": _subtotal(row).text(locale),
            "total": Money(row["total"], row["currency"]).text(locale),
            "placed": _when(row["created_at"], shop, locale),
            "test": row["test"],
        },
        "link": link,
        "lines": list(lines.values()),
        "discounts": [_discount(discount, row["currency"], locale, shop.locale) for discount in row["discounts"] or []],
        "codes": [
            {"product": lines[line_id]["product"], "sku": lines[line_id]["sku"], "text": text}
            for line_id, text in codes
        ],
        "refunds": [
            {"amount": Money(refund["amount"], refund["currency"].strip()).text(locale), "way": refund["way"]}
            for refund in row["refunds"] or []
        ],
        "orders": [],
    }


def _subtotal(row: Any) -> Money:
    return Money(sum(line["total"] for line in row["lines"] or []), row["currency"])


def _discount(discount: dict[str, Any], currency: str, locale: str, usual: str) -> Context:
    return {
        "title": words(discount["title"], locale, usual),
        "code": discount["code"],
        "amount": Money(discount["amount"], currency).text(locale),
    }


def _line(line: dict[str, Any], currency: str, locale: str, usual: str) -> Context:
    return {
        "product": words(line["product"], locale, usual),
        "sku": words(line["sku"], locale, usual),
        "quantity": line["quantity"],
        "total": Money(line["total"], currency).text(locale),
    }


def _sold(line: dict[str, Any], row: Any, link: str) -> notes.Sold:
    return notes.Sold(
        ref=row["ref"],
        placed=row["created_at"],
        product=line["product"],
        sku=line["sku"],
        quantity=line["quantity"],
        contact=notes.contact_hint(row["contact"]),
        link=link,
        test=row["test"],
    )


def _shop(shop: Shop) -> Context:
    return {"name": shop.name, "contact": shop.settings.support_contact}


def _when(at: datetime, shop: Shop, locale: str) -> str:
    zone = dates.get_timezone(shop.timezone)
    return dates.format_datetime(at, "medium", tzinfo=zone, locale=locale)


def _link(row: Any, base_url: str, secret: bool) -> str:
    token = open_secret(TOKEN_PURPOSE, row["token_sealed"]).decode() if secret else HIDDEN
    return f"{base_url}/o/{row['ref']}?k={token}"


async def _links_context(message: Any, shop: Shop, base_url: str, locale: str, secret: bool) -> Context:
    rows = await db.fetch(
        f"{ORDER} WHERE o.shop_id = $1 AND o.contact = $2 AND o.contact_kind = 'email'"
        " AND ($3::bigint IS NULL OR o.id = $3) AND o.payment_state NOT IN ('cancelled', 'expired')"
        " ORDER BY o.id DESC LIMIT $4",
        shop.id,
        message["recipient"],
        message["order_id"],
        MOST_LINKS,
    )
    return {
        "shop": _shop(shop),
        "orders": [
            {
                "ref": row["ref"],
                "product": words(row["lines"][0]["product"], locale, shop.locale) if row["lines"] else "",
                "placed": _when(row["created_at"], shop, locale),
                "link": _link(row, base_url, secret),
            }
            for row in rows
        ],
    }


async def _door_context(message: Any, shop: Shop, base_url: str, secret: bool) -> Context:
    """The link is made when the mail goes out, and stands nowhere else."""
    path, purpose = DOORS[message["event"]]
    token = await contact_proof.new_link(shop.id, message["recipient"], purpose) if secret else HIDDEN
    context = {"shop": _shop(shop), "link": f"{base_url}{path}?k={token}"}
    if message["event"] == ACCOUNT_LINK.key:
        context["code"] = await contact_code.new_code(shop.id, message["recipient"]) if secret else HIDDEN
    return context


async def _gift_context(message: Any, shop: Shop, base_url: str, secret: bool) -> Context:
    """Neither price nor buyer: the recipient need not know them."""
    order_id = message["data"]["gift"]
    gift = await db.fetchrow("SELECT message, token_sealed FROM orders_gift WHERE order_id = $1", order_id)
    if gift is None:
        raise LookupError("the gift of this message is gone")
    token = open_secret(gifts.TOKEN_PURPOSE, gift["token_sealed"]).decode() if secret else HIDDEN
    return {"shop": _shop(shop), "gift": {"message": gift["message"]}, "link": f"{base_url}/gift?k={token}"}


async def _stock_context(shop: Shop, base_url: str, locale: str) -> Context:
    """How it stands when the mail goes out."""
    skus = [
        {
            "product": words(row["product_title"], locale, shop.locale),
            "sku": words(row["title"], locale, shop.locale),
            "code": row["code"],
            "free": row["free"],
        }
        for row in await low_stock.now_low(shop.id)
    ]
    return {"shop": _shop(shop), "skus": skus, "link": f"{base_url}/admin/stock"}


# -- for trying a text out --------------------------------------------------------------


def sample(shop: Shop, locale: str, base_url: str) -> Context:
    """An order that never was, for previews and tests of a text."""
    with speaking(locale):
        product, sku = str(_("A month of music")), str(_("One month"))
        news = {"title": str(_("There is an answer")), "text": str(_("We have looked at it: here is a new code."))}
        note = str(_("Enter the code on the service's page under Redeem."))
        off = str(_("For your first order"))
        gift = {"message": str(_("Happy birthday!"))}
    line = {"id": 1, "product": {"": product}, "sku": {"": sku}, "quantity": 2, "total": 3980, "note": {"": note}}
    row = {
        "ref": "VSAMPLE00000",
        "contact": "mei@example.com",
        "total": 3480,
        "currency": shop.currency,
        "created_at": clock.now(),
        "test": True,
        "lines": [line],
        "discounts": [{"title": {"": off}, "amount": -500, "code": "WELCOME"}],
        "refunds": [{"amount": 1990, "currency": shop.currency, "way": "source"}],
    }
    codes = [(1, "SAMPLE-CODE-0001"), (1, "SAMPLE-CODE-0002")] if shop.settings.mail_codes else []
    context = order_context(shop, row, locale, base_url, f"{base_url}/o/{row['ref']}?k={HIDDEN}", codes)
    return {**_with_itself(context), "news": news, "gift": gift}


async def of_order(shop: Shop, ref: str, locale: str, base_url: str) -> Context | None:
    """A real order with its secrets hidden, for previews. None: there is no such order in this shop."""
    row = await db.fetchrow(f"{ORDER} WHERE o.shop_id = $1 AND o.ref = $2", shop.id, ref)
    if row is None:
        return None
    message = {"event": "order_delivered", "order_id": row["id"], "locale": locale}
    link = _link(row, base_url, secret=False)
    context = order_context(shop, row, locale, base_url, link, await _codes(message, shop, secret=False))
    return {**_with_itself(context), "news": {"title": row["ref"], "text": ""}, "gift": {"message": ""}}


def _with_itself(context: Context) -> Context:
    """The order as the only one of its buyer, for texts about several."""
    order, lines = context["order"], context["lines"]
    product = lines[0]["product"] if lines else ""
    one = {"ref": order["ref"], "product": product, "placed": order["placed"], "link": context["link"]}
    skus = [{"product": line["product"], "sku": line["sku"], "code": "SKU-1", "free": 2} for line in lines[:1]]
    return {**context, "orders": [one], "skus": skus, "code": HIDDEN}
