"""What a notifier is: the object a notifier plugin delivers, and the values that pass through it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class NotifierUnavailable(Exception):
    """The message was not taken now, or nobody knows whether it was: core sends it again later.

    The text is shown to the merchant and must hold no secret. ``after`` are seconds to wait at least; without
    it core waits as its own rule says.
    """

    def __init__(self, text: str, after: float | None = None) -> None:
        super().__init__(text)
        self.after = after


class NotifierRefused(Exception):
    """The message was refused for good (no such recipient, not allowed to send). The text is shown to the merchant."""


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One message to one person, ready to be sent.

    ``id`` is the same each time this message is handed over again after an unclear answer: use it as
    idempotency key (the ``Message-ID`` of a mail). ``recipient`` is an address of the notifier's channel.
    ``text`` and ``html`` say the same; both may hold what only the recipient may see, so never log them.
    ``from_name`` is the shop's name, ``reply_to`` an address for answers or empty. ``locale`` is the language it is
    written in (``zh_CN``).

    :raises ValueError: a field that must be one line, such as the subject, has a line break or another control sign.
    """

    id: str
    recipient: str
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    locale: str
    from_name: str
    reply_to: str = ""

    def __post_init__(self) -> None:
        for name in ("id", "recipient", "subject", "from_name", "reply_to"):
            if any(sign < " " or sign == "\x7f" for sign in getattr(self, name)):
                raise ValueError(f"the {name} of a message must be one line")


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer of :meth:`Notifier.send`: it was taken. ``reference`` is what the other side calls it, if it said."""

    reference: str = ""


class Notifier:
    """A way to reach people. Derive, set ``key``, ``channel`` and ``title``, and write :meth:`send`.

    ``key`` names the notifier and never changes. ``channel`` says what its recipients are: ``mail`` for
    e-mail addresses. When two notifiers serve a channel, the one whose key comes first is used. ``title`` is
    by locale. ``sender`` is the address its mails come from, so that the shop can look whether others may know it for
    ours; empty where there is none.
    """

    key: str
    channel: str
    title: Mapping[str, str]
    sender: str = ""

    async def send(self, message: OutgoingMessage) -> Receipt:
        """Hand the message over; return only when the other side has taken it.

        Called from a job, never inside a database transaction. It has a minute. A message may come again after
        a crash, with the same ``id``.

        :raises NotifierUnavailable: not now; core tries again.
        :raises NotifierRefused: never; core shows the reason and stops.
        """
        raise NotImplementedError
