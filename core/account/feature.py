from pathlib import Path

from core.account import pages
from core.web.feature import Feature

feature = Feature(name="account", folder=Path(__file__).parent, buyer_routes=pages.ROUTES)
