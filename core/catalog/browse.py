"""What the shop window shows: categories, product cards, one product with its prices and stock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core import db
from core.catalog.service import Words
from core.catalog.tiers import OF_SKU, Tier, read_tiers
from core.money import Money

COUNTED_UP_TO = 1000
FEWEST_DELIVERIES = 3
ORDERS_LOOKED_AT = 300


@dataclass(frozen=True, slots=True)
class Picture:
    path: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Category:
    id: int
    slug: str
    title: Words
    products: int


@dataclass(frozen=True, slots=True)
class Stock:
    """``free`` codes, counted only as far as anyone needs to know."""

    free: int
    low: int

    @property
    def band(self) -> str:
        if self.free == 0:
            return "out"
        return "few" if self.free <= self.low else "plenty"


@dataclass(frozen=True, slots=True)
class SkuChoice:
    id: int
    code: str
    title: Words
    price: Money
    face_value: Money | None
    period: str
    least: int
    most: int
    stock: Stock
    source: str
    tiers: tuple[Tier, ...] = ()

    @property
    def can_buy(self) -> bool:
        return self.stock.free >= self.least

    @property
    def most_now(self) -> int:
        """No more than is there: what cannot be had should not be asked for."""
        return max(self.least, min(self.most, self.stock.free))


@dataclass(frozen=True, slots=True)
class ProductPage:
    id: int
    slug: str
    title: Words
    summary: Words
    description: Words
    delivery_note: Words
    asks: list[Words]
    seo_title: Words
    seo_description: Words
    picture: Picture | None
    category: Category | None
    skus: list[SkuChoice]

    @property
    def first_choice(self) -> SkuChoice | None:
        return next((sku for sku in self.skus if sku.can_buy), None)

    @property
    def least_price(self) -> Money:
        return min((sku.price for sku in self.skus), key=lambda price: price.amount)

    @property
    def source(self) -> str:
        """``codes``, ``supplier`` or ``hand`` when all that can be bought comes from there; else empty."""
        sources = {sku.source for sku in self.skus}
        return sources.pop() if len(sources) == 1 else ""


CATEGORIES = """
SELECT category.id, category.slug, category.title, count(product.id) AS products
FROM catalog_category category
JOIN catalog_product product ON product.category_id = category.id AND product.state = 'listed'
WHERE category.shop_id = $1 AND category.visible
GROUP BY category.id ORDER BY category.position, category.id
"""

# What lies in the vault, and what a supplier or a person can deliver beside it.
FREE = """
CASE WHEN one.source = 'codes' OR one.own_first THEN (
    SELECT count(*) FROM (SELECT 1 FROM vault_code code
    WHERE code.sku_id = one.id AND code.state = 'free' LIMIT {most}) AS counted) ELSE 0 END
+ CASE WHEN one.source = 'codes' THEN 0 ELSE coalesce(one.available, {most}) END
"""

PRODUCT_FACTS = f"""
SELECT product.*, media.id AS media_id, left(media.sha256, 16) AS media_sha, media.width, media.height,
       category.slug AS category_slug, category.title AS category_title, category.visible,
    (SELECT json_agg(json_build_object(
        'id', one.id, 'code', one.code, 'title', one.title, 'price', one.price, 'currency', one.currency,
        'face_value', one.face_value, 'period', one.period, 'least', one.min_per_order, 'most', one.max_per_order,
        'low', one.low_stock, 'source', one.source,
        'free', {FREE.format(most="$3")}, 'asks', one.account_fields, 'tiers', {OF_SKU.format(sku="one")})
        ORDER BY one.position, one.id) FROM catalog_sku one WHERE one.product_id = product.id AND one.listed) AS skus
FROM catalog_product product
LEFT JOIN catalog_media media ON media.id = product.image_id
LEFT JOIN catalog_category category ON category.id = product.category_id
WHERE product.shop_id = $1 AND """  # noqa: S608 - put together from constants

PRODUCT = f"{PRODUCT_FACTS} product.slug = $2 AND product.state = 'listed'"
ANY_PRODUCT = f"{PRODUCT_FACTS} product.id = $2"

# Over the newest orders of the shop, so that it costs the same in a shop with millions.
SECONDS_TO_DELIVERY = """
WITH recent AS (
    SELECT id, delivered_at - paid_at AS took FROM (
        SELECT id, paid_at, delivered_at FROM orders_order WHERE shop_id = $1 ORDER BY created_at DESC LIMIT $3
    ) AS newest WHERE delivered_at IS NOT NULL AND paid_at IS NOT NULL
)
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM recent.took)) FROM recent
WHERE $2::bigint IS NULL
   OR EXISTS (SELECT 1 FROM orders_line line WHERE line.order_id = recent.id AND line.product_id = $2)
