"""What every payment method must keep, whatever its gateway does."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from core import clock
from core.api import (
    Attempt,
    CallbackRequest,
    Claim,
    ClaimState,
    GatewayRefused,
    GatewayUnavailable,
    Instructions,
    Money,
    NotSent,
    PaymentMethod,
    PostForm,
    QrCode,
    Redirect,
    Refund,
    RefundAnswer,
    RefundState,
    Started,
)
from core.api.testing.contract import CallbackContract, LostAnswer, OtherSide
from core.api.testing.machine import BASE_URL, Machine

_numbers = itertools.count(1)


class FakeGateway(OtherSide):
    """A gateway that speaks your protocol. Write what the contract asks of it, and the routes your plugin calls."""

    answers_questions: ClassVar[bool] = True
    """Whether a query finds what was paid here."""

    async def pay(self, attempt: Attempt, started: Started) -> None:
        """The buyer pays at the gateway."""

    async def callback(self, attempt: Attempt) -> CallbackRequest | None:
        """The call with which it tells the shop of a paid attempt, exactly as it comes over the line; None: it has
        none. Build it from ``attempt.notify_url``."""
        return None

    def payments(self, ref: str) -> int | None:
        """How many payments were opened under this reference of ours; None: it cannot be counted."""
        return None

    def in_all(self) -> tuple[int, int] | None:
        """How many payments and how many refunds there were, whatever their reference; None: it does not say."""
        return None

    def refunds(self, ref: str) -> list[Money] | None:
        """The sums that went back under this reference of a refund; None: it cannot be counted."""
        return None


class PursesForTests:
    """What a buyer keeps with the shop, for methods that pay from there."""

    def __init__(self) -> None:
        self.taken_for = 0

    async def take(self) -> None:
        self.taken_for = 1

    async def taken(self) -> bool:
        return self.taken_for == 1


class PaymentMethodContract(CallbackContract):
    """Derive, set ``plugin``, and override ``other_side`` with your :class:`FakeGateway`."""

    amount: ClassVar[Money] = Money(1990, "CNY")

    @pytest.fixture
    async def other_side(self) -> AsyncIterator[Any]:
        async with FakeGateway() as nobody:
            yield nobody

    @pytest.fixture
    def method(self, machine: Machine) -> PaymentMethod:
        found: PaymentMethod = self.the_one(machine.runtime.payment_methods)
        return found

    def attempt(self, method: PaymentMethod, **changes: Any) -> Attempt:
        """A try to pay, with a reference of its own."""
        number, now = next(_numbers), clock.now()
        facts: dict[str, Any] = {
            "ref": f"VTEST{number}-1",
            "order_ref": f"VTEST{number}",
            "amount": self.amount,
            "title": "One month 一个月",
            "option": method.options[0].key if method.options else "",
            "locale": "zh-CN",
            "client_ip": "203.0.113.7",
            "device": "pc",
            "notify_url": f"{BASE_URL}/pay/{method.key}/notify",
            "return_url": f"{BASE_URL}/pay/{method.key}/return?order=VTEST{number}",
            "created_at": now,
            "expires_at": now + timedelta(minutes=15),
            "purse": PursesForTests() if method.from_balance else None,
        }
        return Attempt(**{**facts, **changes})

    async def _paid(self, method: PaymentMethod, gateway: FakeGateway) -> tuple[Attempt, CallbackRequest | None]:
        attempt = self.attempt(method)
        started = await method.start(attempt)
        attempt = replace(attempt, gateway_ref=started.gateway_ref)
        await gateway.pay(attempt, started)
        return attempt, await gateway.callback(attempt)

    async def _once(self, gateway: FakeGateway, attempt: Attempt, before: int = 0) -> None:
        count = gateway.payments(attempt.ref)
        assert count is None or count <= 1, f"{count} payments were opened for one attempt: the buyer may pay twice"
        new = _in_all(gateway)[0] - before
        assert new <= 1, f"{new} payments were opened for one attempt: the buyer may pay twice"

    # -- what it is ---------------------------------------------------------------------

    async def test_it_has_a_name_and_buttons(self, method: PaymentMethod) -> None:
        assert isinstance(method, PaymentMethod)
        assert method.title.get("en"), "title needs at least a text for en"
        keys = [option.key for option in method.options]
        assert len(keys) == len(set(keys)), "two options share a key"
        assert all(option.title.get("en") for option in method.options)
        assert list(method.query_after) == sorted(method.query_after), "query_after must rise"

    # -- starting -----------------------------------------------------------------------

    async def test_a_start_tells_the_buyer_what_to_do(self, method: PaymentMethod, other_side: FakeGateway) -> None:
        attempt = self.attempt(method)
        started = await method.start(attempt)
        assert isinstance(started, Started)
        match started.step:
            case Redirect(url):
                assert url.startswith(("http://", "https://"))
            case PostForm(url):
                assert any(url.startswith(host) for host in method.form_hosts), f"form_hosts does not name {url}"
            case QrCode(text):
                assert text
            case Instructions(text):
                assert text
            case other:
                pytest.fail(f"{other!r} is no step")
        await self._once(other_side, attempt)

    async def test_starting_twice_opens_one_payment(self, method: PaymentMethod, other_side: FakeGateway) -> None:
        attempt, before = self.attempt(method), _in_all(other_side)[0]
        for _ in range(2):
            await method.start(attempt)
        await self._once(other_side, attempt, before)

    async def test_two_attempts_are_two_payments(self, method: PaymentMethod, other_side: FakeGateway) -> None:
        one, two = self.attempt(method), self.attempt(method)
        first, second = await method.start(one), await method.start(two)
        for attempt in (one, two):
            await self._once(other_side, attempt, 1 if other_side.in_all() else 0)
        assert first.gateway_ref is None or first.gateway_ref != second.gateway_ref

    async def test_a_start_without_a_usable_answer_is_not_known(
        self, method: PaymentMethod, machine: Machine, other_side: FakeGateway
    ) -> None:
        async for fault in self.lost_answers(machine, other_side):
            attempt, before = self.attempt(method), _in_all(other_side)[0]
            with fault:
                answer = await self.outcome(method.start(attempt), GatewayUnavailable, machine=machine)
            if fault.was_met:
                assert isinstance(answer, GatewayUnavailable), f"{fault}: it goes on with {answer!r}"
            assert isinstance(await method.start(attempt), Started), f"{fault}: the buyer must be able to try again"
            await self._once(other_side, attempt, before)

    async def test_nobody_at_the_other_side(
        self, method: PaymentMethod, machine: Machine, other_side: FakeGateway
    ) -> None:
        await other_side.down()
        await self.outcome(method.start(self.attempt(method)), GatewayUnavailable, machine=machine)

    # -- what it hears ------------------------------------------------------------------

    async def test_a_true_callback_says_who_paid_what(self, method: PaymentMethod, other_side: FakeGateway) -> None:
        attempt, call = await self._paid(method, other_side)
        if call is None:
            return
        claim = await self.check_callback(method.parse_callback, call)
        self._check_claim(claim, attempt)

    def _check_claim(self, claim: Any, attempt: Attempt) -> None:
        assert isinstance(claim, Claim), f"{claim!r} is no claim"
        said = (claim.attempt_ref, claim.state, claim.amount)
        assert said == (attempt.ref, ClaimState.PAID, attempt.amount)
        assert claim.gateway_ref and claim.event_key

    async def test_an_altered_callback_is_refused(self, method: PaymentMethod, other_side: FakeGateway) -> None:
        _attempt, call = await self._paid(method, other_side)
        if call is not None:
            await self.check_forgeries(method.parse_callback, call, await method.parse_callback(call))

    async def test_a_callback_for_another_merchant_is_refused(
        self, method: PaymentMethod, other_side: FakeGateway
    ) -> None:
        _attempt, call = await self._paid(method, other_side)
        if call is None:
            return
        async with self.in_another_shop(other_side) as stranger:
            await self.check_strangers_key(self.the_one(stranger.runtime.payment_methods).parse_callback, call)

    async def test_garbage_is_refused(self, method: PaymentMethod) -> None:
        await self.check_garbage(method.parse_callback)

    # -- asking -------------------------------------------------------------------------

    async def test_asking_before_it_is_paid_never_says_paid(
        self, method: PaymentMethod, other_side: FakeGateway
    ) -> None:
        if not method.query_after:
            return
        attempt = self.attempt(method)
        assert _state(await method.query(attempt)) is not ClaimState.PAID
        started = await method.start(attempt)
        if not method.from_balance:
            attempt = replace(attempt, gateway_ref=started.gateway_ref)
            assert _state(await method.query(attempt)) is not ClaimState.PAID

    async def test_asking_afterwards_says_the_same_as_the_callback(
        self, method: PaymentMethod, other_side: FakeGateway
    ) -> None:
        if not method.query_after:
            return
        attempt, call = await self._paid(method, other_side)
        claim = await method.query(attempt)
        if not other_side.answers_questions:
            assert claim is None
            return
        self._check_claim(claim, attempt)
        if call is not None:
            heard = await method.parse_callback(call)
            assert isinstance(heard, Claim) and claim is not None
            same = "a callback and a query about one payment must have the same event_key"
            assert claim.event_key == heard.event_key, same

    async def test_an_unusable_answer_to_a_question_says_nothing(
        self, method: PaymentMethod, machine: Machine, other_side: FakeGateway
    ) -> None:
        if not method.query_after:
            return
        async for fault in self.lost_answers(machine, other_side, to_questions=True):
            attempt, _call = await self._paid(method, other_side)
            with fault:
                answer = await self.outcome(method.query(attempt), GatewayUnavailable, machine=machine)
            if fault.was_met:
                assert isinstance(answer, GatewayUnavailable), f"{fault}: it makes {answer!r} of it"

    # -- giving back --------------------------------------------------------------------

    async def _refund(self, method: PaymentMethod, gateway: FakeGateway, amount: Money) -> Refund:
        attempt, call = await self._paid(method, gateway)
        claim = await method.parse_callback(call) if call is not None else None
        if claim is None and method.query_after:
            claim = await method.query(attempt)
        number = claim.gateway_ref if isinstance(claim, Claim) else attempt.gateway_ref or ""
        ref = f"R{attempt.ref}"
        return Refund(ref, attempt.ref, number, attempt.order_ref, amount, attempt.amount, "test")

    @pytest.mark.parametrize("part", [1, 2], ids=["all", "half"])
    async def test_a_refund_gives_back_exactly_its_amount(
        self, method: PaymentMethod, other_side: FakeGateway, part: int
    ) -> None:
        if not method.refunds:
            return
        amount = Money(self.amount.amount // part, self.amount.currency)
        refund = await self._refund(method, other_side, amount)
        answer = await method.refund(refund)
        assert isinstance(answer, RefundAnswer)
        assert answer.state in (RefundState.DONE, RefundState.PENDING)
        sums = other_side.refunds(refund.ref)
        assert sums is None or sums == [amount]

    async def test_a_refund_without_a_usable_answer_is_not_known(
        self, method: PaymentMethod, machine: Machine, other_side: FakeGateway
    ) -> None:
        if not method.refunds:
            return
        async for fault in self.lost_answers(machine, other_side):
            refund = await self._refund(method, other_side, self.amount)
            before = _in_all(other_side)[1]
            with fault:
                answer = await self.outcome(method.refund(refund), GatewayUnavailable, machine=machine)
            if not fault.was_met:
                continue
            pending = isinstance(answer, RefundAnswer) and answer.state is RefundState.PENDING
            assert pending or isinstance(answer, GatewayUnavailable), f"{fault}: nobody knows, but it says {answer!r}"
            sums = other_side.refunds(refund.ref)
            assert sums is None or sums == ([self.amount] if fault.acts else []), f"{fault}: money went back {sums}"
            times = _in_all(other_side)[1] - before
            assert times <= 1, f"{fault}: money of one refund went back {times} times"
            if method.refund_query_after:
                await self._ask_about(method, machine, refund, fault)

    async def _ask_about(self, method: PaymentMethod, machine: Machine, refund: Refund, fault: LostAnswer) -> None:
        found = await self.outcome(method.query_refund(refund), GatewayUnavailable, machine=machine)
        state = found.state if isinstance(found, RefundAnswer) else None
        if fault.acts:
            assert state is not RefundState.FAILED, f"{fault}: money went back, but it says that it did not"
        else:
            assert state is not RefundState.DONE, f"{fault}: no money went back, but it says that it did"

    async def test_a_refund_that_reaches_nobody(
        self, method: PaymentMethod, machine: Machine, other_side: FakeGateway
    ) -> None:
        if not method.refunds:
            return
        refund = await self._refund(method, other_side, self.amount)
        asked = other_side.count()
        await other_side.down()
        answer = await self.outcome(method.refund(refund), NotSent, GatewayUnavailable, machine=machine)
        assert asked == 0 or isinstance(answer, NotSent | GatewayUnavailable)

    async def test_another_merchants_key_is_refused(self, other_side: FakeGateway, pool: None) -> None:
        async with self.in_another_shop(other_side) as stranger:
            method = self.the_one(stranger.runtime.payment_methods)
            attempt = self.attempt(method)
            await self.outcome(method.start(attempt), GatewayUnavailable, GatewayRefused, machine=stranger)
            if stranger.secrets():
                assert not other_side.payments(attempt.ref), "the gateway opened a payment for a wrong key"


def _in_all(gateway: FakeGateway) -> tuple[int, int]:
    return gateway.in_all() or (0, 0)


def _state(claim: Claim | None) -> ClaimState | None:
    return claim.state if claim is not None else None
