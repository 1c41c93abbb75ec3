"""An order as support needs it: what the shop knows already, and what can be tried before a person is asked.

For plugins. Whoever asks is looked at here: a buyer by the session that may see the order, staff by their rights.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core import db
from core.audit import service as audit
from core.catalog import notes
from core.catalog.service import words
from core.checkout.ask import ask_about
from core.fulfilment import replacement
from core.fulfilment.replacement import Reporter
from core.hooks import runtime
from core.jobs import bell, ring
from core.ledger import chart
from core.messages import service as messages
from core.messages.events import EVENTS
from core.money import Money
from core.orders import service as orders
from core.orders.view import LineView, MaskedCode, OrderView, order_view
from core.orders.words import BAD_CODE
from core.payments import service as payments
from core.payments.method import PaymentMethod
from core.refused import Refused
from core.vault import masking
from core.web import limits
from core.web.i18n import Text, _
from core.web.visit import Visit

MOST_ASKED = 3

SHOWN = """
SELECT code.id, count(*) AS times, min(reveal.at) AS first, max(reveal.at) AS last
FROM vault_reveal reveal JOIN vault_code code ON code.id = reveal.code_id
JOIN orders_line line ON line.id = code.line_id
WHERE line.order_id = $1 AND reveal.staff_id IS NULL AND reveal.export_id IS NULL GROUP BY code.id
"""
MAILS = "SELECT event, state, created_at, sent_at FROM messages_message WHERE order_id = $1 ORDER BY id"
TO_ASK = """
SELECT ref, method FROM payments_attempt WHERE order_id = $1 AND state <> 'paid' ORDER BY id DESC LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class CaseCode:
    """One delivered code: never the code, only its mask.

    ``state`` is ``good`` as far as anybody knows, ``reported`` by its buyer, ``replaced`` by another or ``burned``
    (erased). ``shown`` says how often its buyer was shown it, ``first_shown`` and ``last_shown`` when (UTC).
    """

    id: int
    mask: str
    state: str
    shown: int = 0
    first_shown: datetime | None = None
    last_shown: datetime | None = None


@dataclass(frozen=True, slots=True)
class CaseLine:
    """One line of an order. ``title`` is in the language of whoever asks, ``note`` is the merchant's Markdown about how
    it is used; ``source`` is ``codes``, ``supplier`` or ``hand``."""

    id: int
    title: str
    sku_code: str
    quantity: int
    total: Money
    source: str
    note: str
    codes: tuple[CaseCode, ...]


@dataclass(frozen=True, slots=True)
class CasePayment:
    """One try to pay. ``state`` is ``created``, ``waiting``, ``paid``, ``failed`` or ``expired``; ``title`` is what the
    method is called, in the language of whoever asks."""

    ref: str
    method: str
    state: str
    amount: Money
    title: str


@dataclass(frozen=True, slots=True)
class CaseMail:
    """A mail about the order. ``state`` is ``queued``, ``sending``, ``sent``, ``failed`` or ``held``.

    ``at`` (UTC) is when it was sent, until then when it was written.
    """

    title: Text | str
    state: str
    at: datetime


@dataclass(frozen=True, slots=True)
class OrderCase:
    """What the shop knows of an order that somebody needs help with. States as in :class:`OrderView`.

    ``contact_hint`` is enough to recognise how the buyer is reached and not enough to use it. ``locale`` is the
    language the buyer ordered in. Times are UTC.
    """

    ref: str
    shop: str
    test: bool
    locale: str
    contact_kind: str
    contact_hint: str
    payment_state: str
    fulfilment_state: str
    total: Money
    placed_at: datetime
    expires_at: datetime
    paid_at: datetime | None
    delivered_at: datetime | None
    lines: tuple[CaseLine, ...]
    payments: tuple[CasePayment, ...]
    mails: tuple[CaseMail, ...]

    @property
    def codes(self) -> list[CaseCode]:
        """All codes of all lines."""
        return [code for line in self.lines for code in line.codes]


# -- looking ----------------------------------------------------------------------------


async def order_case(visit: Visit, ref: str) -> OrderCase | None:
    """What the shop knows of an order. None for whoever may not see it.

    A buyer sees the orders of this browser, as on the order's own page; on console pages staff who may see orders see
    those of their shop.
    """
    row = await _row(visit, ref)
    if row is None:
        return None
    shown = {one["id"]: one for one in await db.fetch(SHOWN, row["id"])}
    mails = await db.fetch(MAILS, row["id"])
    return _case(row, shown, mails, visit)


async def _row(visit: Visit, ref: str) -> dict[str, Any] | None:
    session = visit.session
    if session is None:
        return None
    if visit.surface == "console":
        return await orders.for_staff(visit.shop.id, ref) if session.may("orders.read") else None
    row = await orders.for_session(ref, session.id_hash)
    return row if row is not None and row["shop_id"] == visit.shop.id else None


def _case(row: dict[str, Any], shown: dict[int, Any], mails: list[Any], visit: Visit) -> OrderCase:
    order = order_view(row)
    return OrderCase(
        ref=order.ref,
        shop=getattr(visit.shop, "code", ""),
        test=order.test,
        locale=row["locale"],
        contact_kind=row["contact_kind"],
        contact_hint=order.contact_hint,
        payment_state=order.payment_state,
        fulfilment_state=order.fulfilment_state,
        total=order.total,
        placed_at=order.created_at,
        expires_at=order.expires_at,
        paid_at=order.paid_at,
        delivered_at=order.delivered_at,
        lines=tuple(_case_line(order, line, shown, visit) for line in order.lines),
        payments=tuple(_case_payment(attempt, order.total.currency) for attempt in order.attempts),
        mails=tuple(_mail(mail) for mail in mails),
    )


