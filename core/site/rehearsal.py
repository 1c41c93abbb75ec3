"""Before a draft is published: the pages a buyer meets first, drawn with it as in its preview."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from core.catalog import browse, shelf
from core.web import cookies
from core.web.door import App
from core.web.i18n import LOCALES, html_lang
from core.web.visit import LANGUAGE_COOKIE, PREVIEW_COOKIE, Visit


async def failing(app: App, visit: Visit, preview: str) -> str:
    """The first page that the draft cannot draw, its language and why; empty when it draws all.

    ``visit`` is that of the member of staff, ``preview`` what lets it see the draft.
    """
    for path, query in await _pages(visit.shop.id):
        for locale in LOCALES:
            why = await _undrawn(app, visit, preview, locale, path, query)
            if why:
                return f"{path} ({html_lang(locale)}): {why}"
    return ""


async def _pages(shop_id: int) -> list[tuple[str, str]]:
    pages = [("/", ""), ("/lookup", "")]
    for card in (await shelf.find(shop_id, shelf.Wanted())).cards[:1]:
        product = await browse.product(shop_id, card.slug)
        sku = product.first_choice or product.skus[0] if product else None
        pages.append((f"/p/{card.slug}", ""))
        pages.append(("/checkout", urlencode({"sku": sku.code if sku else ""})))
    return pages


async def _undrawn(app: App, visit: Visit, preview: str, locale: str, path: str, query: str) -> str:
    jar = {cookies.SESSION: visit.cookie or "", PREVIEW_COOKIE: preview, LANGUAGE_COOKIE: locale}
    cookie = "; ".join(f"{cookies.name_of(name, visit.secure)}={value}" for name, value in jar.items())
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "scheme": "https" if visit.https else "http",
        "http_version": "1.1",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"host", visit.host.encode()), (b"cookie", cookie.encode())],
        "client": (visit.ip, 0),
        "server": None,
        "state": {},
    }
    await app(scope, _nothing_more, _seen_by_nobody)
    drawn: Visit = scope["state"]["visit"]
    return drawn.undrawn


async def _nothing_more() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _seen_by_nobody(_message: Any) -> None:
    pass