HAVING count(*) >= $4
"""


async def categories(shop_id: int) -> list[Category]:
    """Visible categories that have something on sale."""
    return [Category(**row) for row in await db.fetch(CATEGORIES, shop_id)]


def picture_of(row: Any) -> Picture | None:
    if row["media_id"] is None:
        return None
    return Picture(f"/media/{row['media_id']}-{row['media_sha']}", row["width"], row["height"])


async def product(shop_id: int, slug: str) -> ProductPage | None:
    return _product(await db.fetchrow(PRODUCT, shop_id, slug, COUNTED_UP_TO))


async def any_product(shop_id: int, product_id: int) -> ProductPage | None:
    """The same of one that may not be on sale, for staff to look at."""
    return _product(await db.fetchrow(ANY_PRODUCT, shop_id, product_id, COUNTED_UP_TO))


def _product(row: Any) -> ProductPage | None:
    if row is None:
        return None
    category = None
    if row["visible"]:
        category = Category(row["category_id"], row["category_slug"], row["category_title"], 0)
    return ProductPage(
        id=row["id"],
        slug=row["slug"],
        title=row["title"],
        summary=row["summary"],
        description=row["description"],
        delivery_note=row["delivery_note"],
        asks=_asks(row),
        seo_title=row["seo_title"],
        seo_description=row["seo_description"],
        picture=picture_of(row),
        category=category,
        skus=[_sku(one) for one in row["skus"] or []],
    )


def _asks(row: Any) -> list[Words]:
    """What the product and its SKUs want to know; what several of them ask is said once."""
    asked = [*row["buyer_fields"], *(field for one in row["skus"] or [] for field in one["asks"])]
    return list({field["key"]: field["label"] for field in asked}.values())


def _sku(one: dict[str, Any]) -> SkuChoice:
    face = one["face_value"]
    price = Money(one["price"], one["currency"])
    return SkuChoice(
        id=one["id"],
        code=one["code"],
        title=one["title"],
        price=price,
        face_value=Money(face, one["currency"]) if face else None,
        period=one["period"],
        least=one["least"],
        most=one["most"],
        stock=Stock(one["free"], one["low"]),
        source=one["source"],
        tiers=read_tiers(one["tiers"], price),
    )


SITEMAP_SIZE = 10_000

PUBLIC = """
SELECT '/c/' || category.slug AS path, max(product.updated_at) AS changed
FROM catalog_category category JOIN catalog_product product ON product.category_id = category.id
WHERE category.shop_id = $1 AND category.visible AND product.state = 'listed' GROUP BY category.slug
UNION ALL SELECT '/p/' || slug, updated_at FROM catalog_product WHERE shop_id = $1 AND state = 'listed'
ORDER BY path
"""


SITEMAPS = f"""
SELECT max(changed) AS changed
FROM (SELECT changed, row_number() OVER (ORDER BY path) - 1 AS place FROM ({PUBLIC}) AS pages) AS numbered
GROUP BY place / $2 ORDER BY place / $2
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True, slots=True)
class PublicPage:
    """An address search engines should know."""

    path: str
    changed: datetime


async def public_pages(shop_id: int, part: int) -> list[PublicPage]:
    """Those of one sitemap; ``part`` counts from 1."""
    skip = (part - 1) * SITEMAP_SIZE
    return [PublicPage(**row) for row in await db.fetch(f"{PUBLIC} LIMIT $2 OFFSET $3", shop_id, SITEMAP_SIZE, skip)]


async def sitemaps(shop_id: int) -> list[datetime]:
    """When each sitemap changed last."""
    rows = await db.fetch(SITEMAPS, shop_id, SITEMAP_SIZE)
    return [row["changed"] for row in rows]


async def seconds_to_delivery(shop_id: int, product_id: int | None = None) -> float | None:
    """The median time from paid to delivered over recent orders of a product, or of the whole shop; None when there
    were too few to promise."""
    return await db.fetchval(SECONDS_TO_DELIVERY, shop_id, product_id, ORDERS_LOOKED_AT, FEWEST_DELIVERIES)


@dataclass(frozen=True, slots=True)
class MediaFile:
    content_type: str
    body: bytes


async def media(media_id: int, sha: str) -> MediaFile | None:
    row = await db.fetchrow(
        "SELECT content_type, body FROM catalog_media WHERE id = $1 AND left(sha256, 16) = $2", media_id, sha
    )
    return MediaFile(row["content_type"], row["body"]) if row else None
