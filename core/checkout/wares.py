"""What a partner's program is shown of the catalogue: products with their SKUs, its own prices, what is in stock."""

from __future__ import annotations

from typing import Any

from core import db
from core.catalog.browse import COUNTED_UP_TO, FREE
from core.catalog.buyer_fields import BuyerField, read_fields
from core.checkout.channel import Article, Choice, Question
from core.money import Money
from core.partners.accounts import Partner

PRODUCTS = f"""
SELECT product.id, product.slug, product.title, product.summary, product.description, product.category_id,
       product.buyer_fields, product.state = 'listed' AS listed, product.created_at, product.updated_at,
       '/media/' || media.id || '-' || left(media.sha256, 16) AS image, skus.choices, count(*) OVER () AS total
FROM catalog_product product
LEFT JOIN catalog_media media ON media.id = product.image_id
CROSS JOIN LATERAL (
    SELECT json_agg(json_build_object(
        'id', one.id, 'code', one.code, 'title', one.title, 'price', one.price, 'currency', one.currency,
        'least', one.min_per_order, 'most', one.max_per_order, 'listed', one.listed, 'source', one.source,
        'asks', one.account_fields, 'free', {FREE.format(most="$2")}) ORDER BY one.position, one.id) AS choices
    FROM catalog_sku one WHERE one.product_id = product.id
) AS skus
WHERE product.shop_id = $1 AND skus.choices IS NOT NULL
"""  # noqa: S608 - put together from constants


async def page(shop_id: int, partner: Partner, base_url: str, number: int, size: int) -> tuple[list[Article], int]:
    """A page of the products on sale, and how many there are in all."""
    rows = await db.fetch(
        PRODUCTS + "AND product.state = 'listed' ORDER BY product.position, product.id LIMIT $3 OFFSET $4",
        shop_id,
        COUNTED_UP_TO,
        size,
        (number - 1) * size,
    )
    return [_article(row, partner, base_url) for row in rows], rows[0]["total"] if rows else 0


async def one(shop_id: int, partner: Partner, base_url: str, product_id: int) -> Article | None:
    row = await db.fetchrow(
        PRODUCTS + "AND product.state <> 'draft' AND product.id = $3", shop_id, COUNTED_UP_TO, product_id
    )
    return _article(row, partner, base_url) if row else None


def _article(row: Any, partner: Partner, base_url: str) -> Article:
    asked = [*row["buyer_fields"], *(field for one in row["choices"] for field in one["asks"])]
    fields = {field.key: field for field in read_fields(asked)}
    return Article(
        id=row["id"],
        slug=row["slug"],
        title=row["title"],
        summary=row["summary"],
        description=row["description"],
        image_url=f"{base_url}{row['image']}" if row["image"] else "",
        category_id=row["category_id"],
        by_hand=bool(fields) or any(one["source"] == "hand" for one in row["choices"]),
        listed=row["listed"],
        questions=tuple(_question(field) for field in fields.values()),
        choices=tuple(_choice(one, partner) for one in row["choices"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _question(field: BuyerField) -> Question:
    return Question(field.key, field.label, field.kind, field.required, tuple(field.options))


def _choice(sku: dict[str, Any], partner: Partner) -> Choice:
    listed = Money(sku["price"], sku["currency"])
    return Choice(
        id=sku["id"],
        code=sku["code"],
        title=sku["title"],
        price=partner.price(listed),
        list_price=listed,
        stock=sku["free"],
        least=sku["least"],
        most=sku["most"],
        listed=sku["listed"],
    )
