"""福禄开放平台: cards and direct top-ups from Fulu."""

from core.api import CheckResult, Plugin, PluginContext, Supplier, SupplierRefused, SupplierUnavailable, _, hookimpl

from .settings import FuluSettings
from .supplier import CURRENCY, Fulu


class FuluPlugin(Plugin):
    Settings = FuluSettings

    @hookimpl
    def register_suppliers(self, ctx: PluginContext[FuluSettings]) -> list[Supplier]:
        return [Fulu(ctx)]

    async def check(self, settings: FuluSettings, ctx: PluginContext[FuluSettings]) -> CheckResult:
        if settings.platform == "other" and settings.address is None:
            return CheckResult.will_not_work(_("Write down the other address."))
        if ctx.currency != CURRENCY:
            return CheckResult.will_not_work(_("Fulu sells in CNY; this shop sells in %(ours)s.", ours=ctx.currency))
        try:
            account = await Fulu(ctx).account()
        except SupplierRefused as no:
            return CheckResult.credentials_wrong(_("Fulu says: %(words)s", words=no))
        except SupplierUnavailable as error:
            return CheckResult.try_later(_("No usable answer: %(why)s", why=error))
        if not account.get("is_open"):
            return CheckResult.will_not_work(_("Fulu has closed this account."))
        name, left = account.get("name"), account["balance"]
        return CheckResult.ok(_("Fulu knows %(name)s; ¥%(left)s are left.", name=name, left=left))


plugin = FuluPlugin()
