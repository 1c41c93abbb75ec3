from pathlib import Path

from core.orders import gift_pages, pages
from core.web.feature import Feature

feature = Feature(name="orders", folder=Path(__file__).parent, buyer_routes=[*pages.routes, *gift_pages.routes])
