from pathlib import Path

from core.audit import console
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="audit",
    folder=Path(__file__).parent,
    console_routes=[console.log, console.alarms, console.seen, console.all_seen],
    nav=[
        Nav(_("Alarms"), "/admin/alarms", "alert-triangle", group="system", right="audit.read", order=900),
        Nav(_("Audit log"), "/admin/audit", "list", group="system", right="audit.read", order=910),
    ],
)
