from pathlib import Path

from core.balances import console, pages
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="balances",
    folder=Path(__file__).parent,
    buyer_routes=pages.ROUTES,
    console_routes=console.ROUTES,
    slots={"orders.more": pages.way_in},
    nav=[Nav(_("Balances"), "/admin/balances", "cash", group="sales", right="balance.read", order=124)],
)
