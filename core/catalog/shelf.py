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

ORDERS = {
    "": "product.position, product.id",
    "new": "product.id DESC",
    "cheap": "shelf.least, product.id",
    "dear": "shelf.least DESC, product.id",
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
    """One page of cards. ``total`` is how many fit; None when that would mean to look into the vault for each."""

    cards: list[Card]
    more: bool
    total: int | None

    @property
    def pages(self) -> int | None:
        return None if self.total is None else -(-self.total // CARDS_PER_PAGE)


ON_SHELF = """
FROM catalog_product product JOIN catalog_shelf shelf ON shelf.product_id = product.id
LEFT JOIN catalog_category category ON category.id = product.category_id
WHERE product.shop_id = $1 AND product.state = 'listed'
  AND ($2::bigint IS NULL OR product.category_id = $2)
  AND ($3::text[] IS NULL
       OR concat_ws(' ', product.found_by, jsonb_path_query_array(category.title, '$.*')::text, shelf.found_by)
          ILIKE ALL ($3))
  AND ($4 = '' OR $4 = ANY (shelf.kinds))
  AND ($5::bigint IS NULL OR shelf.most >= $5) AND ($6::bigint IS NULL OR shelf.least <= $6)
"""

IN_STOCK = """
AND EXISTS (
    SELECT 1 FROM catalog_sku one WHERE one.product_id = product.id AND one.listed AND (
        (one.source <> 'codes' AND coalesce(one.available, 1) > 0)
        OR ((one.source = 'codes' OR one.own_first)
            AND EXISTS (SELECT 1 FROM vault_code code WHERE code.sku_id = one.id AND code.state = 'free'))))
"""

# Only the products of one page are counted in the vault.
CARDS = f"""
WITH found AS (SELECT product.id, {{total}} AS total {ON_SHELF} {{stock}} ORDER BY {{order}} LIMIT $7 OFFSET $8)
SELECT found.total, product.slug, product.title, product.summary, shelf.least, shelf.most, shelf.currency, shelf.low,
       media.id AS media_id, left(media.sha256, 16) AS media_sha, media.width, media.height,
       (SELECT sum({FREE.format(most="$9")})::int FROM catalog_sku one
        WHERE one.product_id = product.id AND one.listed) AS free
FROM found JOIN catalog_product product ON product.id = found.id
JOIN catalog_shelf shelf ON shelf.product_id = product.id
LEFT JOIN catalog_media media ON media.id = product.image_id
ORDER BY {{order}}
"""  # noqa: S608 - put together from constants

STATEMENTS = {
    (order, in_stock): CARDS.format(
        order=by, stock=IN_STOCK if in_stock else "", total="NULL::int" if in_stock else "count(*) OVER ()::int"
    )
    for order, by in ORDERS.items()
    for in_stock in (False, True)
}
COUNT = f"SELECT count(*) {ON_SHELF}"
"""For a page behind the last one, which has no row to tell the total."""


async def find(shop_id: int, wanted: Wanted, page: int = 1) -> Shelf:
    asked = (shop_id, wanted.category_id, patterns(wanted.words), wanted.kind, wanted.least, wanted.most)
    statement = STATEMENTS.get((wanted.sort, wanted.in_stock), STATEMENTS["", wanted.in_stock])
    skip = (page - 1) * CARDS_PER_PAGE
    rows = await db.fetch(statement, *asked, CARDS_PER_PAGE + 1, skip, COUNTED_UP_TO)
    more = len(rows) > CARDS_PER_PAGE
    cards = [_card(row) for row in rows[:CARDS_PER_PAGE]]
    if not more and (rows or page == 1):
        return Shelf(cards, False, skip + len(rows))
    if rows or wanted.in_stock:
        return Shelf(cards, more, rows[0]["total"] if rows else None)
    return Shelf(cards, more, await db.fetchval(COUNT, *asked))


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
