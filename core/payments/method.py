"""What a payment method is: the object a payment plugin delivers, and the values that pass through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol
from urllib.parse import parse_qsl

from core.money import Money
from core.web.i18n import _


class Forged(Exception):
    """A callback is not from the gateway: bad or missing signature, foreign merchant, doubled parameter.

    Core answers with the method's ``refused`` answer and leaves an alarm row; nothing else changes. The text
    says what was wrong for the merchant and must hold no key or signature.
    """


class GatewayUnavailable(Exception):
    """The gateway could not be reached or answered garbage: nothing is known. Core tries again later."""


class GatewayRefused(Exception):
    """The gateway said no and meant it (wrong key, amount too small). The text is shown to the merchant."""


class ClaimState(StrEnum):
    """How the gateway says an attempt stands."""

    PAID = "paid"
    """The money is there: core settles the order, if amount and currency are right."""
    PENDING = "pending"
    """Begun and not ended: only written down."""
    FAILED = "failed"
    """It was declined; no money came by this attempt."""
    EXPIRED = "expired"
    """Nobody paid in time, or it was closed; no money came by this attempt."""
    CHARGED_BACK = "charged_back"
    """The payer's bank took ``amount`` of a payment back; a claim of this state has an ``event_key`` of its own."""


class RefundState(StrEnum):
    """How the gateway says a refund stands."""

    DONE = "done"
    """The money is on its way to the buyer, for good."""
    PENDING = "pending"
    """The gateway works on it: core asks :meth:`PaymentMethod.query_refund` later, else a person looks."""
    FAILED = "failed"
    """The gateway refused it; no money moved and none will."""


class Purse(Protocol):
    """What the buyer of an order keeps with the shop, as far as one attempt may use it."""

    async def take(self) -> None:
        """Take the attempt's whole amount out of the buyer's balance, once: a second call changes nothing.

        From then on core asks :meth:`PaymentMethod.query` about the attempt until it is settled.

        :raises GatewayRefused: the balance is not enough, whoever pays has not shown that the order's e-mail address
            is theirs, or the order cannot be paid any more. Nothing was taken.
        """
        ...

    async def taken(self) -> bool:
        """Whether the amount was taken for this attempt."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to pay one order by one method; its row is committed before the gateway hears of it.

    ``ref`` names the try at the gateway (``out_trade_no``) and is its idempotency key: letters, digits and ``-``, at
    most 32. ``amount`` is what must be paid, exactly. ``title`` is what the buyer sees on the gateway's page.
    ``option`` is the key of the chosen :class:`PaymentOption`, ``locale`` the buyer's language (``zh_CN``),
    ``client_ip`` their address. ``device`` is ``pc``, ``mobile``, ``wechat`` or ``alipay``. ``notify_url`` is where the
    gateway calls us, ``return_url`` where it sends the buyer back. Times are UTC. ``gateway_ref`` is the gateway's own
    number, once it is known. ``purse`` is there for a method that pays :attr:`PaymentMethod.from_balance`, else None.
    """

    ref: str
    order_ref: str
    amount: Money
    title: str
    option: str
    locale: str
    client_ip: str
    device: str
    notify_url: str
    return_url: str
    created_at: datetime
    expires_at: datetime
    gateway_ref: str | None = None
    purse: Purse | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    """Send the buyer to ``url`` (a plain link on the order page; nothing is posted)."""

    url: str


@dataclass(frozen=True, slots=True)
class PostForm:
    """Send the buyer to ``url`` by a form with hidden ``fields``. The host must be in ``form_hosts``."""

    url: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class QrCode:
    """Show ``text`` as a QR code; ``deep_link`` opens the wallet on a phone where there is one."""

    text: str
    deep_link: str | None = None


@dataclass(frozen=True, slots=True)
class Instructions:
    """Show text to the buyer, by locale (``{"zh-CN": …, "en": …}``); a person confirms the payment later."""

    text: Mapping[str, str]


Step = Redirect | PostForm | QrCode | Instructions
"""What the buyer does next."""


@dataclass(frozen=True, slots=True)
class Started:
    """The answer of :meth:`PaymentMethod.start`: the buyer's next ``step``, the gateway's own number if known."""

    step: Step
    gateway_ref: str | None = None


