"""What states and steps are called on pages, with the colour of their badge."""

from __future__ import annotations

from typing import Any

from core.web.i18n import Text, _

PAYMENT: dict[str, tuple[Text, str]] = {
    "unpaid": (_("Unpaid"), "busy"),
    "paid": (_("Paid"), "good"),
    "expired": (_("Expired"), "neutral"),
    "cancelled": (_("Cancelled"), "neutral"),
    "mismatch": (_("Wrong amount"), "bad"),
    "refunded": (_("Refunded"), "warning"),
}

FULFILMENT: dict[str, tuple[Text, str]] = {
    "reserved": (_("Reserved"), "busy"),
    "released": (_("Released"), "neutral"),
    "preparing": (_("Preparing"), "busy"),
    "delivered": (_("Delivered"), "good"),
    "review": (_("Needs a decision"), "bad"),
    "void": (_("Void"), "neutral"),
}

ATTEMPT: dict[str, tuple[Text, str]] = {
    "created": (_("Begun"), "neutral"),
    "waiting": (_("Waiting for the buyer"), "busy"),
    "paid": (_("Paid"), "good"),
    "failed": (_("Failed"), "bad"),
    "expired": (_("Expired"), "neutral"),
}

OUTCOMES: dict[str, Text] = {
    "paid": _("Settled"),
    "paid_late": _("Paid late"),
    "paid_twice": _("Paid twice"),
    "wrong_amount": _("Wrong amount"),
    "noted": _("Noted"),
}

STEPS: dict[str, Text] = {
    "placed": _("Order placed, codes reserved"),
    "payment_begun": _("Another payment begun"),
    "payment_not_started": _("The gateway did not take the payment"),
    "payment_pending": _("The gateway says: pending"),
    "payment_failed": _("The gateway says: failed"),
    "payment_expired": _("The gateway says: expired"),
    "paid": _("Payment settled"),
    "paid_again": _("Paid a second time"),
    "paid_wrong_amount": _("A wrong amount was paid"),
    "delivered": _("Codes delivered"),
    "revealed": _("Codes shown to the buyer"),
    "codes_mailed": _("Codes put into a mail"),
    "staff_revealed": _("Codes shown to staff"),
    "burned": _("Shown codes erased for good"),
    "opened_by_link": _("Opened by the link in a mail"),
    "needs_review": _("Waits for a decision"),
    "expired": _("Expired unpaid, codes released"),
    "cancelled": _("Cancelled, codes released"),
    "refunded_by_hand": _("Paid back by hand"),
    "mail_queued": _("Message queued"),
    "mail_sent": _("Message sent"),
    "mail_failed": _("Message failed"),
    "note": _("Note"),
}

ACTORS: dict[str, Text] = {
    "buyer": _("Buyer"),
    "system": _("The shop itself"),
    "gateway": _("Gateway"),
    "callback": _("Callback"),
    "query": _("Query"),
    "staff": _("Staff"),
}

REVIEW: dict[str, Text] = {
    "paid_late": _("Paid after it expired"),
    "paid_twice": _("Paid twice"),
    "wrong_amount": _("Wrong amount"),
    "out_of_stock": _("Paid, but out of stock"),
    "job_failed": _("A job gave up"),
}


def actor(who: str, people: dict[str, str]) -> str:
    """``staff:3`` becomes a person, ``gateway:epay`` a sentence's worth of words."""
    kind, _colon, key = who.partition(":")
    if who in people or kind not in ACTORS:
        return people.get(who, who)
    return f"{ACTORS[kind]} {key}".strip()


def named(table: dict[str, Any], key: str) -> Any:
    """The entry, or the key itself for something a plugin brought."""
    return table.get(key, key)
