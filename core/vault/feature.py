from pathlib import Path

from core.vault import codes_console, console, quality_console
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="vault",
    folder=Path(__file__).parent,
    console_routes=(*console.ROUTES, *codes_console.ROUTES, *quality_console.ROUTES),
    nav=[
        Nav(_("Stock"), "/admin/stock", "packages", group="goods", right="stock.read", order=220),
        Nav(_("Exports"), "/admin/exports", "download", group="goods", right="codes.export", order=240),
    ],
)
