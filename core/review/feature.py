from pathlib import Path

from core.review import console
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="review",
    folder=Path(__file__).parent,
    console_routes=console.ROUTES,
    nav=[Nav(_("Review"), "/admin/review", "clipboard-check", group="sales", right="review.read", order=110)],
)
