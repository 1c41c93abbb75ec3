from pathlib import Path

from core.catalog import categories_console, console, guides_console, pages
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="catalog",
    folder=Path(__file__).parent,
    buyer_routes=pages.routes,
    console_routes=(*console.ROUTES, *categories_console.ROUTES, *guides_console.ROUTES),
    nav=[
        Nav(_("Products"), "/admin/products", "box", group="goods", right="products.read", order=200),
        Nav(_("Categories"), "/admin/categories", "category", group="goods", right="products.read", order=210),
        Nav(_("Guides"), "/admin/guides", "list-check", group="goods", right="products.read", order=215),
    ],
)
