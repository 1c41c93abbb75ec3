from pathlib import Path

from core.fulfilment import console, pages
from core.web.feature import Feature

feature = Feature(
    name="fulfilment",
    folder=Path(__file__).parent,
    buyer_routes=pages.ROUTES,
    console_routes=console.ROUTES,
    slots={"order.codes": pages.report_form},
)
