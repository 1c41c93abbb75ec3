from pathlib import Path

from core.insight import console
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="insight",
    folder=Path(__file__).parent,
    console_routes=console.ROUTES,
    nav=[Nav(_("Insight"), "/admin/insight", "chart-bar", group="shop", right="insight.read", order=20)],
)
