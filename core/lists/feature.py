from pathlib import Path

from core.lists import console
from core.web.feature import Feature

feature = Feature(name="lists", folder=Path(__file__).parent, console_routes=console.ROUTES)
