"""Both ends of the interface of Dujiao-Next (独角数卡 Next): buying from such a shop, and being one for others."""

from core.api import (
    CheckResult,
    HttpError,
    Plugin,
    PluginContext,
    SupplierRefused,
    SupplierUnavailable,
    _,
    hookimpl,
)

from .selling import Counter
from .settings import BridgeSettings
from .upstream import Upstream


class DujiaoNext(Plugin):
    Settings = BridgeSettings

    @hookimpl
    def register_suppliers(self, ctx: PluginContext[BridgeSettings]) -> list[Upstream]:
        return [Upstream(ctx)] if ctx.settings.address else []

    @hookimpl
    def register_channels(self, ctx: PluginContext[BridgeSettings]) -> list[Counter]:
        return [Counter(ctx)] if ctx.settings.selling else []

    async def check(self, settings: BridgeSettings, ctx: PluginContext[BridgeSettings]) -> CheckResult:
        if not settings.address:
            return CheckResult.ok(_("No shop to buy from is set: this shop only sells."))
        try:
            name, balance = await Upstream(ctx).ping()
        except SupplierRefused as refused:
            return CheckResult.credentials_wrong(str(refused))
        except (HttpError, SupplierUnavailable) as error:
            return CheckResult.try_later(str(error))
        return CheckResult.ok(_("%(shop)s answers. Your balance there is %(sum)s.", shop=name, sum=balance.text()))


plugin = DujiaoNext()
