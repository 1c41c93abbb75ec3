from pathlib import Path

from core.hooks import console
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="hooks",
    folder=Path(__file__).parent,
    console_routes=console.ROUTES,
    nav=[Nav(_("Plugins"), "/admin/plugins", "puzzle", group="system", right="plugins.read", order=810)],
)
