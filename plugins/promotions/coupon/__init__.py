"""Coupon codes: percent, amount or fixed price, with limits that the database keeps."""

from core.api import Act, Nav, Pages, Plugin, PluginContext, _, hookimpl

from . import console
from .promotion import Coupons


class CouponPlugin(Plugin):
    pages = Pages(
        console=console.ROUTES,
        acts=[
            Act("promotions.coupon.read", _("See coupons and what they bring"), ("manager", "support", "finance")),
            Act("promotions.coupon.edit", _("Make and stop coupons, download their codes"), ("manager",)),
        ],
        recorded={
            "made": _("Made a coupon"),
            "codes_added": _("Made more codes of a coupon"),
            "stopped": _("Stopped a coupon"),
            "resumed": _("Let a coupon run again"),
            "codes_taken": _("Downloaded the codes of a coupon"),
        },
        nav=[Nav(_("Coupons"), "/admin/x/promotions.coupon", "ticket", group="sales", right="promotions.coupon.read")],
    )

    @hookimpl
    def register_promotions(self, ctx: PluginContext[None]) -> list[Coupons]:
        return [Coupons(ctx)]


plugin = CouponPlugin()
