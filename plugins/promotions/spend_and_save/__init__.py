"""满减: the more is bought, the more is taken off."""

from collections.abc import Sequence

from core.api import Adjustment, Basket, Money, Plugin, PluginContext, Promotion, hookimpl

from .settings import SpendAndSaveSettings, Tier

TITLE = {"en": "Spend and save", "zh-CN": "满减"}


class SpendAndSave(Promotion):
    key = "spend_and_save"
    title = TITLE

    def __init__(self, settings: SpendAndSaveSettings) -> None:
        self.settings = settings

    async def adjust(self, basket: Basket) -> Sequence[Adjustment]:
        settings = self.settings
        if not settings.runs_at(basket.at):
            return ()
        total = settings.scope.total(basket)
        reached = [
            tier
            for tier in settings.tiers
            if tier.least.currency == total.currency and tier.least.amount <= total.amount
        ]
        if not reached:
            return ()
        tier = max(reached, key=lambda tier: tier.least.amount)
        return [
            Adjustment(
                key=f"from:{tier.least.amount}",
                title=_title(tier),
                amount=Money(-tier.off.amount, total.currency),
                alone=not settings.stacks,
                data={"least": tier.least.amount},
            )
        ]


def _title(tier: Tier) -> dict[str, str]:
    return {
        "en": f"{tier.off.text('en')} off from {tier.least.text('en')}",
        "zh-CN": f"满 {tier.least.text('zh-CN')} 减 {tier.off.text('zh-CN')}",
    }


class SpendAndSavePlugin(Plugin):
    Settings = SpendAndSaveSettings

    @hookimpl
    def register_promotions(self, ctx: PluginContext[SpendAndSaveSettings]) -> list[SpendAndSave]:
        return [SpendAndSave(ctx.settings)]


plugin = SpendAndSavePlugin()
