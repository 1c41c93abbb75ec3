"""What search engines and chats are told of a page: its addresses by language, its preview, its facts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from core.catalog.browse import Category, Picture, ProductPage
from core.catalog.cover import cover_of
from core.catalog.service import words
from core.web import i18n
from core.web.visit import Visit

LINE_BREAKS = re.compile(r"\s+")
LONGEST = 300


@dataclass(frozen=True, slots=True)
class Preview:
    """The head of one page. ``image`` is a path; a page that is not to be found says so with ``index``."""

    path: str
    title: str
    description: str
    image: str
    kind: str = "website"
    index: bool = True


def of_shop(visit: Visit, description: str) -> Preview:
    return Preview("/", visit.shop.name, description, _image(None, visit.shop.name))


def of_category(category: Category, visit: Visit, *, plain: bool) -> Preview:
    """``plain`` is the page as it stands; with a filter on it, it is one of thousands nobody searches for."""
    title = words(category.title, visit.locale)
    return Preview(
        f"/c/{category.slug}", title, f"{title} · {visit.shop.name}", _image(None, category.slug), index=plain
    )


def of_product(product: ProductPage, visit: Visit) -> Preview:
    title, summary = words(product.title, visit.locale), words(product.summary, visit.locale)
    return Preview(
        f"/p/{product.slug}",
        words(product.seo_title, visit.locale) or title,
        one_line(words(product.seo_description, visit.locale) or summary or title),
        _image(product.picture, product.slug),
        "product",
    )


def one_line(text: str) -> str:
    return LINE_BREAKS.sub(" ", text).strip()[:LONGEST]


def _image(picture: Picture | None, name: str) -> str:
    mark = picture.path.rpartition("/")[2] if picture else f"tone-{cover_of(name, '').tone}"
    return f"/social/{mark}.jpg"


def addresses(visit: Visit, path: str) -> list[tuple[str, str]]:
    """The page in each language, and the one that chooses by the browser."""
    by_language = [(i18n.html_lang(name), f"{visit.origin}{path}?lang={i18n.html_lang(name)}") for name in i18n.LOCALES]
    return [*by_language, ("x-default", f"{visit.origin}{path}")]


def canonical(visit: Visit, path: str) -> str:
    """The page that was asked for in a language is its own; without one it chooses."""
    chosen = "lang=" in visit.query
    return f"{visit.origin}{path}" + (f"?lang={i18n.html_lang(visit.locale)}" if chosen else "")


# -- facts, as schema.org has them ------------------------------------------------------


def product_facts(product: ProductPage, visit: Visit) -> dict[str, Any]:
    """One offer for each SKU."""
    facts: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "Product",
        "name": words(product.title, visit.locale),
        "description": one_line(words(product.summary, visit.locale)),
        "url": f"{visit.origin}/p/{product.slug}",
        "image": f"{visit.origin}{product.picture.path if product.picture else _image(None, product.slug)}",
        "offers": [
            {
                "@type": "Offer",
                "name": words(sku.title, visit.locale),
                "sku": sku.code,
                "price": sku.price.plain(),
                "priceCurrency": sku.price.currency,
                "availability": f"https://schema.org/{'InStock' if sku.can_buy else 'OutOfStock'}",
                "itemCondition": "https://schema.org/NewCondition",
                "url": f"{visit.origin}/p/{product.slug}",
            }
            for sku in product.skus
        ],
    }
    if product.category:
        facts["category"] = words(product.category.title, visit.locale)
    return facts


def trail_facts(visit: Visit, *steps: tuple[str, str]) -> dict[str, Any]:
    """The way from the home page: ``(name, path)`` of every step after it."""
    way = [(visit.shop.name, "/"), *steps]
    return {
        "@context": "https://schema.org",
        "@type": "BreadcrumbList",
        "itemListElement": [
            {"@type": "ListItem", "position": place, "name": name, "item": f"{visit.origin}{path}"}
            for place, (name, path) in enumerate(way, start=1)
        ],
    }


def shop_facts(visit: Visit) -> list[dict[str, Any]]:
    shop = {"@context": "https://schema.org", "@type": "Organization", "name": visit.shop.name, "url": visit.origin}
    if "@" in visit.shop.settings.support_contact:
        shop["email"] = visit.shop.settings.support_contact
    search = {"@type": "SearchAction", "target": f"{visit.origin}/?q={{words}}", "query-input": "required name=words"}
    site = {**shop, "@type": "WebSite", "potentialAction": search}
    site.pop("email", None)
    return [shop, site]


def questions_facts(questions: list[tuple[str, str]]) -> dict[str, Any]:
    """``(question, answer)``, as they stand on the page."""
    return {
        "@context": "https://schema.org",
        "@type": "FAQPage",
        "mainEntity": [
            {"@type": "Question", "name": question, "acceptedAnswer": {"@type": "Answer", "text": answer}}
            for question, answer in questions
        ],
    }


def script(facts: dict[str, Any]) -> Markup:
    text = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
    # No "<" can end the script element or open a comment.
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))  # noqa: S704


def way_to(product: ProductPage, visit: Visit) -> list[tuple[str, str]]:
    """The steps to a product's page."""
    own = (words(product.title, visit.locale), f"/p/{product.slug}")
    if product.category is None:
        return [own]
    return [(words(product.category.title, visit.locale), f"/c/{product.category.slug}"), own]
