"""Too many orders in an hour, by one contact or from one network address, are refused."""

from datetime import timedelta
from ipaddress import ip_address

from core.api import OrderToCheck, Plugin, PluginContext, PluginSettings, Refusal, _, hookimpl, setting

WINDOW = timedelta(hours=1)


class CapsSettings(PluginSettings):
    per_contact: int = setting(
        _("Orders of one buyer in an hour"),
        help=_("Counted by e-mail address or phone number."),
        unit=_("orders"),
        default=10,
        ge=1,
        le=10_000,
    )
    per_address: int = setting(
        _("Orders from one network address in an hour"),
        help=_("Set it higher: a school or a phone company may share one address."),
        unit=_("orders"),
        default=60,
        ge=1,
        le=10_000,
    )


class Caps(Plugin):
    Settings = CapsSettings

    @hookimpl
    async def check_order(self, ctx: PluginContext[CapsSettings], order: OrderToCheck) -> None:
        since = ctx.clock.now() - WINDOW
        if await order.history.by_contact(since) >= ctx.settings.per_contact:
            raise _refusal()
        if not _tells_buyers_apart(order.ip):
            return
        if await order.history.by_address(since) >= ctx.settings.per_address:
            raise _refusal()


def _refusal() -> Refusal:
    return Refusal(_("There were too many orders in a short time. Please try again in an hour, or ask the shop."))


def _tells_buyers_apart(ip: str) -> bool:
    """Behind a proxy that the shop was not told of, every buyer comes from loopback."""
    return bool(ip) and not ip_address(ip).is_loopback


plugin = Caps()