@dataclass(frozen=True, slots=True)
class CallbackRequest:
    """A gateway's (or supplier's) request as it came: raw query and body bytes, lower-case header names.

    ``client_ip`` is who called, as far as the proxies in front of the shop are known.
    """

    method: str
    query: bytes
    body: bytes
    headers: Mapping[str, str]
    client_ip: str

    def query_params(self) -> dict[str, str]:
        """The query's parameters, URL-decoded as UTF-8. A doubled or undecodable one raises :class:`Forged`."""
        return _params(self.query)

    def form_params(self) -> dict[str, str]:
        """The same for a form body."""
        return _params(self.body)


def _params(raw: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=100, errors="strict")
    except ValueError:
        raise Forged(_("the parameters cannot be read")) from None
    params = dict(pairs)
    if len(params) != len(pairs):
        raise Forged(_("a parameter comes twice"))
    return params


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway is told: the exact bytes it takes for yes or no."""

    body: bytes = b"success"
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a gateway says about one attempt, after its signature was verified.

    ``event_key`` is the gateway's own id of this event, the same on each repeat (its trade number and the
    state will do); core lets each have one effect. ``amount`` is compared with the attempt by core, so hand
    on what the gateway said; of a ``CHARGED_BACK`` it is what was taken back. Who was paid (the merchant id) has no
    place here: the plugin holds it against its settings and raises :class:`Forged`. ``gateway_ref`` is the gateway's
    number of the payment. ``answer`` is for gateways that want to be told something else than ``accepted``.
    """

    attempt_ref: str
    state: ClaimState
    amount: Money
    gateway_ref: str
    event_key: str
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Refund:
    """Money to give back by the way it came; its row is committed before the gateway hears of it.

    ``ref`` names the refund at the gateway (``out_refund_no``) and is its idempotency key: letters, digits and
    ``-``, at most 32. ``paid`` is what the payment brought, ``amount`` what is to go back of it. ``gateway_ref`` is
    the gateway's number of the payment, empty when only staff has said that it came. ``reason`` is what staff wrote.
    """

    ref: str
    attempt_ref: str
    gateway_ref: str
    order_ref: str
    amount: Money
    paid: Money
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RefundAnswer:
    """What the gateway says of a refund; ``gateway_ref`` is its own number of it, ``text`` is shown to staff."""

    state: RefundState
    gateway_ref: str = ""
    text: str = ""


