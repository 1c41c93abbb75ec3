"""What the shop writes to people about, and what its texts may name."""

from __future__ import annotations

from dataclasses import dataclass

from core.web.i18n import Text, _

MAIL = "mail"


@dataclass(frozen=True)
class Event:
    key: str
    title: Text
    when: Text
    codes: bool = False


ORDER_DELIVERED = Event(
    "order_delivered", _("Order delivered"), _("Sent when an order is paid and its codes are handed over."), codes=True
)
ORDER_IN_REVIEW = Event(
    "order_in_review",
    _("Order waits for a person"),
    _("Sent when an order is paid but could not be delivered at once."),
)
PAYMENT_LATE = Event(
    "payment_late", _("Paid too late"), _("Sent when money came after the order had ended and the codes were gone.")
)
ORDER_REFUNDED = Event(
    "order_refunded", _("Money given back"), _("Sent each time money of an order was given back, all of it or a part.")
)
ORDER_REFUSED = Event(
    "order_refused", _("Order refused"), _("Sent when staff refused an order that waited for a person.")
)
ORDER_LINKS = Event("order_links", _("Links to orders"), _("Sent when somebody asks for their orders by e-mail."))
BALANCE_LINK = Event(
    "balance_link", _("Link to a balance"), _("Sent when somebody wants to open their balance in a browser.")
)
ACCOUNT_LINK = Event(
    "account_link", _("Link to an account"), _("Sent when somebody wants to open their account in a browser.")
)
ACCOUNT_ERASE = Event(
    "account_erase", _("Erasing an account"), _("Sent when a buyer wants to be forgotten; its link confirms it.")
)
CODE_REPLACED = Event(
    "code_replaced", _("Code replaced"), _("Sent when staff gave a new code for one that did not work."), codes=True
)
LOW_STOCK = Event(
    "low_stock", _("Running low"), _("Sent to staff who look after the stock, once until the SKU is refilled.")
)
ORDER_NEWS = Event(
    "order_news", _("News about an order"), _("Sent when a plugin has something to tell a buyer, such as an answer.")
)
GIFT = Event("gift", _("A gift"), _("Sent to whom an order was given, on the day its buyer chose."))
STAFF_NEWS = Event("staff_news", _("News for staff"), _("Sent when a plugin has something that waits for staff."))

EVENTS = {
    event.key: event
    for event in (
        ORDER_DELIVERED,
        ORDER_IN_REVIEW,
        PAYMENT_LATE,
        ORDER_REFUNDED,
        ORDER_REFUSED,
        ORDER_LINKS,
        BALANCE_LINK,
        ACCOUNT_LINK,
        ACCOUNT_ERASE,
        CODE_REPLACED,
        LOW_STOCK,
        ORDER_NEWS,
        GIFT,
        STAFF_NEWS,
    )
}

VARIABLES: dict[str, Text] = {
    "shop.name": _("The shop's name"),
    "shop.contact": _("How to reach the shop; may be empty"),
    "order.ref": _("Order number"),
    "order.subtotal": _("The goods at their prices, before any discount"),
    "order.total": _("What was to be paid, with the currency"),
    "order.placed": _("When the order was placed"),
    "order.test": _("True for a test order"),
    "link": _("The order page; opens without a password"),
    "lines": _("The goods: each has product, sku, quantity, total and note"),
    "discounts": _("What was taken off: each has title, amount and code (what the buyer entered; may be empty)"),
    "codes": _("The codes, if the shop mails them: each has product, sku and text; else empty"),
    "refunds": _("What was given back so far: each has amount and way (source, balance or hand)"),
    "skus": _("For low stock: each has product, sku, code and free"),
    "gift.message": _("For a gift: what its buyer wrote; may be empty"),
    "news": _("For news: title and text, what it is about"),
    "orders": _("For links to orders: each has ref, product, placed and link"),
}
