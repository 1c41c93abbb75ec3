from pathlib import Path

from core.people import console
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="people",
    folder=Path(__file__).parent,
    console_routes=console.ROUTES,
    nav=[
        Nav(_("Staff"), "/admin/staff", "users", group="people", right="staff.manage", order=500),
        Nav(_("My account"), "/admin/account", "user", group="people", order=510),
    ],
)
