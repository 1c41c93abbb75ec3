"""The shop window: home with search, category, product, and the pictures on them."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath
from markupsafe import Markup

from core.catalog import browse
from core.catalog.browse import ProductPage
from core.catalog.markdown import to_html
from core.catalog.service import words
from core.web.errors import NotFound
from core.web.forms import Line, read_query
from core.web.render import page
from core.web.static import FOREVER
from core.web.visit import Visit

AnyRequest = Request[Any, Any, Any]

MEDIA = re.compile(r"([0-9]{1,18})-([0-9a-f]{16})")
LINE_BREAKS = re.compile(r"\s+")


class Window(msgspec.Struct):
    q: Line = ""
    page: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1


@get("/", opt={"who": "anyone"})
async def home(request: AnyRequest) -> Response[str]:
    visit: Visit = request.scope["state"]["visit"]
    asked = _window(request)
    found, more = await browse.cards(visit.shop.id, search=asked.q, page=asked.page)
    context = {
        "categories": await browse.categories(visit.shop.id),
        "cards": found,
        "more": more,
        "asked": asked,
        "here": None,
        **_with_words(visit),
    }
    name = "catalog/search.html" if asked.q else "catalog/home.html"
    return page(request, name, context, cache=not asked.q)


@get("/c/{slug:str}", opt={"who": "anyone"})
async def category(request: AnyRequest, slug: FromPath[str]) -> Response[str]:
    visit: Visit = request.scope["state"]["visit"]
    asked = _window(request)
    categories = await browse.categories(visit.shop.id)
    here = next((one for one in categories if one.slug == slug), None)
    if here is None:
        raise NotFound()
    found, more = await browse.cards(visit.shop.id, category_id=here.id, page=asked.page)
    context = {
        "categories": categories,
        "cards": found,
        "more": more,
        "asked": asked,
        "here": here,
        **_with_words(visit),
    }
    return page(request, "catalog/category.html", context, cache=True)


@get("/p/{slug:str}", opt={"who": "anyone"})
async def product(request: AnyRequest, slug: FromPath[str]) -> Response[str]:
    visit: Visit = request.scope["state"]["visit"]
    found = await browse.product(visit.shop.id, slug)
    if found is None:
        raise NotFound()
    context = {
        "product": found,
        "seconds": await browse.seconds_to_delivery(visit.shop.id, found.id),
        "markdown": to_html,
        "json_ld": json_ld(found, visit),
        **_with_words(visit),
    }
    return page(request, "catalog/product.html", context, cache=True)


@get("/media/{name:str}", opt={"who": "anyone"})
async def media(name: FromPath[str]) -> Response[bytes]:
    match = MEDIA.fullmatch(name)
    found = await browse.media(int(match[1]), match[2]) if match else None
    if found is None:
        raise NotFound()
    return Response(found.body, media_type=found.content_type, headers={"cache-control": FOREVER})


@get("/robots.txt", opt={"who": "anyone"})
async def robots(request: AnyRequest) -> Response[str]:
    visit: Visit = request.scope["state"]["visit"]
    closed = ("/checkout", "/o/", "/lookup", "/pay/", "/admin")
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in closed), f"Sitemap: {visit.origin}/sitemap.xml", ""]
    return Response("\n".join(lines), media_type="text/plain", headers={"cache-control": "public, max-age=3600"})


@get("/sitemap.xml", opt={"who": "anyone"})
async def sitemap(request: AnyRequest) -> Response[str]:
    visit: Visit = request.scope["state"]["visit"]
    paths = ["/", *await browse.public_paths(visit.shop.id)]
    urls = "".join(f"<url><loc>{visit.origin}{path}</loc></url>" for path in paths)
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>\n'
    return Response(text, media_type="application/xml", headers={"cache-control": "public, max-age=3600"})


def _window(request: AnyRequest) -> Window:
    return read_query(request, Window)


def _with_words(visit: Visit) -> dict[str, Any]:
    return {
        "words": lambda texts: words(texts, visit.locale),
        "show_stock": visit.shop.settings.show_stock,
    }


def json_ld(product: ProductPage, visit: Visit) -> Markup:
    """Facts for search engines, one offer for each SKU."""
    facts: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "Product",
        "name": words(product.title, visit.locale),
        "description": LINE_BREAKS.sub(" ", words(product.summary, visit.locale)),
        "offers": [
            {
                "@type": "Offer",
                "name": words(sku.title, visit.locale),
                "sku": sku.code,
                "price": sku.price.plain(),
                "priceCurrency": sku.price.currency,
                "availability": f"https://schema.org/{'InStock' if sku.can_buy else 'OutOfStock'}",
                "url": f"{visit.origin}/p/{product.slug}",
            }
            for sku in product.skus
        ],
    }
    if product.picture:
        facts["image"] = f"{visit.origin}{product.picture.path}"
    text = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
    # No "<" can end the script element or open a comment.
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))  # noqa: S704


routes = [home, category, product, media, robots, sitemap]
