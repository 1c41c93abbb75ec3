from pathlib import Path

from core.shops import console
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="shops",
    folder=Path(__file__).parent,
    console_routes=console.ROUTES,
    nav=[Nav(_("Settings"), "/admin/settings", "settings", group="system", right="settings.read", order=800)],
)
