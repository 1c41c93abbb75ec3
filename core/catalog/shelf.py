"""The shelf: product cards, found by words, category, kind, price and stock, in the order a buyer wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from core import db
from core.catalog.browse import COUNTED_UP_TO, FREE, Picture, Stock, picture_of
from core.catalog.service import Words
from core.money import Money

CARDS_PER_PAGE = 24
MOST_WORDS = 6

KINDS = ("code", "membership", "topup")
ORDERS = {
    "": "product.position, product.id",
    "new": "product.id DESC",
    "cheap": "sku.least, product.id",
    "dear": "sku.least DESC, product.id",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a buyer looks for; amounts in minor units."""

    words: str = ""
    category_id: int | None = None
    kind: str = ""
    in_stock: bool = False
    least: int | None = None
    most: int | None = None
    sort: str = ""


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
class Shelf:
    """One page of cards; ``total`` counts all that fit."""

    cards: list[Card]
    total: int
    more: bool

    @property
    def pages(self) -> int:
        return -(-self.total // CARDS_PER_PAGE)


# A membership has a period; a top-up asks for an account; what is left is a code.
KIND = (
    """CASE WHEN one.period <> 'none' THEN 'membership' WHEN one.account_fields <> '[]' THEN 'topup' ELSE 'code' END"""
)

SKUS = f"""
SELECT one.product_id, min(one.price) AS least, max(one.price) AS most, min(one.currency) AS currency,
       max(one.low_stock) AS low, array_agg({KIND}) AS kinds,
       string_agg(one.code || ' ' || jsonb_path_query_array(one.title, '$.*')::text, ' ') AS found_by
FROM catalog_sku one WHERE one.shop_id = $1 AND one.listed GROUP BY one.product_id
"""  # noqa: S608 - put together from constants

IN_STOCK = """EXISTS (
    SELECT 1 FROM catalog_sku one WHERE one.product_id = product.id AND one.listed AND (
        (one.source <> 'codes' AND coalesce(one.available, 1) > 0)
        OR ((one.source = 'codes' OR one.own_first)
            AND EXISTS (SELECT 1 FROM vault_code code WHERE code.sku_id = one.id AND code.state = 'free'))))"""

# Only the products of one page are counted in the vault.
CARDS = f"""
WITH sku AS ({SKUS}), found AS (
    SELECT product.id, count(*) OVER () AS total, row_number() OVER (ORDER BY {{order}}) AS place
    FROM catalog_product product JOIN sku ON sku.product_id = product.id
    LEFT JOIN catalog_category category ON category.id = product.category_id
    WHERE product.shop_id = $1 AND product.state = 'listed'
      AND ($2::bigint IS NULL OR product.category_id = $2)
      AND ($3::text[] IS NULL
           OR concat_ws(' ', product.found_by, jsonb_path_query_array(category.title, '$.*')::text, sku.found_by)
              ILIKE ALL ($3))
      AND ($4 = '' OR $4 = ANY (sku.kinds))
      AND ($5::bigint IS NULL OR sku.most >= $5) AND ($6::bigint IS NULL OR sku.least <= $6)
      AND (NOT $7 OR {IN_STOCK})
    ORDER BY place LIMIT $8 OFFSET $9
)
SELECT product.slug, product.title, product.summary, sku.least, sku.most, sku.currency, sku.low, found.total,
       media.id AS media_id, left(media.sha256, 16) AS media_sha, media.width, media.height,
       (SELECT sum({FREE.format(most="$10")})::int FROM catalog_sku one
        WHERE one.product_id = product.id AND one.listed) AS free
FROM found JOIN catalog_product product ON product.id = found.id JOIN sku ON sku.product_id = product.id
LEFT JOIN catalog_media media ON media.id = product.image_id
ORDER BY found.place
"""  # noqa: S608 - put together from constants

IN_ORDER = {name: CARDS.format(order=order) for name, order in ORDERS.items()}


async def find(shop_id: int, wanted: Wanted, page: int = 1) -> Shelf:
    rows = await db.fetch(
        IN_ORDER.get(wanted.sort, IN_ORDER[""]),
        shop_id,
        wanted.category_id,
        patterns(wanted.words),
        wanted.kind,
        wanted.least,
        wanted.most,
        wanted.in_stock,
        CARDS_PER_PAGE,
        (page - 1) * CARDS_PER_PAGE,
        COUNTED_UP_TO,
    )
    total = rows[0]["total"] if rows else 0
    return Shelf([_card(row) for row in rows], total, page * CARDS_PER_PAGE < total)


def patterns(text: str) -> list[str] | None:
    """Each word has to be somewhere; full-width letters of a Chinese keyboard count as the plain ones."""
    words = normalize("NFKC", text).split()[:MOST_WORDS]
    return [f"%{_literal(word)}%" for word in words] or None


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _card(row: Any) -> Card:
    return Card(
        slug=row["slug"],
        title=row["title"],
        summary=row["summary"],
        picture=picture_of(row),
        price_from=Money(row["least"], row["currency"]),
        many_prices=row["least"] != row["most"],
        stock=Stock(row["free"], row["low"]),
    )
