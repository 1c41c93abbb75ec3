"""The counting itself: in the database, of orders that are really there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from core.api import Action, Evidence, FoundBy, OrderToCheck, PluginContext, RiskRule, _
from plugins.risk.velocity.settings import Settings

ORDERS: dict[FoundBy, Any] = {
    "contact": _("Orders of this contact"),
    "account": _("Orders of this account"),
    "device": _("Orders of this browser"),
    "address": _("Orders from this address"),
    "network": _("Orders from this network"),
}
CONTACTS = _("Different contacts in this browser")
FAILED = _("Failed payments of this browser")


@dataclass(frozen=True, slots=True)
class Limit:
    """``so_far`` gives how many there will be with this order."""

    what: Any
    most: int
    minutes: int
    then: str
    so_far: Callable[[OrderToCheck, timedelta], Awaitable[int]]


class Velocity(RiskRule):
    key = "velocity"
    title = {"en": "Velocity", "zh-CN": "下单频率"}  # noqa: RUF012 - as the contract declares it

    def __init__(self, ctx: PluginContext[Settings]) -> None:
        self.settings = ctx.settings
        self.limits = [limit for limit in _limits(ctx.settings) if limit.then != "off"]

    async def assess(self, order: OrderToCheck) -> Sequence[Evidence]:
        found = await asyncio.gather(*(self._exceeded(limit, order) for limit in self.limits))
        return [evidence for evidence in found if evidence is not None]

    async def _exceeded(self, limit: Limit, order: OrderToCheck) -> Evidence | None:
        count = await limit.so_far(order, timedelta(minutes=limit.minutes))
        if count <= limit.most:
            return None
        reason = _(
            "%(what)s in %(minutes)d minutes: %(count)d, more than %(most)d",
            what=limit.what,
            minutes=limit.minutes,
            count=count,
            most=limit.most,
        )
        data = {"count": count, "most": limit.most, "minutes": limit.minutes}
        score = self.settings.points if limit.then == "score" else 0
        evidence = Evidence(score, reason, Action(limit.then), data)
        return evidence.only_noted() if self.settings.only_note else evidence


def _limits(settings: Settings) -> list[Limit]:
    orders = [
        Limit(
            words,
            getattr(settings, f"{by}_orders"),
            getattr(settings, f"{by}_minutes"),
            getattr(settings, f"{by}_then"),
            _orders_by(by),
        )
        for by, words in ORDERS.items()
    ]
    contacts = Limit(CONTACTS, settings.contacts, settings.contacts_minutes, settings.contacts_then, _contacts)
    failed = Limit(FAILED, settings.failed, settings.failed_minutes, settings.failed_then, _failed)
    return [*orders, contacts, failed]


def _orders_by(by: FoundBy) -> Callable[[OrderToCheck, timedelta], Awaitable[int]]:
    async def so_far(order: OrderToCheck, within: timedelta) -> int:
        if by in ("address", "network") and not order.ip:
            return 0
        before = (await order.history.count(by, within)).orders
        return before + 1

    return so_far


async def _contacts(order: OrderToCheck, within: timedelta) -> int:
    return (await order.history.count("device", within)).contacts


async def _failed(order: OrderToCheck, within: timedelta) -> int:
    return await order.history.failed_payments("device", within)
