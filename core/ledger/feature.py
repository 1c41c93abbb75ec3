from pathlib import Path

from core.ledger import console
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="ledger",
    folder=Path(__file__).parent,
    console_routes=console.ROUTES,
    nav=[Nav(_("Books"), "/admin/books", "report-money", group="sales", right="finance.read", order=126)],
)
