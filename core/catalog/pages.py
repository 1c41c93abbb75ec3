"""The shop window: home with search, category, product, the pictures on them, and what search engines read."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get
from litestar.params import FromPath
from markupsafe import escape

from core.catalog import browse, notes, promise, seo, shelf
from core.catalog.browse import Category, ProductPage
from core.catalog.cover import TONES, cover_of
from core.catalog.markdown import to_html
from core.catalog.seo import Preview
from core.catalog.service import words
from core.catalog.shelf import Wanted
from core.money import Money
from core.web.errors import FormError, NotFound
from core.web.forms import Line, read_query
from core.web.hx import hx_response, wants_fragment
from core.web.i18n import Text, _
from core.web.render import fragment, page
from core.web.request import AnyRequest, visit_of
from core.web.static import FOREVER
from core.web.visit import Visit
from core.web.words import query

MEDIA = re.compile(r"([0-9]{1,18})-([0-9a-f]{16})")
TONE = re.compile(r"tone-([0-9])")
MOST_PARTS = 1000
AN_HOUR = {"cache-control": "public, max-age=3600"}
CLOSED = ("/account", "/admin", "/cart", "/checkout", "/lookup", "/o/", "/pay/", "/preview/", "/*?q=", "/*&q=")

KINDS: dict[str, Text] = {
    "code": _("Codes"),
    "membership": _("Memberships"),
    "topup": _("Top-ups"),
}
SORTS: dict[str, Text] = {
    "": _("Recommended"),
    "new": _("Newest first"),
    "cheap": _("Price, lowest first"),
    "dear": _("Price, highest first"),
}


class Window(msgspec.Struct):
    """What the address asks for; ``min`` and ``max`` are prices as people write them."""

    q: Line = ""
    kind: Literal["", "code", "membership", "topup"] = ""
    stock: Literal["", "1"] = ""
    min: Line = ""
    max: Line = ""
    sort: Literal["", "new", "cheap", "dear"] = ""
    page: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1

    @property
    def filters(self) -> dict[str, str]:
        """Those that are on."""
        named = {"kind": self.kind, "stock": self.stock, "min": self.min, "max": self.max}
        return {name: value for name, value in named.items() if value}

    @property
    def given(self) -> dict[str, str]:
        """The query without the page, for links to the others."""
        named = {"q": self.q, **self.filters, "sort": self.sort}
        return {name: value for name, value in named.items() if value}


@get("/", opt={"who": "anyone"})
async def home(request: AnyRequest) -> Response[str]:
    return await _window(request, None)


@get("/c/{slug:str}", opt={"who": "anyone"})
async def category(request: AnyRequest, slug: FromPath[str]) -> Response[str]:
    return await _window(request, slug)


async def _window(request: AnyRequest, slug: str | None) -> Response[str]:
    visit = visit_of(request)
    asked = read_query(request, Window)
    categories = await browse.categories(visit.shop.id)
    here = next((one for one in categories if one.slug == slug), None)
    if slug is not None and here is None:
        raise NotFound()
    found = await shelf.find(visit.shop.id, _wanted(asked, here, visit.shop.currency), asked.page)
    at_door = here is None and not asked.given and asked.page == 1
    path = f"/c/{here.slug}" if here else "/"
    context = {
        "categories": categories,
        "shelf": found,
        "asked": asked,
        "here": here,
        "at_door": at_door,
        "seconds": await browse.seconds_to_delivery(visit.shop.id) if at_door else None,
        "in_time": promise.in_time,
        "kinds": KINDS,
        "sorts": SORTS,
        "filter_path": path,
        "others": [] if found.cards else (await shelf.find(visit.shop.id, Wanted())).cards[:3],
        **_head(_preview(visit, here, asked), visit, _facts(visit, here, at_door)),
        **_with_words(visit),
    }
    if wants_fragment(request):
        part = fragment(request, "catalog/_window.html", context)
        # The form sends its empty fields too; the address shows only what was chosen.
        return hx_response(part, push=path + query(asked.given) if asked.given else path)
    return page(request, "catalog/window.html", context, cache=not asked.q)


def _wanted(asked: Window, here: Category | None, currency: str) -> Wanted:
    return Wanted(
        words=asked.q,
        category_id=here.id if here else None,
        kind=asked.kind,
        in_stock=bool(asked.stock),
        least=_amount(asked.min, currency, "min"),
        most=_amount(asked.max, currency, "max"),
        sort=asked.sort,
    )


def _amount(text: str, currency: str, field: str) -> int | None:
    if not text:
        return None
    try:
        return Money.parse(text, currency).amount
    except ValueError:
        raise FormError({field: _("Write an amount in digits, such as 19.90.")}) from None


def _preview(visit: Visit, here: Category | None, asked: Window) -> Preview:
    plain = not asked.given
    if here:
        return seo.of_category(here, visit, plain=plain)
    description = _("Codes and memberships from %(shop)s, delivered the moment you pay.", shop=visit.shop.name)
    preview = seo.of_shop(visit, str(description))
    return preview if plain else replace(preview, index=False)


def _facts(visit: Visit, here: Category | None, at_door: bool) -> list[dict[str, Any]]:
    if here:
        return [seo.trail_facts(visit, (words(here.title, visit.locale), f"/c/{here.slug}"))]
    return seo.shop_facts(visit) if at_door else []


@get("/p/{slug:str}", opt={"who": "anyone"})
async def product(request: AnyRequest, slug: FromPath[str]) -> Response[str]:
    visit = visit_of(request)
    found = await browse.product(visit.shop.id, slug)
    if found is None:
        raise NotFound()
    context = await _product_context(visit, found)
    return page(request, "catalog/product.html", context, cache=True)


@get("/preview/{product_id:int}", opt={"who": "staff:products.read"})
async def preview(request: AnyRequest, product_id: FromPath[int]) -> Response[str]:
    """The page as buyers would see it, of a product that may still be a draft."""
    visit = visit_of(request)
    found = await browse.any_product(visit.shop.id, product_id)
    if found is None:
        raise NotFound()
    context = await _product_context(visit, found)
    return page(request, "catalog/product.html", {**context, "editor": f"/admin/products/{found.id}"})


async def _product_context(visit: Visit, found: ProductPage) -> dict[str, Any]:
    seconds = await browse.seconds_to_delivery(visit.shop.id, found.id)
    questions = promise.questions(found, seconds)
    facts = [
        seo.product_facts(found, visit),
        seo.trail_facts(visit, *seo.way_to(found, visit)),
        seo.questions_facts([(str(question), str(answer)) for question, answer in questions]),
    ]
    return {
        "product": found,
        "promise": promise.delivery(found, seconds),
        "questions": questions,
        "markdown": to_html,
        "note": notes.before_buying(found.delivery_note, found.title, visit.shop, visit.origin, visit.locale),
        "editor": None,
        **_head(seo.of_product(found, visit), visit, facts),
        **_with_words(visit),
    }


@get("/media/{name:str}", opt={"who": "anyone"})
async def media(name: FromPath[str]) -> Response[bytes]:
    match = MEDIA.fullmatch(name)
    found = await browse.media(int(match[1]), match[2]) if match else None
    if found is None:
        raise NotFound()
    return Response(found.body, media_type=found.content_type, headers={"cache-control": FOREVER})


@get("/social/{name:str}", opt={"who": "anyone"})
async def social_picture(name: FromPath[str]) -> Response[bytes]:
    """What stands beside a link to a page in a chat."""
    from core.catalog import social  # brings Pillow, which no other page wants

    wanted = name.removesuffix(".jpg")
    tone, match = TONE.fullmatch(wanted), MEDIA.fullmatch(wanted)
    if tone and int(tone[1]) < len(TONES):
        body = await social.of_tone(int(tone[1]))
    elif match and (found := await browse.media(int(match[1]), match[2])):
        body = await social.of_picture(found.body)
    else:
        raise NotFound()
    return Response(body, media_type="image/jpeg", headers={"cache-control": FOREVER})


@get("/robots.txt", opt={"who": "anyone"})
async def robots(request: AnyRequest) -> Response[str]:
    visit = visit_of(request)
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in CLOSED), f"Sitemap: {visit.origin}/sitemap.xml", ""]
    return Response("\n".join(lines), media_type="text/plain", headers=AN_HOUR)


XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
SITEMAPS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


@get("/sitemap.xml", opt={"who": "anyone"})
async def sitemap(request: AnyRequest) -> Response[str]:
    visit = visit_of(request)
    parts = "".join(
        f"<sitemap><loc>{visit.origin}/sitemap/{part}</loc><lastmod>{changed:%Y-%m-%d}</lastmod></sitemap>"
        for part, changed in enumerate(await browse.sitemaps(visit.shop.id), start=1)
    )
    text = f"{XML}<sitemapindex {SITEMAPS}>{parts}</sitemapindex>\n"
    return Response(text, media_type="application/xml", headers=AN_HOUR)


@get("/sitemap/{part:int}", opt={"who": "anyone"})
async def sitemap_part(request: AnyRequest, part: FromPath[int]) -> Response[str]:
    visit = visit_of(request)
    found = await browse.public_pages(visit.shop.id, part) if 1 <= part <= MOST_PARTS else []
    if not found:
        raise NotFound()
    door = [browse.PublicPage("/", max(one.changed for one in found)), *_notices(visit)] if part == 1 else []
    urls = "".join(_url(visit, one) for one in [*door, *found])
    text = f'{XML}<urlset {SITEMAPS} xmlns:xhtml="http://www.w3.org/1999/xhtml">{urls}</urlset>\n'
    return Response(text, media_type="application/xml", headers=AN_HOUR)


def _notices(visit: Visit) -> list[browse.PublicPage]:
    """The merchant's own pages."""
    shown = visit.dress.notices if visit.dress else ()
    return [browse.PublicPage(f"/i/{one.slug}", one.changed) for one in shown]


def _url(visit: Visit, one: browse.PublicPage) -> str:
    links = "".join(
        f'<xhtml:link rel="alternate" hreflang="{language}" href="{escape(address)}"/>'
        for language, address in seo.addresses(visit, one.path)
    )
    return f"<url><loc>{visit.origin}{one.path}</loc><lastmod>{one.changed:%Y-%m-%d}</lastmod>{links}</url>"


def _head(shown: Preview, visit: Visit, facts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "preview": shown,
        "canonical": seo.canonical(visit, shown.path),
        "languages": seo.addresses(visit, shown.path),
        "facts": [seo.script(one) for one in facts],
    }


def _with_words(visit: Visit) -> dict[str, Any]:
    return {
        "words": lambda texts: words(texts, visit.locale),
        "cover_of": cover_of,
        "show_stock": visit.shop.settings.show_stock,
    }


routes = [home, category, product, preview, media, social_picture, robots, sitemap, sitemap_part]
