from typing import Literal

from core.api import CategorySlug, Money, Plugin, PluginSettings, ProductSlug, SkuCode, setting


class Step(PluginSettings):
    sku: SkuCode | None = setting("Only for", default=None)
    name: str = setting("Step", max_length=10)
    least: Money = setting("From")
    pieces: int = setting("Pieces", default=1, ge=1)
    loud: bool = setting("Loud", default=False)
    mode: Literal["all", "some"] = setting("Mode", default="all")


class Settings(PluginSettings):
    events: tuple[Literal["order.paid", "order.closed"], ...] = setting(
        "Events", default=("order.paid",), choices={"order.paid": "Paid", "order.closed": "Closed"}
    )
    sku: SkuCode | None = setting("One SKU", default=None)
    product: ProductSlug | None = setting("One product", default=None)
    category: CategorySlug | None = setting("One category", default=None)
    skus: tuple[SkuCode, ...] = setting("SKUs", default=())
    steps: tuple[Step, ...] = setting("Steps", default=())


class ManySettings(Plugin):
    Settings = Settings


plugin = ManySettings()
