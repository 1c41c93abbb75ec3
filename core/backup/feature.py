from pathlib import Path

from core.backup import console
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="backup",
    folder=Path(__file__).parent,
    console_routes=console.ROUTES,
    nav=[Nav(_("Backups"), "/admin/backups", "archive", group="system", right="backups.manage", order=840)],
)
