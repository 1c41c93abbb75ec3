"""易支付 (EPay V1): one protocol that most Chinese aggregated gateways speak."""

from core.api import CheckResult, GatewayRefused, GatewayUnavailable, Plugin, PluginContext, _, hookimpl

from .gateway import BadKey, Gateway
from .method import CURRENCY, Epay
from .settings import EpaySettings


class EpayPlugin(Plugin):
    Settings = EpaySettings

    @hookimpl
    def register_payment_methods(self, ctx: PluginContext[EpaySettings]) -> list[Epay]:
        return [Epay(ctx.settings, ctx.http)]

    async def check(self, settings: EpaySettings, ctx: PluginContext[EpaySettings]) -> CheckResult:
        if ctx.currency != CURRENCY:
            return CheckResult.will_not_work(_("EPay takes CNY only; this shop sells in %(ours)s.", ours=ctx.currency))
        try:
            merchant = await Gateway(settings, ctx.http).merchant()
        except BadKey as error:
            return CheckResult.credentials_wrong(_("The gateway says: %(words)s", words=error))
        except GatewayUnavailable as error:
            return CheckResult.try_later(_("No usable answer: %(why)s", why=error))
        except GatewayRefused as error:
            return CheckResult.will_not_work(_("The gateway says: %(words)s", words=error))
        if str(merchant.get("active")) == "0":
            return CheckResult.will_not_work(_("The gateway has closed this merchant account."))
        return CheckResult.ok(_("The gateway knows merchant %(pid)s.", pid=settings.pid))


plugin = EpayPlugin()
