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
    "charged_back": (_("Charged back"), "bad"),
}

REFUND: dict[str, tuple[Text, str]] = {
    "asked": (_("Waits for a second person"), "warning"),
    "approved": (_("To be sent"), "busy"),
    "sent": (_("Sent"), "busy"),
    "unknown": (_("Outcome unknown"), "bad"),
    "done": (_("Given back"), "good"),
    "failed": (_("Failed"), "bad"),
    "declined": (_("Declined"), "neutral"),
}

WAYS: dict[str, Text] = {
    "source": _("by the way it was paid"),
    "balance": _("into the buyer's balance"),
    "hand": _("by hand"),
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
    "underpaid": _("Paid too little"),
    "overpaid": _("Paid too much"),
    "wrong_currency": _("Another currency"),
    "same_money": _("The same money, told again"),
    "charged_back": _("Charged back"),
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
    "preparing": _("The goods are being brought in"),
    "purchase_begun": _("To be bought from a supplier"),
    "purchase_sent": _("The supplier was asked to sell"),
    "purchase_waiting": _("The supplier works on it"),
    "purchase_unknown": _("The supplier's answer is not clear"),
    "purchase_needs_review": _("A person has to look at a purchase"),
    "purchase_done": _("The supplier delivered"),
    "purchase_failed": _("The supplier sold nothing"),
    "handed_over": _("Handed over by a person"),
    "delivered": _("Codes delivered"),
    "revealed": _("Codes shown to the buyer"),
    "gift_opened": _("Codes shown to whom they were given"),
    "codes_mailed": _("Codes put into a mail"),
    "staff_revealed": _("Codes shown to staff"),
    "burned": _("Shown codes erased for good"),
    "worked": _("The buyer says it worked"),
    "did_not_work": _("The buyer says it did not work"),
    "code_reported": _("The buyer says a code does not work"),
    "code_replaced": _("A bad code was replaced"),
    "code_waits": _("A bad code waits for stock"),
    "code_found_good": _("A reported code was found good"),
    "opened_by_link": _("Opened by the link in a mail"),
    "needs_review": _("Waits for a decision"),
    "risk_approved": _("Risk: let go by a person"),
    "risk_refused": _("Risk: refused by a person"),
    "expired": _("Expired unpaid, codes released"),
    "cancelled": _("Cancelled, codes released"),
    "extended": _("More time to pay"),
    "contact_changed": _("The buyer is reached elsewhere"),
    "payment_confirmed": _("The gateway confirms the payment too"),
    "charged_back": _("The payer's bank took the money back"),
    "chargeback_won": _("A dispute was won, the money is back"),
    "refund_asked": _("Money is to go back"),
    "refund_approved": _("Refund approved by a second person"),
    "refund_declined": _("Refund declined"),
    "refunded": _("Money given back"),
    "refund_failed": _("The gateway gave nothing back"),
    "refund_unknown": _("Nobody knows whether the money went back"),
    "refund_looked_at": _("A person looked what became of the refund"),
    "kept": _("Settled with the buyer by hand"),
    "question_closed": _("Dealt with"),
    "mail_queued": _("Message queued"),
    "mail_sent": _("Message sent"),
    "mail_failed": _("Message failed"),
    "note": _("Note"),
}

ACTORS: dict[str, Text] = {
    "buyer": _("Buyer"),
    "recipient": _("Recipient of the gift"),
    "system": _("The shop itself"),
    "gateway": _("Gateway"),
    "supplier": _("Supplier"),
    "callback": _("Callback"),
    "query": _("Query"),
    "staff": _("Staff"),
}

REVIEW: dict[str, Text] = {
    "paid_late": _("Paid after it expired"),
    "paid_twice": _("Paid twice"),
    "underpaid": _("Paid too little"),
    "overpaid": _("Paid too much"),
    "wrong_currency": _("Paid in another currency"),
    "chargeback": _("Charged back"),
    "codes_out": _("Codes to void"),
    "refund_failed": _("A refund failed"),
    "refund_unknown": _("A refund nobody is sure of"),
    "out_of_stock": _("Paid, but out of stock"),
    "job_failed": _("A job gave up"),
    "bad_code": _("A code does not work"),
    "purchase_failed": _("No supplier delivered"),
    "purchase_unknown": _("A purchase nobody is sure of"),
    "purchase_odd": _("A purchase that is not as it should be"),
    "by_hand": _("To be delivered by a person"),
    "cost_jump": _("A supplier's price moved too far"),
    "risk": _("Held by risk rules"),
    "statement": _("A statement differs"),
}

LINES: dict[str, Text] = {
    "payment": _("Payment"),
    "paid": _("Payment"),
    "refund": _("Refund"),
    "fee": _("Fee"),
    "chargeback": _("Chargeback"),
    "charged_back": _("Chargeback"),
}
"""What stands on a gateway's statement, and what we hold against it."""

RESULTS: dict[str, tuple[Text, str]] = {
    "matched": (_("Matches"), "good"),
    "differs": (_("Amount differs"), "bad"),
    "theirs": (_("Only theirs"), "bad"),
}

BAD_CODE: dict[str, Text] = {
    "invalid": _("It is not accepted"),
    "used": _("It was used already"),
    "other_goods": _("It gives something else"),
    "expired": _("It is past its date"),
    "other": _("Something else"),
}
"""What a buyer may say is wrong with a code."""


def actor(who: str, people: dict[str, str]) -> str:
    """``staff:3`` becomes a person, ``gateway:epay`` a sentence's worth of words."""
    kind, _colon, key = who.partition(":")
    if who in people or kind not in ACTORS:
        return people.get(who, who)
    return f"{ACTORS[kind]} {key}".strip()


def named(table: dict[str, Any], key: str) -> Any:
    """The entry, or the key itself for something a plugin brought."""
    return table.get(key, key)
