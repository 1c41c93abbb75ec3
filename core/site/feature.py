from pathlib import Path
from typing import Any

from core.site import console, pages
from core.web import visit as visits
from core.web.feature import Feature, Nav
from core.web.i18n import _


def footer(_given: Any) -> Any:
    """The merchant's own pages, at the foot of every page."""
    visit = visits.current()
    linked = [one for one in visit.dress.notices if one.in_footer] if visit and visit.dress else []
    return ("site/_links.html", {"notices": linked}) if linked else None


feature = Feature(
    name="site",
    folder=Path(__file__).parent,
    buyer_routes=pages.ROUTES,
    console_routes=console.ROUTES,
    nav=[
        Nav(_("Themes"), "/admin/themes", "palette", group="shop", right="settings.read", order=60),
        Nav(_("Shop pages"), "/admin/pages", "file-text", group="shop", right="settings.read", order=61),
    ],
    slots={"shop.footer": footer},
)
