"""Many orders of one low value in a short time, whoever places them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

from core.api import (
    Action,
    Evidence,
    Money,
    OrderToCheck,
    Plugin,
    PluginContext,
    PluginSettings,
    RiskRule,
    _,
    hookimpl,
    setting,
)


class Settings(PluginSettings):
    only_note: bool = setting(
        _("Only note"),
        help=_("Write down what it finds, without any effect. Watch it so for some days before it bites."),
        default=False,
    )
    low_value: Money = setting(
        _("Low value"), help=_("Only goods that cost so much or less in the catalogue are counted.")
    )
    orders: int = setting(_("Orders of one such value"), unit=_("orders"), default=20, ge=2, le=499)
    minutes: int = setting(_("in so many minutes"), default=10, ge=1, le=1440)
    contacts: int = setting(
        _("by so many different contacts"),
        help=_("One buyer alone is the business of the velocity rule."),
        default=5,
        ge=1,
        le=499,
    )
    then: Literal["score", "review", "refuse"] = setting(
        _("one more, then"),
        default="review",
        choices={
            "score": _("Add points"),
            "review": _("A person decides"),
            "refuse": _("Refuse the order"),
        },
    )
    points: int = setting(_("Points"), help=_("Where it adds points."), default=30, ge=1, le=100)
    left_out: tuple[str, ...] = setting(
        _("SKUs that are left out"), help=_("What may sell fast, such as goods on offer."), default=()
    )


class Burst(RiskRule):
    key = "burst"
    title = {"en": "Burst of small orders", "zh-CN": "小额集中下单"}  # noqa: RUF012 - as the contract declares it

    def __init__(self, ctx: PluginContext[Settings]) -> None:
        self.settings = ctx.settings

    async def assess(self, order: OrderToCheck) -> Sequence[Evidence]:
        found = [await self._burst_of(value, order) for value in self._low_values(order)]
        return [evidence for evidence in found if evidence is not None]

    def _low_values(self, order: OrderToCheck) -> list[Money]:
        low = self.settings.low_value
        values = {line.face_value.amount for line in order.lines if line.sku_code not in self.settings.left_out}
        if order.total.currency != low.currency:
            return []
        return [Money(value, low.currency) for value in sorted(values) if 0 < value <= low.amount]

    async def _burst_of(self, value: Money, order: OrderToCheck) -> Evidence | None:
        wanted = self.settings
        counted = await order.history.of_value(value, timedelta(minutes=wanted.minutes))
        if counted.orders < wanted.orders or counted.contacts < wanted.contacts:
            return None
        reason = _(
            "%(orders)d orders at %(value)s in %(minutes)d minutes by %(contacts)d contacts",
            orders=counted.orders,
            value=f"{value.plain()} {value.currency}",
            minutes=wanted.minutes,
            contacts=counted.contacts,
        )
        data = {"orders": counted.orders, "contacts": counted.contacts, "value": value.amount}
        score = wanted.points if wanted.then == "score" else 0
        evidence = Evidence(score, reason, Action(wanted.then), data)
        return evidence.only_noted() if wanted.only_note else evidence


class BurstPlugin(Plugin):
    Settings = Settings

    @hookimpl
    def register_risk_rules(self, ctx: PluginContext[Any]) -> Sequence[RiskRule]:
        return [Burst(ctx)]


plugin = BurstPlugin()
