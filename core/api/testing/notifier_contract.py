"""What every notifier must keep, whatever becomes of its messages."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from core.api import Notifier, NotifierRefused, NotifierUnavailable, OutgoingMessage, Receipt
from core.api.testing.contract import Contract, OtherSide
from core.api.testing.loopback import Fault
from core.api.testing.machine import Machine

_numbers = itertools.count(1)
CANARY = "CODE-7F3K-CANARY"
STATUS_IS_ALL = (Fault.GARBAGE, Fault.EMPTY)
"""Many servers say yes by the status alone."""


class FakeReceiver(OtherSide):
    """A server that takes messages in your protocol.

    ``recipient`` is somebody it knows, ``nobody`` an address it refuses for good; empty when it takes anything.
    ``once`` says that it knows a message that comes again by its id and does not pass it on twice.
    """

    recipient: ClassVar[str] = "buyer@example.com"
    nobody: ClassVar[str] = ""
    once: ClassVar[bool] = False

    def received(self, id: str) -> list[str] | None:
        """The texts that came under this id of a message; None: it cannot be told."""
        raise NotImplementedError


class NotifierContract(Contract):
    """Derive, set ``plugin``, and override ``other_side`` with your :class:`FakeReceiver`."""

    @pytest.fixture
    async def other_side(self) -> AsyncIterator[Any]:
        raise NotImplementedError("override other_side with your FakeReceiver")
        yield

    @pytest.fixture
    def notifier(self, machine: Machine) -> Notifier:
        found: Notifier = self.the_one(machine.runtime.notifiers)
        return found

    def message(self, other_side: FakeReceiver, **changes: Any) -> OutgoingMessage:
        """A message with an id of its own, in signs that need care."""
        facts: dict[str, Any] = {
            "id": f"test{next(_numbers)}",
            "recipient": other_side.recipient,
            "subject": "您的订单 VTEST1 已发货 📦",
            "text": f"您好，\n\n{CANARY}\n\n感谢 & <谢谢>",
            "html": f"<p>您好，</p><p><b>{CANARY}</b></p><p>感谢 &amp; &lt;谢谢&gt;</p>",
            "locale": "zh-CN",
            "from_name": "小店",
            "reply_to": "shop@example.com",
        }
        return OutgoingMessage(**{**facts, **changes})

    async def test_it_has_a_name_and_a_channel(self, notifier: Notifier) -> None:
        assert isinstance(notifier, Notifier)
        assert notifier.title.get("en") and notifier.channel

    async def test_a_message_arrives_whole(self, notifier: Notifier, other_side: FakeReceiver) -> None:
        message = self.message(other_side)
        assert isinstance(await notifier.send(message), Receipt)
        came = other_side.received(message.id)
        assert came is None or (len(came) == 1 and CANARY in came[0])

    async def test_a_message_that_comes_again_keeps_its_id(self, notifier: Notifier, other_side: FakeReceiver) -> None:
        message = self.message(other_side)
        for _ in range(2):
            assert isinstance(await notifier.send(message), Receipt)
        came = other_side.received(message.id)
        assert came is None or len(came) == (1 if other_side.once else 2)

    async def test_a_message_nobody_confirmed_is_sent_again_later(
        self, notifier: Notifier, machine: Machine, other_side: FakeReceiver
    ) -> None:
        self.known_secrets.append(CANARY)
        async for fault in self.lost_answers(machine, other_side):
            message = self.message(other_side)
            with fault:
                answer = await self.outcome(notifier.send(message), NotifierUnavailable, machine=machine)
            assert CANARY not in str(answer), f"{fault}: its error tells what the message says"
            if fault.was_met and not (isinstance(answer, Receipt) and fault.fault in STATUS_IS_ALL):
                assert isinstance(answer, NotifierUnavailable), f"{fault}: it makes {answer!r} of it"

    async def test_with_nobody_there_it_is_sent_again_later(
        self, notifier: Notifier, machine: Machine, other_side: FakeReceiver
    ) -> None:
        await notifier.send(self.message(other_side))
        asked = other_side.count()
        await other_side.down()
        answer = await self.outcome(notifier.send(self.message(other_side)), NotifierUnavailable, machine=machine)
        assert asked == 0 or isinstance(answer, NotifierUnavailable)

    async def test_a_recipient_who_is_refused_is_not_tried_again(
        self, notifier: Notifier, machine: Machine, other_side: FakeReceiver
    ) -> None:
        if other_side.nobody:
            message = self.message(other_side, recipient=other_side.nobody)
            answer = await self.outcome(notifier.send(message), NotifierRefused, machine=machine)
            assert isinstance(answer, NotifierRefused)
