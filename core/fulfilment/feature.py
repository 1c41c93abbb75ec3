from pathlib import Path

from core.fulfilment import console, pages
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="fulfilment",
    folder=Path(__file__).parent,
    buyer_routes=pages.ROUTES,
    console_routes=console.ROUTES,
    nav=[Nav(_("Purchases"), "/admin/purchases", "truck-delivery", group="goods", right="purchases.read", order=145)],
    slots={"order.codes": pages.report_form},
)
