"""What reasons, states and steps are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.api import OrderCase, _

REASONS: dict[str, tuple[Any, Any, str]] = {
    "invalid": (_("The code is not accepted"), _("Wrong, unknown or past its date"), "circle-x"),
    "used": (_("The code was used already"), _("The other site says so"), "refresh"),
    "region": (_("It does not fit my region or device"), _("Another country, another account"), "language"),
    "not_received": (_("I have not received it"), _("No mail, no code, no top-up"), "mail"),
    "paid_nothing": (_("I paid, but nothing happens"), _("The order still waits for my payment"), "credit-card"),
    "other": (_("Something else"), _("Tell us in your words"), "message"),
}
"""Title, what it means, icon."""

OF_CODES = ("invalid", "used", "region")

STATES = {
    "open": (_("Waits for us"), "bad"),
    "waiting": (_("Waits for the buyer"), "busy"),
    "solved": (_("Solved"), "good"),
}
BUYERS_STATES = {
    "open": (_("The shop is looking at it"), "busy"),
    "waiting": (_("The shop has answered"), "good"),
    "solved": (_("Solved"), "neutral"),
}
EVENTS = {
    "opened": _("Question opened"),
    "solved_buyer": _("The buyer says that it is solved"),
    "solved_staff": _("Closed as solved"),
    "solved_time": _("Closed, as no answer came"),
    "reopened": _("Opened again"),
    "put_back": _("Put back for everybody"),
    "merged": _("Another question was merged into this one"),
    "replaced": _("A new code was given"),
    "no_stock": _("A new code is wanted, but none is in stock"),
    "asked_gateway": _("The payment service was asked again"),
    "mailed": _("The order's mail was sent again"),
}
FOR_BUYERS = ("solved_buyer", "solved_staff", "solved_time", "reopened", "merged", "replaced", "mailed")
"""Events that the buyer is shown; the others are the shop's own affair."""

PAYMENT = {
    "unpaid": _("Unpaid"),
    "paid": _("Paid"),
    "expired": _("Expired"),
    "cancelled": _("Cancelled"),
    "mismatch": _("Wrong amount"),
    "refunded": _("Refunded"),
    "charged_back": _("Charged back"),
}
FULFILMENT = {
    "reserved": _("Reserved"),
    "released": _("Released"),
    "preparing": _("Preparing"),
    "delivered": _("Delivered"),
    "review": _("Needs a decision"),
    "void": _("Void"),
}
CODE = {
    "good": (_("Handed over"), "good"),
    "reported": (_("Reported"), "warning"),
    "replaced": (_("Bad, replaced"), "neutral"),
    "burned": (_("Erased"), "neutral"),
}
TRIES = {
    "created": (_("Begun"), "neutral"),
    "waiting": (_("Waits"), "busy"),
    "paid": (_("Paid"), "good"),
    "failed": (_("Failed"), "bad"),
    "expired": (_("Expired"), "neutral"),
}
MAILS = {
    "queued": (_("On its way"), "busy"),
    "sending": (_("On its way"), "busy"),
    "sent": (_("Sent"), "good"),
    "failed": (_("Failed"), "bad"),
    "held": (_("Waits until mail is set up"), "warning"),
}


def offered(case: OrderCase) -> list[str]:
    """The reasons that can be meant, with the order as it is."""
    if case.codes:
        return [*OF_CODES, "not_received", "other"]
    if case.payment_state in ("unpaid", "expired", "cancelled", "mismatch"):
        return ["paid_nothing", "other"]
    return ["not_received", "other"]


def event(message: Mapping[str, Any]) -> Any:
    """The words of an event; its text is the name it is about."""
    if message["kind"] == "taken":
        return _("Taken by %(name)s", name=message["text"])
    return EVENTS[message["kind"]]
