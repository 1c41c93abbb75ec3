from pathlib import Path

from core.partners import console
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="partners",
    folder=Path(__file__).parent,
    console_routes=console.ROUTES,
    nav=[Nav(_("Partners"), "/admin/partners", "users", group="sales", right="partners.read", order=125)],
)
