"""支付宝 (Alipay) by its own open platform."""

from core.api import CheckResult, GatewayUnavailable, HttpError, Plugin, PluginContext, _, hookimpl

from .gateway import PERMISSION, Gateway, NotTheirs, Refused
from .method import CURRENCY, UNKNOWN_TRADE, Alipay
from .settings import AlipaySettings


class AlipayPlugin(Plugin):
    Settings = AlipaySettings

    @hookimpl
    def register_payment_methods(self, ctx: PluginContext[AlipaySettings]) -> list[Alipay]:
        return [Alipay(ctx.settings, ctx)]

    async def check(self, settings: AlipaySettings, ctx: PluginContext[AlipaySettings]) -> CheckResult:
        if ctx.currency != CURRENCY:
            words = _("Alipay takes CNY only; this shop sells in %(ours)s.", ours=ctx.currency)
            return CheckResult.will_not_work(words)
        try:
            # Nothing has this number: the right answer is a signed no.
            await Gateway(settings, ctx).call("alipay.trade.query", {"out_trade_no": "vouchsafe_test"})
        except Refused as refused:
            return _said(refused)
        except NotTheirs:
            return CheckResult.credentials_wrong(_("Alipay signs with another key than the one entered here."))
        except (GatewayUnavailable, HttpError) as error:
            return CheckResult.try_later(_("No usable answer: %(why)s", why=error))
        return CheckResult.ok()


def _said(refused: Refused) -> CheckResult:
    if refused.sub_code == UNKNOWN_TRADE:
        return CheckResult.ok(_("Alipay knows the application, and the keys fit."))
    words = _("Alipay says: %(words)s", words=refused)
    if refused.code == PERMISSION:
        return CheckResult.will_not_work(words)
    return CheckResult.credentials_wrong(words) if refused.is_certain else CheckResult.try_later(words)


plugin = AlipayPlugin()
