"""Too many orders, contacts or failed payments in a short time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.api import Plugin, PluginContext, RiskRule, hookimpl
from plugins.risk.velocity.rule import Velocity
from plugins.risk.velocity.settings import Settings


class VelocityPlugin(Plugin):
    Settings = Settings

    @hookimpl
    def register_risk_rules(self, ctx: PluginContext[Any]) -> Sequence[RiskRule]:
        return [Velocity(ctx)]


plugin = VelocityPlugin()
