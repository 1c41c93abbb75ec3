"""The words of an order's timeline that no other page has."""

from __future__ import annotations

from core.web.i18n import Text, _

ACTORS: dict[str, tuple[Text, str]] = {
    "buyer": (_("Buyer"), "user"),
    "shop": (_("Shop"), "building-store"),
    "staff": (_("Staff"), "users"),
    "gateway": (_("Gateway"), "credit-card"),
    "supplier": (_("Supplier"), "truck-delivery"),
    "system": (_("System"), "cpu"),
}
"""Who did something: the word and the icon."""

ACTS: dict[str, Text] = {
    "order.resent": _("Message sent again by hand"),
    "order.asked": _("The gateway was asked by hand"),
    "order.traced": _("The trace was taken along as a file"),
    "order.seen_as_buyer": _("Looked at as the buyer sees it"),
    "order.delivered_anyway": _("Delivered by hand"),
    "purchase.answer_opened": _("A supplier's answer was opened with its codes"),
}
CALLS: dict[str, Text] = {
    "delivered": _("The gateway says paid: delivered"),
    "preparing": _("The gateway says paid: the goods are brought in"),
    "needs_review": _("The gateway says paid: it waits for a decision"),
    "repeat": _("The gateway says the same again"),
    "noted": _("The gateway says: not paid"),
    "underpaid": _("The gateway says: paid too little"),
    "wrong_currency": _("The gateway says: paid in another currency"),
    "paid_twice": _("The gateway says: paid a second time"),
    "same_money": _("The gateway confirms what was known"),
    "charged_back": _("The gateway says: charged back"),
    "nothing": _("Asked: the gateway knows of no payment"),
    "paid": _("Asked: the gateway says paid"),
    "pending": _("Asked: the gateway says pending"),
    "failed": _("Asked: the gateway says failed"),
    "expired": _("Asked: the gateway says expired"),
    "broke": _("The payment method's plugin broke when it was asked"),
}
FACTS: dict[str, Text] = {
    "amount": _("Amount"),
    "total": _("Total"),
    "method": _("Payment method"),
    "option": _("Option"),
    "outcome": _("Result"),
    "gateway_ref": _("Payment no."),
    "codes": _("Codes"),
    "masks": _("Codes, masked"),
    "ip": _("Address"),
    "device": _("Device"),
    "note": _("Note"),
    "reason": _("Reason"),
    "why": _("Reason"),
    "error": _("Error"),
    "supplier": _("Supplier"),
    "offer": _("Offer"),
    "quantity": _("Quantity"),
    "cap": _("Price cap"),
    "cost": _("Cost"),
    "to": _("To"),
    "channel": _("Channel"),
    "receipt": _("Receipt"),
    "tries": _("Tries"),
    "ms": _("Milliseconds"),
    "bytes": _("Bytes"),
    "rule": _("Rule"),
    "before": _("Before"),
    "now": _("Now"),
    "minutes": _("Minutes"),
    "until": _("Until"),
    "format": _("Format"),
    "payments": _("Payments"),
    "currency": _("Currency"),
}
"""What the facts of a step are called; those of plugins keep the names they were given."""
