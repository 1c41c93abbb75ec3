"""Block and allow lists, hosting networks and proxies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.api import (
    Act,
    Fragment,
    Nav,
    OrderShown,
    Pages,
    Plugin,
    PluginContext,
    PluginJob,
    RiskRule,
    Visit,
    _,
    hookimpl,
)
from plugins.risk.network import console, lists
from plugins.risk.network.rule import Network
from plugins.risk.network.settings import Settings


def _block_or_trust(ctx: PluginContext[Any], visit: Visit, order: OrderShown) -> Fragment | None:
    if not visit.session.may("risk.network.edit"):
        return None
    return Fragment("risk.network/_block_or_trust.html", {"order": order, "here": console.HERE})


class NetworkPlugin(Plugin):
    Settings = Settings
    pages = Pages(
        console=console.ROUTES,
        acts=[
            Act("risk.network.read", _("See the block list"), ("manager", "support"), whole_server=True),
            Act("risk.network.edit", _("Block and allow buyers"), ("manager", "support"), whole_server=True),
        ],
        recorded={
            "blocked": _("Blocked somebody"),
            "allowed": _("Trusted somebody"),
            "removed": _("Took an entry off the block list"),
            "list_added": _("Added a list of networks"),
            "list_removed": _("Removed a list of networks"),
            "list_fetched": _("Had a list of networks fetched"),
        },
        slots={"admin.order.action": _block_or_trust},
        nav=[Nav(_("Block list"), console.HERE, "ban", group="sales", right="risk.network.read", order=115)],
    )
    jobs = (
        PluginJob("fetch", lists.fetch),
        PluginJob("refresh", lists.refresh, every=600),
    )

    @hookimpl
    def register_risk_rules(self, ctx: PluginContext[Any]) -> Sequence[RiskRule]:
        return [Network(ctx)]


plugin = NetworkPlugin()