class LineKind(StrEnum):
    """What a line of a gateway's statement is about."""

    PAYMENT = "payment"
    """Money that a buyer paid."""
    REFUND = "refund"
    """Money that went back to a buyer because we asked for it."""
    FEE = "fee"
    """A fee that belongs to no single payment, such as one for each month."""
    CHARGEBACK = "chargeback"
    """Money that the payer's bank took back."""


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One movement of money as the gateway's own books have it.

    ``key`` is the gateway's id of this movement, the same on every download; core takes each once. ``gateway_ref`` is
    the gateway's number that staff finds it by. ``our_ref`` is what core holds it against: ``Attempt.ref`` of a payment
    or a chargeback, ``Refund.ref`` of a refund, empty when the gateway names none of ours. ``amount`` is what the payer
    paid, got back or took back, in the currency that was asked for, and is positive for each kind; negative is what was
    undone (a dispute that was won). ``at`` is when the gateway booked it (UTC). ``fee`` is what the gateway kept of
    this movement, in whatever currency it keeps its books; negative is what it gave back of it. A line of the kind
    ``FEE`` is a fee that belongs to no payment: ``amount`` is the fee, and ``fee`` is None.
    """

    key: str
    kind: LineKind
    gateway_ref: str
    our_ref: str
    amount: Money
    at: datetime
    fee: Money | None = None


@dataclass(frozen=True, slots=True)
class PaymentOption:
    """One button on the order page: Alipay and WeChat through the same gateway are two options.

    ``key`` comes back as ``Attempt.option``; ``title`` is by locale, ``icon`` the name of one as in ``ui.icon``.
    """

    key: str
    title: Mapping[str, str]
    icon: str = "credit-card"


class PaymentMethod:
    """A way to be paid. Derive, set ``key`` and ``title``, and write the methods.

    ``key`` is the URL segment (``/pay/<key>/notify``) and the name stored on attempts: never change it.
    ``title`` is by locale. ``options`` are the buttons the buyer sees; none means one button, ``title``.
    ``form_hosts`` are hosts that :class:`PostForm` posts to (``https://pay.example.com``), for the page's
    content policy. ``test_only`` methods are offered only while the shop is in test mode, and their orders
    are marked as tests. ``query_after`` are the seconds after which core asks :meth:`query` about an attempt
    that stays silent, one number for each try; empty means the gateway has no query call, and a first number of 0
    asks as soon as it is started. ``from_balance`` methods pay from what the buyer keeps with the shop: they are
    offered only where that is enough and the buyer has shown to be its owner. ``starts_here`` says that
    :meth:`start` calls nobody and may therefore be asked before the attempt's row is written. ``refunds``
    says that there is a :meth:`refund`; ``refund_query_after`` are the seconds between the questions about a refund
    whose outcome is not known, as for payments; empty means the gateway cannot be asked and a person looks.
    ``statements`` says that there is a :meth:`statement`; the gateway's days are those of ``statement_zone`` (a name
    such as ``Asia/Shanghai``), and one can be had ``statement_after`` seconds after its end. ``accepted`` and
    ``refused`` are what the gateway takes for yes (the call was understood) and no (it was forged).

    No method is ever called inside a database transaction. Amounts are integer minor units.
    """

    key: str
    title: Mapping[str, str]
    options: tuple[PaymentOption, ...] = ()
    form_hosts: tuple[str, ...] = ()
    test_only: bool = False
    query_after: tuple[int, ...] = ()
    starts_here: bool = False
    from_balance: bool = False
    refunds: bool = False
    refund_query_after: tuple[int, ...] = ()
    statements: bool = False
    statement_zone: str = "UTC"
    statement_after: int = 3600
    accepted: Answer = Answer()
    refused: Answer = Answer(body=b"fail", status=400)

    def currencies(self) -> frozenset[str] | None:
        """The currencies it takes; None means any."""
        return None

    async def start(self, attempt: Attempt) -> Started:
        """Prepare the payment at the gateway and say what the buyer does next.

        Called after the attempt's row is committed, possibly again for the same ``ref`` after a time-out: use
        ``ref`` as the gateway's idempotency key.

        :raises GatewayUnavailable: nothing is known; core lets the buyer try again.
        :raises GatewayRefused: the gateway refuses this payment.
        """
        raise NotImplementedError

    async def parse_callback(self, request: CallbackRequest) -> Claim | Answer | None:
        """Verify a call to ``/pay/<key>/notify`` over the raw bytes and say what it claims.

        None means a true message that asks for nothing; it is answered with ``accepted``. An :class:`Answer`
        means the same for a message that wants an answer of its own, such as a probe of the address.

        :raises Forged: it is not from the gateway.
        """
        raise NotImplementedError

    async def query(self, attempt: Attempt) -> Claim | None:
        """Ask the gateway about an attempt. None: it does not know the attempt (yet).

        :raises GatewayUnavailable: try again later.
        """
        raise NotImplementedError

    async def refund(self, refund: Refund) -> RefundAnswer:
        """Give money back through the gateway. Core calls this once for each ``ref`` and never again, unless
        :class:`core.api.NotSent` was raised: what is not known is asked about, or decided by a person.

        :raises NotSent: the gateway certainly did not get the request; core tries again later.
        :raises GatewayRefused: the gateway said no, and no money moved.
        :raises GatewayUnavailable: the outcome is not known.
        """
        raise NotImplementedError

    async def query_refund(self, refund: Refund) -> RefundAnswer | None:
        """What became of a refund whose outcome is not known. None: the gateway cannot tell (yet).

        :raises GatewayUnavailable: try again later.
        """
        raise NotImplementedError

    async def statement(self, day: date) -> Sequence[StatementLine] | None:
        """Everything the gateway booked on one of its days. None: that day's statement is not there yet.

        Core asks for each day until it gets it, once the day is over by ``statement_after``, and holds the lines
        against its own payments and refunds: what only one side knows, and amounts that differ, become a question to
        staff; fees are booked. A day may be asked for again.

        :raises GatewayUnavailable: try again later.
        :raises GatewayRefused: the gateway does not give it; the text is shown to staff, and core tries again later.
        """
        raise NotImplementedError