def _case_line(order: OrderView, line: LineView, shown: dict[int, Any], visit: Visit) -> CaseLine:
    titles = (words(line.product_title, visit.locale), words(line.sku_title, visit.locale))
    return CaseLine(
        id=line.id,
        title=" · ".join(title for title in titles if title),
        sku_code=line.sku_code,
        quantity=line.quantity,
        total=line.total,
        source=line.source,
        note=_delivery_note(order, line, visit),
        codes=tuple(_code(code, shown.get(code.id)) for code in line.codes),
    )


def _case_payment(attempt: Any, currency: str) -> CasePayment:
    method = attempt["method"]
    amount = Money(attempt["amount"], currency)
    return CasePayment(attempt["ref"], method, attempt["state"], amount, chart.method_title(method))


def _delivery_note(order: OrderView, line: LineView, visit: Visit) -> str:
    sold = order.sold(line, f"{visit.origin}/o/{order.ref}", order.contact_hint)
    return notes.written(line.delivery_note, sold, visit.shop, visit.origin, visit.locale)


def _code(code: MaskedCode, shown: Any) -> CaseCode:
    state = "replaced" if code.replaced_by else "burned" if code.burned else "reported" if code.reported else "good"
    if shown is None:
        return CaseCode(code.id, code.mask, state)
    return CaseCode(code.id, code.mask, state, shown["times"], shown["first"], shown["last"])


def _mail(row: Any) -> CaseMail:
    event = EVENTS.get(row["event"])
    return CaseMail(event.title if event else row["event"], row["state"], row["sent_at"] or row["created_at"])


# -- trying -----------------------------------------------------------------------------


async def ask_gateway(visit: Visit, ref: str) -> OrderCase:
    """Ask the gateways now about the order's newest tries to pay, and let what they say have its effect, as the shop
    does by itself from time to time. Gives how the order stands afterwards.

    Never call it in a transaction. Each order may be asked about ten times in ten minutes.

    :raises Refused: no order that whoever asks may see.
    :raises TooMany: asked too often.
    """
    row = await _seen(visit, ref)
    await limits.hit("ask-gateway", ref)
    for attempt in await db.fetch(TO_ASK, row["id"], MOST_ASKED):
        method = runtime.current().payment_methods.get(attempt["method"])
        if isinstance(method, PaymentMethod) and method.query_after:
            stored = await payments.load_attempt(attempt["ref"], runtime.current().base_url)
            if stored is not None:
                await ask_about(stored)
    await db.transaction(_note, visit, ref, "order.gateway_asked")
    return await _again(visit, ref)


async def send_mail_again(visit: Visit, ref: str) -> None:
    """Send the newest mail about the order again, to the address it was ordered with.

    :raises Refused: no such order, a role that may not, or there is no mail to send.
    :raises TooMany: a buyer asked more than twice in an hour.
    """
    row = await _seen(visit, ref, "orders.resend")
    if visit.surface != "console":
        await limits.hit("mail-again", ref)

    async def write(tx: db.Tx) -> list[int]:
        await _note(tx, visit, ref, "order.resent")
        return await messages.resend(tx, row)

    await ring(*await db.transaction(write))


async def report_code(visit: Visit, ref: str, code_id: int, why: str, note: str, agent: str) -> None:
    """The buyer says that a delivered code does not work: the question stands in the review queue.

    ``why`` is ``invalid``, ``used``, ``other_goods``, ``expired`` or ``other``. Reported before is no mistake.

    :raises Refused: it is no code of an order that this browser may see.
    """
    case = await _again(visit, ref)
    code = next((one for one in case.codes if one.id == code_id), None)
    if code is None:
        raise Refused(_("This code does not belong to your order."), "code")
    if code.state in ("reported", "replaced"):
        return
    who = Reporter(visit.session.id_hash, visit.ip or None, agent)
    await replacement.report(ref, code_id, why if why in BAD_CODE else "other", note, who)


async def replace_code(visit: Visit, ref: str, code_id: int, why: str) -> str:
    """Staff give another code for a bad one, as on the order's page. Gives the mask of the new one, or an empty text:
    there is none in stock, and the question waits in the review queue.

    :raises Refused: a role that may not (``codes.replace``), no such code, or it was replaced before.
    """
    await _seen(visit, ref, "codes.replace")
    if visit.surface != "console":
        raise Refused(_("Your role may not do this."))
    done = await replacement.give_another(visit.shop.id, ref, code_id, why, visit.session.staff_id, visit.ip or None)
    await ring(*done.jobs)
    await bell.ring(f"order:{ref}", "changed")
    return done.mask


async def hide_codes(visit: Visit, ref: str, text: str) -> str:
    """The text with every code of the order in it masked, so that it can be stored and shown.

    Found is what has the fingerprint of one of the order's codes, and what looks like one and ends in the same signs.
    """
    return await masking.hide(visit.shop.id, ref, text)


async def _seen(visit: Visit, ref: str, right: str = "orders.read") -> dict[str, Any]:
    row = await _row(visit, ref)
    if row is None:
        raise Refused(_("There is no such order."))
    if visit.surface == "console" and not visit.session.may(right):
        raise Refused(_("Your role may not do this."))
    return row


async def _again(visit: Visit, ref: str) -> OrderCase:
    case = await order_case(visit, ref)
    if case is None:
        raise Refused(_("There is no such order."))
    return case


async def _note(tx: db.Tx, visit: Visit, ref: str, act: str) -> None:
    """Into the audit log, when it is staff."""
    if visit.surface == "console":
        actor = f"staff:{visit.session.staff_id}"
        await audit.record(tx, actor, act, f"order:{ref}", shop_id=visit.shop.id, ip=visit.ip or None)
