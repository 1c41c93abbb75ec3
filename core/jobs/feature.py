from pathlib import Path

from core.jobs import console
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="jobs",
    folder=Path(__file__).parent,
    console_routes=[console.job_list, console.job_page, console.job_progress, console.retry, console.cancel],
    nav=[Nav(_("Jobs"), "/admin/jobs", "list-check", group="system", right="jobs.read", order=890)],
)
