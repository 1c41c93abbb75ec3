from pathlib import Path

from core.redemption import rest
from core.web.feature import Feature

feature = Feature(
    name="redemption",
    folder=Path(__file__).parent,
    rest_routes=rest.ROUTES,
)
