from pathlib import Path

from core.admin import console, health_console, pages, rest, setup_console
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="admin",
    folder=Path(__file__).parent,
    buyer_routes=pages.ROUTES,
    rest_routes=rest.ROUTES,
    console_routes=[*console.ROUTES, *setup_console.ROUTES, *health_console.ROUTES],
    nav=[
        Nav(_("Health"), "/admin/health", "heartbeat", group="system", right="health.read", order=795),
        Nav(_("Dashboard"), "/admin", "dashboard", group="shop", right="dashboard.read", order=10),
        Nav(_("Demo products"), "/admin/demo", "flask", group="system", right="demo.edit", order=850),
    ],
)
