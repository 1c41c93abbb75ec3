"""Reading the catalogue: what the counter and the shop window need to know of a SKU, a product, a category."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from core import db
from core.catalog.buyer_fields import BuyerField, read_fields
from core.catalog.tiers import OF_SKU, Tier, read_tiers
from core.jobs import bell
from core.money import Money
from core.web.i18n import any_of

Words = dict[str, str]


def words(texts: Words, locale: str, usual: str = "") -> str:
    """The text in that language, else in the shop's, else in any: one language is better than none."""
    return texts.get(locale.replace("_", "-")) or any_of(texts, usual)


@dataclass(frozen=True, slots=True)
class SkuFacts:
    """One SKU with what its product adds, as the counter needs it."""

    id: int
    shop_id: int
    product_id: int
    code: str
    title: Words
    product_slug: str
    product_title: Words
    delivery_note: Words
    buyer_fields: list[BuyerField]
    price: Money
    min_per_order: int
    max_per_order: int
    max_per_buyer: int | None
    min_days_left: int
    on_sale: bool
    source: str = "codes"
    """``codes`` are claimed from the vault; ``supplier`` and ``hand`` deliver after the order is paid."""
    own_first: bool = False
    """Codes of the vault are sold as long as there are any."""
    tiers: tuple[Tier, ...] = ()
    """Lower prices for larger quantities, the smallest quantity first."""


SKU_FACTS = f"""
SELECT sku.*, product.slug AS product_slug, product.title AS product_title, product.delivery_note,
       product.buyer_fields, sku.listed AND product.state = 'listed' AS on_sale,
       {OF_SKU.format(sku="sku")} AS tiers
FROM catalog_sku sku JOIN catalog_product product ON product.id = sku.product_id
WHERE sku.shop_id = $1 AND sku.code = ANY($2)
"""  # noqa: S608 - put together from constants


CHANGED = "catalog"
"""The bell that rings when the shop window changed by itself."""
FACTS_SECONDS = 1.0
FACTS_MOST = 5_000

_facts: dict[tuple[int, str], tuple[float, SkuFacts]] = {}


async def sku_facts(shop_id: int, codes: list[str]) -> dict[str, SkuFacts]:
    """Facts of these SKU codes; unknown ones are missing."""
    rows = await db.fetch(SKU_FACTS, shop_id, codes)
    found = {row["code"]: _sku_facts(row) for row in rows}
    until = time.monotonic() + FACTS_SECONDS
    if len(_facts) > FACTS_MOST:
        _facts.clear()
    _facts.update({(shop_id, code): (until, facts) for code, facts in found.items()})
    return found


async def late_sku_facts(shop_id: int, codes: list[str]) -> dict[str, SkuFacts]:
    """The same, as it was within the last second: for the checkout, where many buyers ask for the same few SKUs."""
    now = time.monotonic()
    known = {code: _facts.get((shop_id, code), (0.0, None)) for code in codes}
    fresh = {code: facts for code, (until, facts) in known.items() if facts is not None and until > now}
    missing = [code for code in codes if code not in fresh]
    return fresh | await sku_facts(shop_id, missing) if missing else fresh


def forget() -> None:
    """Something was changed here: the next reader looks into the database."""
    _facts.clear()


async def changed() -> None:
    """The same, and every process draws the pages of the shop window anew."""
    forget()
    await bell.ring(CHANGED)


def _sku_facts(row: Any) -> SkuFacts:
    price = Money(row["price"], row["currency"])
    return SkuFacts(
        id=row["id"],
        shop_id=row["shop_id"],
        product_id=row["product_id"],
        code=row["code"],
        title=row["title"],
        product_slug=row["product_slug"],
        product_title=row["product_title"],
        delivery_note=row["delivery_note"],
        buyer_fields=read_fields(row["buyer_fields"] + row["account_fields"]),
        price=price,
        min_per_order=row["min_per_order"],
        max_per_order=row["max_per_order"],
        max_per_buyer=row["max_per_buyer"],
        min_days_left=row["min_days_left"],
        on_sale=row["on_sale"],
        source=row["source"],
        own_first=row["own_first"],
        tiers=read_tiers(row["tiers"], price),
    )
