"""What is the matter with an order, in words: who must act next, since when, and what usually helps.

A pure function over facts: nothing is looked up here, and the first case that fits says it all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from core.web.i18n import Text, _
from core.web.words import moment, seconds


class Who(StrEnum):
    """Whose turn it is; nobody's when all is well."""

    NOBODY = "nobody"
    SHOP = "shop"
    BUYER = "buyer"
    GATEWAY = "gateway"
    SUPPLIER = "supplier"


WHOSE_TURN: dict[Who, Text] = {
    Who.NOBODY: _("Nobody has to do anything"),
    Who.SHOP: _("It is the shop's turn"),
    Who.BUYER: _("It is the buyer's turn"),
    Who.GATEWAY: _("It is the gateway's turn"),
    Who.SUPPLIER: _("It is the supplier's turn"),
}

SILENT = timedelta(minutes=3)
"""So long after it began a payment may wait without a word before somebody should ask."""
OPEN_STATES = ("created", "waiting")


@dataclass(frozen=True, slots=True)
class Try:
    """A payment attempt. ``method`` is what its payment method is called."""

    method: str
    state: str
    begun: datetime
    error: str = ""
    asked: datetime | None = None
    """When the gateway was last asked, or called, about it without a payment coming of it."""


@dataclass(frozen=True, slots=True)
class Bought:
    supplier: str
    state: str
    since: datetime
    error: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message to the buyer."""

    state: str
    at: datetime
    error: str = ""


@dataclass(frozen=True, slots=True)
class Back:
    """A refund."""

    state: str
    since: datetime
    error: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one order. ``told`` is when the word came that it was paid, ``told_by`` callback, query or staff;
    ``questions`` are the kinds of what a person must decide, with the oldest since when."""

    payment: str
    goods: str
    placed: datetime
    expires: datetime
    paid: datetime | None = None
    delivered: datetime | None = None
    held: bool = False
    told: datetime | None = None
    told_by: str = ""
    tries: Sequence[Try] = ()
    forged: datetime | None = None
    purchases: Sequence[Bought] = ()
    by_hand: bool = False
    seen: datetime | None = None
    messages: Sequence[Sent] = ()
    refunds: Sequence[Back] = ()
    questions: Sequence[tuple[str, datetime]] = ()
    ended: datetime | None = None
    """When it expired or was cancelled."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """``act`` names what helps now: ``ask``, ``buy_ask``, ``approve``, ``deliver``, ``import``, ``refund``, ``resend``,
    ``contact``, ``extend``, ``settings``; empty when there is nothing to press."""

    case: str
    turn: Who
    state: Text
    since: datetime | None
    helps: Text | None = None
    act: str = ""
    facts: tuple[Text, ...] = field(default=())


def diagnose(facts: Facts, now: datetime) -> Diagnosis:
    for rule in RULES:
        found = rule(facts, now)
        if found is not None:
            return found
    raise AssertionError("the last rule always fits")


def _since(facts: Facts, *kinds: str) -> datetime | None:
    return min((at for kind, at in facts.questions if kind in kinds), default=None)


# -- money that goes back ---------------------------------------------------------------


def _charged_back(facts: Facts, now: datetime) -> Diagnosis | None:
    if facts.payment != "charged_back":
        return None
    return Diagnosis(
        "charged_back",
        Who.SHOP,
        _("The payer's bank took the money back."),
        _since(facts, "chargeback") or facts.paid,
        _("Take the trace along and answer the bank through the gateway; it shows who saw the codes and when."),
        "trace",
    )


def _refund(facts: Facts, now: datetime) -> Diagnosis | None:
    open_ones = [one for one in facts.refunds if one.state in REFUND]
    if not open_ones:
        failed = _since(facts, "refund_failed")
        if failed is None:
            return None
        return Diagnosis(
            "refund_failed",
            Who.SHOP,
            _("The gateway gave nothing back."),
            failed,
            _("Look why at the gateway (balance too low, payment too old), then try again or pay by hand."),
            "refund",
        )
    one = open_ones[0]
    turn, state, helps = REFUND[one.state]
    return Diagnosis(f"refund_{one.state}", turn, state, one.since, helps, "refund" if turn is Who.SHOP else "")


REFUND: dict[str, tuple[Who, Text, Text]] = {
    "asked": (
        Who.SHOP,
        _("A refund waits for a second person."),
        _("Somebody else who may approve refunds has to look at it."),
    ),
    "approved": (
        Who.SHOP,
        _("A refund is about to be sent."),
        _("It goes by itself. If it stays so, look at Jobs: the worker may stand still."),
    ),
    "sent": (
        Who.GATEWAY,
        _("A refund was sent, and the gateway has not confirmed it."),
        _("The gateway is asked by itself. Do not send it a second time."),
    ),
    "unknown": (
        Who.SHOP,
        _("Nobody knows whether a refund went out."),
        _("Look at the gateway's own page, then write down here what you saw."),
    ),
}


# -- a person must decide ---------------------------------------------------------------


def _held(facts: Facts, now: datetime) -> Diagnosis | None:
    if not facts.held or facts.goods in ("void", "delivered") or facts.payment in ("cancelled", "expired"):
        return None
    return Diagnosis(
        "held",
        Who.SHOP,
        _("Risk rules hold the order back."),
        _since(facts, "risk") or facts.paid or facts.placed,
        _("Read the evidence, then let it go or refuse it: nothing is delivered before that."),
        "approve",
    )


def _wrong_money(facts: Facts, now: datetime) -> Diagnosis | None:
    if facts.payment != "mismatch":
        return None
    since = _since(facts, "underpaid", "wrong_currency") or facts.paid
    if _since(facts, "wrong_currency"):
        return Diagnosis(
            "wrong_currency",
            Who.SHOP,
            _("Money came in another currency."),
            since,
            _("Give it back, or accept it and deliver."),
            "refund",
        )
    return Diagnosis(
        "underpaid",
        Who.BUYER,
        _("The buyer paid too little."),
        since,
        _("The buyer can pay the rest on the order's page. You may also deliver all the same, or give it back."),
        "deliver",
    )


def _stopped(facts: Facts, now: datetime) -> Diagnosis | None:
    """Paid, and before a person."""
    if facts.goods != "review":
        return None
    for kinds, turn, state, helps, act in STOPPED:
        since = _since(facts, *kinds)
        if since is not None:
            return Diagnosis(kinds[0], turn, state, since, helps, act)
    return Diagnosis(
        "review",
        Who.SHOP,
        _("The order waits for a decision."),
        facts.paid,
        _("Look at the question above and answer it."),
        "deliver",
    )


STOPPED: tuple[tuple[tuple[str, ...], Who, Text, Text, str], ...] = (
    (
        ("purchase_unknown",),
        Who.SUPPLIER,
        _("The supplier took the order, and nobody knows whether it sold."),
        _("Ask the supplier once more, or look at its own page; only then buy elsewhere, or it is paid twice."),
        "buy_ask",
    ),
    (
        ("purchase_failed",),
        Who.SUPPLIER,
        _("No supplier delivered."),
        _("Buy by another offer, deliver by hand, or give the money back."),
        "buy",
    ),
    (
        ("purchase_odd",),
        Who.SUPPLIER,
        _("The supplier delivered something odd."),
        _("Compare what came with what was ordered before anything goes out."),
        "buy",
    ),
    (
        ("by_hand",),
        Who.SHOP,
        _("A person has to deliver this by hand."),
        _("Make the goods and hand them over on this page."),
        "hand",
    ),
    (
        ("paid_late",),
        Who.SHOP,
        _("The payment came after the order had expired, and its codes were sold."),
        _("Deliver if there is stock again, or give the money back."),
        "deliver",
    ),
    (
        ("out_of_stock",),
        Who.SHOP,
        _("Paid, but there are not enough codes."),
        _("Import codes and deliver, or give the money back."),
        "import",
    ),
    (
        ("job_failed",),
        Who.SHOP,
        _("A job of this order gave up."),
        _("Look at the job's error, then start it again."),
        "jobs",
    ),
)


# -- paid, not there yet ----------------------------------------------------------------


def _on_its_way(facts: Facts, now: datetime) -> Diagnosis | None:
    if facts.payment != "paid" or facts.goods in ("delivered", "void"):
        return None
    live = [one for one in facts.purchases if one.state in BOUGHT]
    if live:
        one = live[-1]
        turn, state, helps = BOUGHT[one.state]
        act = "buy_ask" if one.state != "created" else "jobs"
        return Diagnosis(f"purchase_{one.state}", turn, _with(state, one.supplier), one.since, helps, act)
    if facts.by_hand:
        return Diagnosis(
            "by_hand",
            Who.SHOP,
            _("A person has to deliver this by hand."),
            facts.paid,
            _("Make the goods and hand them over on this page."),
            "hand",
        )
    return Diagnosis(
        "not_delivered",
        Who.SHOP,
        _("Paid, and not delivered."),
        facts.paid,
        _("The shop finishes such orders by itself within two minutes. If not, look at Jobs and Health."),
        "jobs",
    )


BOUGHT: dict[str, tuple[Who, Callable[[str], Text], Text]] = {
    "created": (
        Who.SHOP,
        lambda name: _("The purchase from %(supplier)s was not sent yet.", supplier=name),
        _("It goes by itself. If it stays so, the supplier cannot be reached or the worker stands still."),
    ),
    "sent": (
        Who.SUPPLIER,
        lambda name: _("Waiting for an answer of %(supplier)s.", supplier=name),
        _("The supplier is asked again by itself. You may ask now."),
    ),
    "waiting": (
        Who.SUPPLIER,
        lambda name: _("%(supplier)s took the order and works on it.", supplier=name),
        _("The supplier is asked again by itself. After long, write to it with its number."),
    ),
    "unknown": (
        Who.SUPPLIER,
        lambda name: _("%(supplier)s gave an answer that is not clear.", supplier=name),
        _("Ask once more, or look at the supplier's own page before you buy elsewhere."),
    ),
}


def _with(state: Callable[[str], Text], name: str) -> Text:
    return state(name)


# -- delivered --------------------------------------------------------------------------


def _delivered(facts: Facts, now: datetime) -> Diagnosis | None:
    if facts.goods != "delivered":
        return None
    said = _story(facts)
    bad = _since(facts, "bad_code")
    if bad is not None:
        return Diagnosis(
            "bad_code",
            Who.SHOP,
            _("The buyer says that a code does not work."),
            bad,
            _("Look whether it was used, then give another code, the money, or say that it is good."),
            "replace",
            said,
        )
    more = _since(facts, "paid_twice", "overpaid")
    if more is not None:
        return Diagnosis(
            "too_much",
            Who.SHOP,
            _("More money came than the order costs."),
            more,
            _("Give back what was too much."),
            "refund",
            said,
        )
    if facts.seen is not None:
        return Diagnosis(
            "done", Who.NOBODY, _("Paid and delivered, and the buyer looked at the codes."), facts.seen, facts=said
        )
    last = facts.messages[-1] if facts.messages else None
    if last is not None and last.state in MAIL:
        turn, state, helps, act = MAIL[last.state]
        return Diagnosis(f"mail_{last.state}", turn, state, last.at, helps, act, said)
    return Diagnosis(
        "not_seen",
        Who.BUYER,
        _("Delivered; the buyer has not looked at the codes yet."),
        facts.delivered,
        _("The codes wait on the order's page. Send the message again, or check the address."),
        "resend" if last is not None else "contact",
        said,
    )


MAIL: dict[str, tuple[Who, Text, Text, str]] = {
    "failed": (
        Who.SHOP,
        _("Delivered, but the message did not reach the buyer."),
        _("Check the address, change the contact if it is wrong, and send it again."),
        "contact",
    ),
    "held": (
        Who.SHOP,
        _("Delivered, but no mail is set up: the message waits."),
        _("Set up mail; then messages that wait go out."),
        "settings",
    ),
    "queued": (
        Who.SHOP,
        _("Delivered; the message waits to be sent."),
        _("It goes by itself. If it stays so, look at Jobs."),
        "jobs",
    ),
}


def _story(facts: Facts) -> tuple[Text, ...]:
    """How it went: who took how long."""
    told: list[Text] = []
    if facts.paid is not None:
        told.append(_("Paid %(at)s", at=_Late(lambda: moment(facts.paid or facts.placed, "medium"))))
    begun = max((one.begun for one in facts.tries if facts.told and one.begun <= facts.told), default=None)
    if facts.told is not None and begun is not None:
        took = facts.told - begun
        said = TOLD.get(facts.told_by)
        if said is not None:
            told.append(said(_Late(lambda: seconds(took))))
    if facts.paid is not None and facts.delivered is not None:
        took_delivery = facts.delivered - facts.paid
        told.append(_("delivery took %(time)s", time=_Late(lambda: seconds(max(took_delivery, timedelta())))))
    if facts.seen is not None and facts.delivered is not None:
        later = facts.seen - facts.delivered
        told.append(_("the buyer looked at the codes %(time)s later", time=_Late(lambda: seconds(later))))
    return tuple(told)


class _Late:
    """Becomes text when it is shown, in the language of that moment."""

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make

    def __str__(self) -> str:
        return self._make()


TOLD: dict[str, Callable[[_Late], Text]] = {
    "callback": lambda time: _("the gateway called %(time)s after the payment was begun", time=time),
    "query": lambda time: _("the gateway said so when it was asked, %(time)s after the payment was begun", time=time),
    "staff": lambda time: _("a person confirmed it %(time)s after the payment was begun", time=time),
}


# -- not paid ---------------------------------------------------------------------------


def _forged(facts: Facts, now: datetime) -> Diagnosis | None:
    """Before anybody says that the buyer did not pay: the gateway may have called, and was not believed."""
    if facts.paid is not None or facts.forged is None:
        return None
    return Diagnosis(
        "forged",
        Who.SHOP,
        _("A call about this payment came, but its signature does not fit."),
        facts.forged,
        _("Usually the key in the payment method's settings is not the gateway's. Correct it, then ask the gateway."),
        "ask",
    )


def _unpaid(facts: Facts, now: datetime) -> Diagnosis | None:
    if facts.payment != "unpaid":
        return None
    if not facts.tries:
        return Diagnosis("no_payment", Who.BUYER, _("Nobody has begun to pay."), facts.placed, None, "extend")
    last = facts.tries[-1]
    if last.state == "failed" and last.error:
        return _not_begun(last)
    if last.state == "failed":
        return Diagnosis(
            "payment_failed",
            Who.BUYER,
            _("%(method)s says that the payment failed.", method=last.method),
            last.asked or last.begun,
            _("The buyer may try again, or pay in another way."),
            "extend",
        )
    if last.state in OPEN_STATES and now - max(last.begun, last.asked or last.begun) > SILENT:
        return Diagnosis(
            "silent",
            Who.BUYER if last.asked else Who.GATEWAY,
            _("%(method)s has not said that it was paid.", method=last.method),
            last.asked or last.begun,
            _("Most likely the buyer did not pay yet. If they say they did, ask the gateway now."),
            "ask",
        )
    return Diagnosis(
        "waiting",
        Who.BUYER,
        _("Waiting for the buyer to pay by %(method)s.", method=last.method),
        last.begun,
        None,
        "ask",
    )


def _not_begun(last: Try) -> Diagnosis:
    if last.error.startswith("unavailable"):
        return Diagnosis(
            "gateway_away",
            Who.GATEWAY,
            _("%(method)s could not be reached when the buyer wanted to pay.", method=last.method),
            last.begun,
            _("The buyer may try again or pay in another way. If it lasts, switch the method off for now."),
            "extend",
        )
    return Diagnosis(
        "gateway_refused",
        Who.SHOP,
        _("%(method)s did not take the payment.", method=last.method),
        last.begun,
        _("The reason stands in the timeline; usually the account's settings are wrong (key, amount, way to pay)."),
        "settings",
    )


def _ended(facts: Facts, now: datetime) -> Diagnosis | None:
    if facts.payment not in ("expired", "cancelled"):
        return None
    if facts.payment == "cancelled":
        return Diagnosis("cancelled", Who.NOBODY, _("The order was cancelled before it was paid."), facts.ended)
    last = facts.tries[-1] if facts.tries else None
    if last is not None and last.error:
        return _not_begun(last)
    return Diagnosis(
        "expired",
        Who.BUYER,
        _("Nobody paid in time; the codes are on sale again."),
        facts.ended or facts.expires,
        _("If the buyer says they paid, ask the gateway: money that came late is kept for a decision."),
        "ask" if last else "",
    )


def _given_back(facts: Facts, now: datetime) -> Diagnosis | None:
    if facts.payment != "refunded" and facts.goods != "void":
        return None
    since = max((one.since for one in facts.refunds if one.state == "done"), default=None)
    return Diagnosis("refunded", Who.NOBODY, _("The money went back to the buyer."), since)


def _anything(facts: Facts, now: datetime) -> Diagnosis:
    return Diagnosis("unclear", Who.SHOP, _("The timeline tells what happened."), facts.placed)


RULES: tuple[Callable[[Facts, datetime], Diagnosis | None], ...] = (
    _charged_back,
    _refund,
    _given_back,
    _held,
    _wrong_money,
    _stopped,
    _on_its_way,
    _delivered,
    _forged,
    _unpaid,
    _ended,
    _anything,
)
