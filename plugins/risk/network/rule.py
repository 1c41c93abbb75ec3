"""What the lists say about an order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.api import Action, Evidence, OrderToCheck, PluginContext, RiskRule, _
from plugins.risk.network.lists import look_up
from plugins.risk.network.settings import Settings

ALLOWED = {
    "contact": _("The contact is on your allow list. %(note)s"),
    "domain": _("The mail domain %(name)s is on your allow list. %(note)s"),
    "network": _("The address is in %(name)s, on your allow list. %(note)s"),
}
BLOCKED = {
    "contact": _("The contact is on your block list. %(note)s"),
    "domain": _("The mail domain %(name)s is on your block list. %(note)s"),
    "network": _("The address is in %(name)s, on your block list. %(note)s"),
}
LISTED = {
    "hosting": _("The address belongs to a hosting network: %(names)s"),
    "proxy": _("The address is a proxy: %(names)s"),
    "bad": _("The address is of bad repute: %(names)s"),
}


class Network(RiskRule):
    key = "network"
    title = {"en": "Networks and block list", "zh-CN": "网络与黑白名单"}  # noqa: RUF012 - as the contract declares it

    def __init__(self, ctx: PluginContext[Settings]) -> None:
        self.ctx = ctx

    async def assess(self, order: OrderToCheck) -> Sequence[Evidence]:
        known = await look_up(self.ctx, order.contact, order.ip)
        own = [_own(row) for row in known if row["found_in"] == "entry"]
        found = own + self._listed([row for row in known if row["found_in"] == "list"])
        return [one.only_noted() for one in found] if self.ctx.settings.only_note else found

    def _listed(self, rows: Sequence[Mapping[str, Any]]) -> list[Evidence]:
        """One evidence for each kind, in however many lists of that kind the address is."""
        found = []
        for kind, words in LISTED.items():
            names = [row["name"] for row in rows if row["kind"] == kind]
            points = getattr(self.ctx.settings, f"{kind}_points")
            if names and points:
                reason = _(words.message, names=", ".join(names))
                found.append(Evidence(points, reason, data={"lists": ", ".join(names)}))
        return found


def _own(row: Mapping[str, Any]) -> Evidence:
    allowed = row["what"] == "allow"
    words = (ALLOWED if allowed else BLOCKED)[row["kind"]]
    reason = _(words.message, name=row["name"], note=row["note"])
    return Evidence(0, reason, Action.ALLOW if allowed else Action.REFUSE, {"entry": row["name"]})
