"""易支付 (EPay V1 and V2): one protocol that most Chinese aggregated gateways speak."""

from core.api import CheckResult, GatewayRefused, GatewayUnavailable, Plugin, PluginContext, _, hookimpl

from .gateway import BadKey, Gateway
from .gateway_v2 import GatewayV2, NotTheirs
from .method import CURRENCY, Epay
from .method_v2 import EpayV2
from .settings import EpaySettings


class EpayPlugin(Plugin):
    Settings = EpaySettings

    @hookimpl
    def register_payment_methods(self, ctx: PluginContext[EpaySettings]) -> list[Epay | EpayV2]:
        settings = ctx.settings
        if settings.version == "v2":
            return [EpayV2(settings, GatewayV2(settings, ctx))]
        return [Epay(settings, Gateway(settings, ctx.http))]

    async def check(self, settings: EpaySettings, ctx: PluginContext[EpaySettings]) -> CheckResult:
        if ctx.currency != CURRENCY:
            return CheckResult.will_not_work(_("EPay takes CNY only; this shop sells in %(ours)s.", ours=ctx.currency))
        gateway = GatewayV2(settings, ctx) if settings.version == "v2" else Gateway(settings, ctx.http)
        try:
            merchant = await gateway.merchant()
        except BadKey as error:
            return CheckResult.credentials_wrong(_("The gateway says: %(words)s", words=error))
        except NotTheirs:
            return CheckResult.credentials_wrong(_("The gateway signs with another key than this platform public key."))
        except GatewayUnavailable as error:
            return CheckResult.try_later(_("No usable answer: %(why)s", why=error))
        except GatewayRefused as error:
            return CheckResult.will_not_work(_("The gateway says: %(words)s", words=error))
        if str(merchant.get("active")) == "0":
            return CheckResult.will_not_work(_("The gateway has closed this merchant account."))
        return CheckResult.ok(_("The gateway knows merchant %(pid)s.", pid=settings.pid))


plugin = EpayPlugin()
