from pathlib import Path

from core.redemption import console, rest
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="redemption",
    folder=Path(__file__).parent,
    console_routes=console.ROUTES,
    rest_routes=rest.ROUTES,
    nav=[
        Nav(_("Redeem"), "/admin/redeem", "qrcode", group="sales", right="codes.redeem", order=150),
        Nav(_("Own codes"), "/admin/own-codes", "ticket", group="goods", right="stock.read", order=230),
        Nav(_("API keys"), "/admin/api-keys", "key", group="system", right="keys.manage", order=815),
    ],
)
