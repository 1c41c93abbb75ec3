from pathlib import Path

from core.checkout import cart_pages, console, gateway_pages, pages, rest
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="checkout",
    folder=Path(__file__).parent,
    buyer_routes=[*pages.routes, *gateway_pages.routes, *cart_pages.routes, rest.call],
    console_routes=console.ROUTES,
    nav=[Nav(_("Orders"), "/admin/orders", "receipt", group="sales", right="orders.read", order=100)],
    slots={"order.pay": pages.pay_panel},
)
