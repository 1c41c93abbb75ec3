"""What the shop window shows: categories, product cards, one product with its prices and stock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core import db
from core.catalog.service import Words
from core.catalog.tiers import OF_SKU, Tier, read_tiers
from core.money import Money

CARDS_PER_PAGE = 24
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
class Card:
    slug: str
    title: Words
    summary: Words
    picture: Picture | None
    price_from: Money
    many_prices: bool
    stock: Stock


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
    picture: Picture | None
    category: Category | None
    skus: list[SkuChoice]

    @property
    def first_choice(self) -> SkuChoice | None:
        return next((sku for sku in self.skus if sku.can_buy), None)


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

CARDS = f"""
SELECT product.slug, product.title, product.summary, sku.*,
       media.id AS media_id, left(media.sha256, 16) AS media_sha, media.width, media.height
FROM catalog_product product
JOIN LATERAL (
    SELECT min(price) AS least, max(price) AS most, min(currency) AS currency, max(low_stock) AS low,
           sum({FREE.format(most="$5")})::int AS free
    FROM catalog_sku one WHERE one.product_id = product.id AND one.listed
) sku ON sku.least IS NOT NULL
LEFT JOIN catalog_media media ON media.id = product.image_id
WHERE product.shop_id = $1 AND product.state = 'listed' AND ($2::bigint IS NULL OR product.category_id = $2)
  AND ($3 = '' OR EXISTS (
      SELECT 1 FROM jsonb_each_text(product.title) AS said WHERE said.value ILIKE $3
      UNION ALL SELECT 1 FROM jsonb_each_text(product.summary) AS said WHERE said.value ILIKE $3
      UNION ALL SELECT 1 FROM catalog_category category, jsonb_each_text(category.title) AS said
          WHERE category.id = product.category_id AND said.value ILIKE $3
      UNION ALL SELECT 1 FROM catalog_sku known, jsonb_each_text(known.title) AS said
          WHERE known.product_id = product.id AND (said.value ILIKE $3 OR known.code ILIKE $3)))
ORDER BY product.position, product.id LIMIT $4 OFFSET $6
"""  # noqa: S608 - put together from constants

PRODUCT = f"""
SELECT product.*, media.id AS media_id, left(media.sha256, 16) AS media_sha, media.width, media.height,
       category.slug AS category_slug, category.title AS category_title, category.visible,
    (SELECT json_agg(json_build_object(
        'id', one.id, 'code', one.code, 'title', one.title, 'price', one.price, 'currency', one.currency,
        'face_value', one.face_value, 'period', one.period, 'least', one.min_per_order, 'most', one.max_per_order,
        'low', one.low_stock,
        'free', {FREE.format(most="$3")}, 'asks', one.account_fields, 'tiers', {OF_SKU.format(sku="one")})
        ORDER BY one.position, one.id) FROM catalog_sku one WHERE one.product_id = product.id AND one.listed) AS skus
FROM catalog_product product
LEFT JOIN catalog_media media ON media.id = product.image_id
LEFT JOIN catalog_category category ON category.id = product.category_id
WHERE product.shop_id = $1 AND product.slug = $2 AND product.state = 'listed'
"""  # noqa: S608 - put together from constants

# Over the newest orders of the shop, so that it costs the same in a shop with millions.
SECONDS_TO_DELIVERY = """
WITH recent AS (
    SELECT id, delivered_at - paid_at AS took FROM (
        SELECT id, paid_at, delivered_at FROM orders_order WHERE shop_id = $1 ORDER BY created_at DESC LIMIT $3
    ) AS newest WHERE delivered_at IS NOT NULL AND paid_at IS NOT NULL
)
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM recent.took)) FROM recent
WHERE EXISTS (SELECT 1 FROM orders_line line WHERE line.order_id = recent.id AND line.product_id = $2)
HAVING count(*) >= $4
"""


async def categories(shop_id: int) -> list[Category]:
    """Visible categories that have something on sale."""
    return [Category(**row) for row in await db.fetch(CATEGORIES, shop_id)]


async def cards(
    shop_id: int, *, category_id: int | None = None, search: str = "", page: int = 1
) -> tuple[list[Card], bool]:
    """One page of product cards, and whether there is another one after it."""
    pattern = f"%{_literal(search)}%" if search else ""
    skip = (page - 1) * CARDS_PER_PAGE
    rows = await db.fetch(CARDS, shop_id, category_id, pattern, CARDS_PER_PAGE + 1, COUNTED_UP_TO, skip)
    return [_card(row) for row in rows[:CARDS_PER_PAGE]], len(rows) > CARDS_PER_PAGE


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _card(row: Any) -> Card:
    return Card(
        slug=row["slug"],
        title=row["title"],
        summary=row["summary"],
        picture=_picture(row),
        price_from=Money(row["least"], row["currency"]),
        many_prices=row["least"] != row["most"],
        stock=Stock(row["free"], row["low"]),
    )


def _picture(row: Any) -> Picture | None:
    if row["media_id"] is None:
        return None
    return Picture(f"/media/{row['media_id']}-{row['media_sha']}", row["width"], row["height"])


async def product(shop_id: int, slug: str) -> ProductPage | None:
    row = await db.fetchrow(PRODUCT, shop_id, slug, COUNTED_UP_TO)
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
        picture=_picture(row),
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
        tiers=read_tiers(one["tiers"], price),
    )


async def public_paths(shop_id: int) -> list[str]:
    """The addresses search engines should know, at most as many as fit into one sitemap."""
    rows = await db.fetch(
        """
        SELECT '/c/' || slug AS path FROM catalog_category WHERE shop_id = $1 AND visible
        UNION ALL SELECT '/p/' || slug FROM catalog_product WHERE shop_id = $1 AND state = 'listed' LIMIT 50000
        """,
        shop_id,
    )
    return [row["path"] for row in rows]


async def seconds_to_delivery(shop_id: int, product_id: int) -> float | None:
    """The median time from paid to delivered over recent orders; None when there were too few to promise."""
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
