from pathlib import Path

from core.supply import console
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="supply",
    folder=Path(__file__).parent,
    console_routes=console.ROUTES,
    nav=[Nav(_("Suppliers"), "/admin/supply", "packages", group="goods", right="supply.read", order=140)],
)
