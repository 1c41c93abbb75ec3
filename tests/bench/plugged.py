"""`purchase_plugins`: the time of a purchase in a shop with many plugins against the same shop without them, in turns.

Ten risk rules (each looks at the order, two of them find something), five promotions (one takes a tenth off) and
twenty plugins that hear of every paid order, each a plugin of its own in the merchant's folder.
"""

import statistics
from pathlib import Path
from typing import Any

import uvloop

from tests.bench import driver
from tests.bench.shops import Ours

MANIFEST = """
id = "{kind}.{name}"
kind = "{kind}"
version = "1.0.0"
api = 1
core = ">=0.1"
default_enabled = true
[title]
en = "{name}"
[summary]
en = "{name}"
"""
RULE = """
from core.api import Evidence, Plugin, RiskRule, hookimpl

class Rule(RiskRule):
    key = "{name}"
    title = {{"en": "{name}"}}
    async def assess(self, order):
        found = order.total.amount > 0 and order.contact.endswith("{ending}")
        return [Evidence(1, "it ends so")] if found else []

class Rules(Plugin):
    @hookimpl
    def register_risk_rules(self, ctx):
        return [Rule()]

plugin = Rules()
"""
PROMOTION = """
from core.api import Adjustment, Money, Plugin, Promotion, hookimpl

class Offer(Promotion):
    key = "{name}"
    title = {{"en": "{name}"}}
    async def adjust(self, basket):
        if basket.total.amount < {least}:
            return []
        return [Adjustment("{name}", self.title, Money(-basket.total.amount // 10, basket.total.currency))]

class Offers(Plugin):
    @hookimpl
    def register_promotions(self, ctx):
        return [Offer()]

plugin = Offers()
"""
LISTENER = """
from core.api import Plugin, hookimpl

class Listener(Plugin):
    @hookimpl
    async def order_paid(self, ctx, order):
        pass

plugin = Listener()
"""


class Plugged(Ours):
    """Our shop with plugins in its folder; they are on from the first start."""

    def open(self) -> None:
        for number in range(10):
            self._add("risk", f"rule{number}", RULE, ending=".com" if number < 2 else ".nowhere")
        for number in range(5):
            self._add("promotions", f"offer{number}", PROMOTION, least=1 if number == 0 else 10**9)
        for number in range(20):
            self._add("apps", f"listener{number}", LISTENER)
        super().open()
        self.till.money = "17.91"  # less a tenth

    def _add(self, kind: str, name: str, text: str, **facts: Any) -> None:
        folder = Path(self.home) / "plugins" / kind / name
        folder.mkdir(parents=True)
        (folder / "plugin.toml").write_text(MANIFEST.format(kind=kind, name=name))
        (folder / "__init__.py").write_text(text.format(name=name, **facts))


def main(rounds: int, purchases: int, warm_up: int) -> dict[str, Any]:
    """Medians of the rounds: ``ours`` is with plugins, ``floor`` without."""
    codes = driver.make_codes(warm_up + rounds * purchases)
    shops: list[Ours] = [Ours(1, codes), Plugged(1, codes)]
    try:
        for shop in shops:
            shop.open()
        plain, plugged = uvloop.run(_measure(shops, rounds, purchases, warm_up))
    finally:
        for shop in shops:
            shop.remove()
    without, with_them = (statistics.median(times) for times in (plain, plugged))
    return {
        "ours": round(with_them, 2),
        "floor": round(without, 2),
        "ratio": round(with_them / without, 3),
        "unit": "ms",
    }


async def _measure(shops: list[Ours], rounds: int, purchases: int, warm_up: int) -> list[list[float]]:
    for shop in shops:
        await driver.crowd(shop.till, 1, warm_up)
    times: list[list[float]] = [[] for _ in shops]
    for number in range(rounds):
        for at, shop in list(enumerate(shops))[:: 1 if number % 2 else -1]:
            await shop.tree.quiet()
            load = await driver.crowd(shop.till, 1, purchases)
            times[at].append(1000 * load.quantile("whole", 0.5))
    return times
