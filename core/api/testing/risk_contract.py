"""What every risk plugin must keep: its rules and its guards look at an order and say what they find."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from core.api import (
    Action,
    Evidence,
    LineToCheck,
    Money,
    OrderToCheck,
    Refusal,
    RiskRule,
)
from core.api.testing.contract import Contract
from core.api.testing.machine import Machine
from core.hooks.views import Counted, OrderHistory

SECONDS = 2.0
NOTHING_HAPPENED = Counted(0, 0, Money(0, "CNY"), 0)


@dataclass(frozen=True)
class History(OrderHistory):
    """What a buyer did before, as a test wants it; ``counted`` and ``failed`` are by ``contact``, ``device``, …"""

    contact_orders: int = 0
    address_orders: int = 0
    counted: Mapping[str, Counted] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    of_this_value: Counted = NOTHING_HAPPENED
    signed_in_as: str = ""
    first: bool = True

    async def by_contact(self, since: datetime) -> int:
        return self.contact_orders

    async def by_address(self, since: datetime) -> int:
        return self.address_orders

    async def count(self, by: str, within: timedelta) -> Counted:
        return self.counted.get(by, NOTHING_HAPPENED)

    async def failed_payments(self, by: str, within: timedelta) -> int:
        return self.failed.get(by, 0)

    async def of_value(self, face_value: Money, within: timedelta) -> Counted:
        return self.of_this_value

    async def account(self) -> str:
        return self.signed_in_as

    async def is_first(self) -> bool:
        return self.first


def an_order(**changes: Any) -> OrderToCheck:
    """An order as most are: one thing for ¥19.90, by a buyer who is new here."""
    price = Money(1990, "CNY")
    facts: dict[str, Any] = {
        "contact": "buyer@example.com",
        "contact_kind": "email",
        "ip": "203.0.113.7",
        "agent": "Mozilla/5.0",
        "locale": "zh-CN",
        "total": price,
        "lines": (LineToCheck("SKU-1", "A month", 1, price, price, price),),
        "answers": {},
        "history": History(),
        "network": "203.0.113.0/24",
        "device": "d" * 32,
    }
    return OrderToCheck(**{**facts, **changes})


STRANGE = (
    an_order(ip="", network="", device="", agent=""),
    an_order(ip="2001:db8::7", network="2001:db8::/64"),
    an_order(contact="8613800000000", contact_kind="phone"),
    an_order(contact="测试@例子.中国", answers={"uid": "'; DROP TABLE --", "区": "一区"}),
    an_order(total=Money(0, "CNY")),
    an_order(total=Money(100, "JPY"), lines=(LineToCheck("X", "x", 100, *(Money(1, "JPY"),) * 3),) * 50),
    an_order(locale="xx", agent="\x00" * 10),
)


@dataclass(frozen=True)
class Finding:
    """What all of a plugin says of one order."""

    evidence: tuple[Evidence, ...]
    refusal: Refusal | None

    @property
    def is_clean(self) -> bool:
        return self.refusal is None and all(one.score == 0 and one.action is Action.SCORE for one in self.evidence)


class RiskRuleContract(Contract):
    """Derive, set ``plugin``, and write :meth:`suspicious`; :meth:`harmless` where the order of most is not."""

    seconds: ClassVar[float] = SECONDS

    def harmless(self) -> Sequence[OrderToCheck]:
        """Orders in which it must find nothing."""
        return (an_order(),)

    def suspicious(self) -> Sequence[OrderToCheck]:
        """Orders in which it must find something."""
        raise NotImplementedError

    async def prepare(self, machine: Machine) -> None:
        """What must stand in the database before it is asked."""

    async def finding(self, machine: Machine, order: OrderToCheck) -> Finding:
        """Ask every rule and every guard, each within its time."""
        rules: Sequence[RiskRule] = list(machine.runtime.risk_rules.values())
        async with asyncio.timeout(self.seconds):
            found = await asyncio.gather(*(rule.assess(order) for rule in rules))
        try:
            await machine.runtime.ask("check_order", order=order)
        except Refusal as refusal:
            counted = machine.loaded.failures.get("check_order")
            assert counted is None, f"the guard broke: {counted.last}" if counted else ""
            return Finding(tuple(one for part in found for one in part), refusal)
        return Finding(tuple(one for part in found for one in part), None)

    async def test_its_rules_have_names(self, machine: Machine) -> None:
        for key, rule in machine.runtime.risk_rules.items():
            assert isinstance(rule, RiskRule) and rule.title.get("en"), f"{key} needs a title for en"

    async def test_it_finds_nothing_in_harmless_orders(self, machine: Machine) -> None:
        await self.prepare(machine)
        for order in self.harmless():
            found = await self.finding(machine, order)
            assert found.is_clean, f"it finds {found} in {order}"

    async def test_it_finds_what_it_is_for(self, machine: Machine) -> None:
        await self.prepare(machine)
        for order in self.suspicious():
            found = await self.finding(machine, order)
            assert found.evidence or found.refusal, f"it finds nothing in {order}"
            self._check(found, order)

    def _check(self, found: Finding, order: OrderToCheck) -> None:
        for one in found.evidence:
            assert isinstance(one, Evidence) and 0 <= one.score <= 100, f"{one}: a score is from 0 to 100"
            assert str(one.reason).strip(), "staff must be able to read why"
            assert all(isinstance(value, str | int) for value in one.data.values())
        if found.refusal is not None:
            assert str(found.refusal).strip(), "the buyer must be able to read what to do"

    async def test_the_same_order_is_judged_the_same_again(self, machine: Machine) -> None:
        await self.prepare(machine)
        for order in self.suspicious():
            one, two = await self.finding(machine, order), await self.finding(machine, order)
            assert [(e.score, e.action, str(e.reason)) for e in one.evidence] == [
                (e.score, e.action, str(e.reason)) for e in two.evidence
            ]
            assert (one.refusal is None) == (two.refusal is None)

    async def test_strange_orders_do_not_break_it(self, machine: Machine) -> None:
        await self.prepare(machine)
        for order in STRANGE:
            self._check(await self.finding(machine, order), order)

    async def test_orders_judged_side_by_side_do_not_mix(self, machine: Machine) -> None:
        await self.prepare(machine)
        orders = [*self.harmless(), *self.suspicious()] * 3
        together = await asyncio.gather(*(self.finding(machine, replace(order)) for order in orders))
        alone = [await self.finding(machine, order) for order in orders]
        assert [one.is_clean for one in together] == [one.is_clean for one in alone]
