"""Stripe Checkout: cards and many other ways to pay, on Stripe's own page."""

from core.api import CheckResult, GatewayRefused, GatewayUnavailable, Plugin, PluginContext, _, hookimpl

from .gateway import BadKey, Gateway
from .method import Stripe
from .settings import StripeSettings


class StripePlugin(Plugin):
    Settings = StripeSettings

    @hookimpl
    def register_payment_methods(self, ctx: PluginContext[StripeSettings]) -> list[Stripe]:
        return [Stripe(ctx.settings, ctx)]

    async def check(self, settings: StripeSettings, ctx: PluginContext[StripeSettings]) -> CheckResult:
        try:
            balance = await Gateway(settings, ctx.http).get("balance")
        except BadKey as error:
            return CheckResult.credentials_wrong(_("Stripe says: %(words)s", words=error))
        except GatewayRefused as error:
            return CheckResult.will_not_work(_("Stripe says: %(words)s", words=error))
        except GatewayUnavailable as error:
            return CheckResult.try_later(_("No usable answer: %(why)s", why=error))
        if balance.get("livemode") is settings.is_test:
            return CheckResult.credentials_wrong(_("The key is of the other mode, live or test."))
        if settings.is_test:
            return CheckResult.ok(_("The test key works. Its payments are tests, and need the shop's test mode."))
        return CheckResult.ok(_("The live key works. The webhook secret shows itself with the first payment."))


plugin = StripePlugin()
