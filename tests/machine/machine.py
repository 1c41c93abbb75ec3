"""A machine that does to a shop whatever buyers, gateways, staff and time can do, in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.payments.method import ClaimState
from tests.machine.base import PRICE, Order
from tests.machine.vouchers import FACE_VALUE
from tests.machine.world import Shop, World

which = st.sampled_from((0, 0, 1, 1, 2))
"""Of three SKUs: plain, copy-and-burn, and the other shop's."""
number = st.integers(0, 40)
some = st.sampled_from((1, 1, 1, 2, 3))
ways = st.sampled_from(("hand", "balance"))
with_orders = precondition(lambda self: self.world and self.world.orders)
with_own = precondition(lambda self: self.world and self.world.own)
CLICKS = (("approve",), ("refuse",), ("approve", "approve"), ("approve", "refuse"))


class ShopMachine(RuleBasedStateMachine):
    runner: asyncio.Runner
    shop: Shop
    world: World | None = None
    damage: ClassVar[list[str]]
    """What was found, kept apart: a race need not end alike when hypothesis runs the same example again."""

    def do(self, act: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(act)

    def order(self, number: int) -> Order:
        """Mostly a recent one: that is where things still happen."""
        assert self.world is not None
        return self.world.orders[-1 - number % len(self.world.orders)]

    def paid(self, number: int) -> Order:
        """One that money came for, if there is one."""
        assert self.world is not None
        told = {claim.attempt_ref for claim in self.world.told.values()}
        paid = [order for order in self.world.orders if order.placed.attempt_ref in told]
        return paid[-1 - number % len(paid)] if paid else self.order(number)

    def held(self, number: int) -> Order:
        """One that risk rules held, if there is one."""
        assert self.world is not None
        held = [order for order in self.world.orders if order.held]
        return held[-1 - number % len(held)] if held else self.order(number)

    @initialize(
        more=st.sampled_from((0, 0, -990, 510)),
        extra=st.booleans(),
        also=st.sampled_from(("", "", "", "", "held", "single", "card", "discounted")),
    )
    def open(self, more, extra, also):
        """Never from nothing: one order is paid somehow, one waits, and all SKUs have a few codes."""
        self.world = self.do(self.shop.world())
        self.do(self.world.place(0, 2))
        self.do(self.world.pay(self.order(0), 2 * PRICE + more, "CNY", 1))
        if extra:
            self.do(self.world.pay(self.order(0), 2 * PRICE, "CNY", 1))
        self.do(self.world.place(1, 1))
        if also == "held":
            self.do(self.world.hold(0, pay=True))
        if also == "discounted":
            self.do(self.world.discounted(0, 1))
        if also in ("single", "card"):
            self.do(self.world.sell_own(FACE_VALUE if also == "card" else None, pay=True))

    # -- buyers -------------------------------------------------------------------------

    @rule(which=which, count=st.integers(1, 3))
    def bring_in(self, which, count):
        self.do(self.world.bring_in(which, count))

    @rule(which=which, quantity=some)
    def place(self, which, quantity):
        self.do(self.world.place(which, quantity))

    @with_orders
    @rule(number=number)
    def place_again(self, number):
        self.do(self.world.place_again(self.order(number)))

    @rule(which=which, buyers=st.integers(2, 6))
    def crowd(self, which, buyers):
        self.do(self.world.crowd(which, buyers))

    @rule(which=which)
    def greedy(self, which):
        self.do(self.world.greedy(which))

    @with_orders
    @rule(number=number, by_owner=st.booleans())
    def reveal(self, number, by_owner):
        self.do(self.world.reveal(self.paid(number), by_owner=by_owner))

    @with_orders
    @rule(number=number)
    def burn(self, number):
        self.do(self.world.burn(self.paid(number)))

    @with_orders
    @rule(number=number)
    def cancel(self, number):
        self.do(self.world.cancel(self.order(number)))

    @rule(which=which, buyers=st.integers(1, 4))
    def discounted(self, which, buyers):
        self.do(self.world.discounted(which, buyers))

    # -- own codes ----------------------------------------------------------------------

    @rule(face_value=st.sampled_from((None, FACE_VALUE)), pay=st.sampled_from((True, True, True, False)))
    def sell_own(self, face_value, pay):
        self.do(self.world.sell_own(face_value, pay))

    @with_own
    @rule(number=number, tills=st.integers(1, 4), one_request=st.booleans())
    def redeem(self, number, tills, one_request):
        self.do(self.world.redeem(self.world.code_of_ours(number), tills, one_request=one_request))

    @with_own
    @rule(number=number)
    def void(self, number):
        self.do(self.world.void(self.world.code_of_ours(number)))

    @with_own
    @rule(number=number)
    def replace_own(self, number):
        self.do(self.world.replace_own(self.world.code_of_ours(number)))

    # -- balances -----------------------------------------------------------------------

    @with_orders
    @rule(number=number, amount=st.sampled_from((1, PRICE, 2 * PRICE, -1, -PRICE)), clicks=some)
    def put_in(self, number, amount, clicks):
        self.do(self.world.put_in(self.order(number), amount, clicks))

    @with_orders
    @rule(number=number, top_up=st.sampled_from((0, PRICE - 1, PRICE, 3 * PRICE)), windows=st.integers(1, 3))
    def pay_from_balance(self, number, top_up, windows):
        self.do(self.world.pay_from_balance(self.order(number), top_up, windows))

    @rule(which=which, enough=st.integers(1, 2))
    def spend_at_once(self, which, enough):
        self.do(self.world.spend_at_once(which, enough))

    # -- gateways -----------------------------------------------------------------------

    @with_orders
    @rule(number=number, more=st.sampled_from((0, 0, 0, 0, -990, 510)), times=some)
    def pay(self, number, more, times):
        order = self.order(number)
        self.do(self.world.pay(order, order.total + more, "CNY", times))

    @with_orders
    @rule(number=number)
    def pay_in_another_currency(self, number):
        order = self.order(number)
        self.do(self.world.pay(order, order.total, "USD", 1))

    @precondition(lambda self: self.world and self.world.told)
    @rule(number=number, more=st.sampled_from((0, 0, 100)))
    def tell_again(self, number, more):
        claims = list(self.world.told.values())
        claim = claims[number % len(claims)]
        self.do(self.world.tell_again(claim, claim.amount.amount + more))

    @with_orders
    @rule(number=number, state=st.sampled_from((ClaimState.PENDING, ClaimState.FAILED, ClaimState.EXPIRED)))
    def note(self, number, state):
        self.do(self.world.note(self.order(number), state))

    @rule()
    def stranger(self):
        self.do(self.world.stranger())

    @with_orders
    @rule(number=number)
    def charge_back(self, number):
        self.do(self.world.charge_back(self.paid(number)))

    # -- time and workers ---------------------------------------------------------------

    @with_orders
    @rule(number=number)
    def expire(self, number):
        self.do(self.world.expire(self.order(number)))

    @with_orders
    @rule(number=number)
    def all_at_once(self, number):
        self.do(self.world.all_at_once(self.order(number)))

    @rule()
    def burn_due(self):
        self.do(self.world.burn_due())

    @rule(which=which, buyers=st.integers(1, 3))
    def rotate_keys(self, which, buyers):
        self.do(self.world.rotate_keys(which, buyers))

    # -- staff --------------------------------------------------------------------------

    @with_orders
    @rule(number=number)
    def confirm(self, number):
        self.do(self.world.confirm(self.order(number)))

    @with_orders
    @rule(number=number)
    def cancel_by_staff(self, number):
        self.do(self.world.cancel_by_staff(self.order(number)))

    @with_orders
    @rule(number=number)
    def deliver(self, number):
        self.do(self.world.deliver(self.order(number)))

    @with_orders
    @rule(
        number=number,
        part=st.sampled_from((0.3, 0.6, 1.0)),
        way=ways,
        take_codes=st.booleans(),
        times=st.integers(1, 3),
    )
    def refund(self, number, part, way, take_codes, times):
        self.do(self.world.refund(self.paid(number), part, way, take_codes, times))

    @with_orders
    @rule(number=number, how=st.sampled_from(("deliver", "give back", "keep", "seen")), way=ways)
    def decide(self, number, how, way):
        self.do(self.world.decide(number, how, way))

    @with_orders
    @rule(number=number)
    def replace(self, number):
        self.do(self.world.replace(self.paid(number)))

    @with_orders
    @rule(number=number, end=st.sampled_from(("good", "bad", "open")))
    def set_aside(self, number, end):
        self.do(self.world.set_aside(self.order(number), end))

    @rule(which=which, pay=st.sampled_from((True, True, False)))
    def hold(self, which, pay):
        self.do(self.world.hold(which, pay))

    @with_orders
    @rule(number=number, clicks=st.sampled_from(CLICKS), way=ways)
    def decide_held(self, number, clicks, way):
        self.do(self.world.decide_held(self.held(number), clicks, way))

    @with_orders
    @rule(number=number)
    def trespass(self, number):
        self.do(self.world.trespass(self.order(number)))

    # -- what must hold -----------------------------------------------------------------

    @invariant()
    def everything_holds(self):
        if self.world:
            try:
                self.do(self.world.check())
            except AssertionError as error:
                self.damage.append(str(error))
                raise

    def teardown(self):
        if self.world:
            self.do(self.world.check_at_rest())
