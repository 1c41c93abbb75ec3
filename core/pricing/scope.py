"""Which goods a promotion is for: some SKUs, products and categories, or all there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core import db
from core.catalog.service import words
from core.money import Money
from core.pricing.promotion import Basket, BasketLine

KINDS = ("category", "product", "sku")

CHOICES = """
SELECT 'category' AS kind, category.slug AS name, category.title, '{}'::jsonb AS of_what, category.position AS place
FROM catalog_category category JOIN shops_shop shop ON shop.id = category.shop_id WHERE shop.code = $1
UNION ALL
SELECT 'product', product.slug, product.title, '{}', product.position
FROM catalog_product product JOIN shops_shop shop ON shop.id = product.shop_id
WHERE shop.code = $1 AND product.state <> 'archived'
UNION ALL
SELECT 'sku', sku.code, product.title, sku.title, product.position
FROM catalog_sku sku JOIN catalog_product product ON product.id = sku.product_id
JOIN shops_shop shop ON shop.id = sku.shop_id WHERE shop.code = $1 AND product.state <> 'archived'
ORDER BY 1, 5, 2
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """Goods by name: ``category:games``, ``product:steam-card``, ``sku:STEAM-100``. Empty, it is for all goods."""

    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str]) -> Scope:
        """The scope of these names, blanks around them dropped.

        :raises ValueError: a name that is none.
        """
        found = frozenset(name.strip() for name in names if name.strip())
        for name in found:
            kind, colon, rest = name.partition(":")
            if kind not in KINDS or not colon or not rest:
                raise ValueError(f"{name!r} is not category:…, product:… or sku:…")
        return cls(found)

    def holds(self, line: BasketLine) -> bool:
        """Whether it is for this line of a basket."""
        if not self.names:
            return True
        of_line = {
            f"sku:{line.sku_code}",
            f"product:{line.product_slug}",
            *(f"category:{one}" for one in line.categories),
        }
        return not self.names.isdisjoint(of_line)

    def lines(self, basket: Basket) -> tuple[BasketLine, ...]:
        """The lines of the basket it is for."""
        return tuple(line for line in basket.lines if self.holds(line))

    def total(self, basket: Basket) -> Money:
        """What these lines come to."""
        return Money(sum(line.total.amount for line in self.lines(basket)), basket.total.currency)


@dataclass(frozen=True, slots=True)
class ScopeChoice:
    """One of the goods of a shop, for a form: ``name`` as in :class:`Scope`, and what it is called.

    ``kind`` is ``category``, ``product`` or ``sku``.
    """

    kind: str
    name: str
    title: str


async def scope_choices(shop: str, locale: str) -> list[ScopeChoice]:
    """Everything a scope can name in the shop of that code: categories, then products, then SKUs, with titles
    in the language ``locale`` (``zh_CN``)."""
    return [_choice(row, locale) for row in await db.fetch(CHOICES, shop)]


def _choice(row: dict[str, object], locale: str) -> ScopeChoice:
    title, of_what = words(row["title"], locale), words(row["of_what"], locale)  # type: ignore[arg-type]
    return ScopeChoice(str(row["kind"]), f"{row['kind']}:{row['name']}", " · ".join(filter(None, [title, of_what])))
