from pathlib import Path

from core.catalog import pages
from core.web.feature import Feature

feature = Feature(name="catalog", folder=Path(__file__).parent, buyer_routes=pages.routes)
