"""Offers become products of the shop: each with a SKU that is bought by it, at a price by rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core import db
from core.audit.person import Person
from core.catalog import editing
from core.catalog.editing import ProductDraft, SkuDraft
from core.catalog.service import changed
from core.db import Tx
from core.ids import new_ref
from core.money import Money
from core.refused import Refused
from core.supply import price_rule, skus
from core.supply.skus import Draft
from core.web.i18n import Text, _

MOST = 200
SIGNS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

OFFERS = """
SELECT offer.*, supplier.rates, EXISTS (
    SELECT 1 FROM supply_link link JOIN catalog_sku sku ON sku.id = link.sku_id
    WHERE link.offer_id = offer.id AND sku.shop_id = $2) AS linked
FROM supply_offer offer JOIN supply_supplier supplier ON supplier.key = offer.supplier
WHERE offer.id = ANY($1) ORDER BY offer.category, offer.title, offer.id
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """How the products are to be. ``locale`` is the language the supplier writes in."""

    draft: Draft
    locale: str
    currency: str
    state: str = "draft"
    with_categories: bool = True


@dataclass(slots=True)
class Made:
    product_ids: list[int] = field(default_factory=list)
    left_out: list[tuple[str, Text | str]] = field(default_factory=list)
    """Titles of offers, with what kept them out."""


async def make_products(editor: Person, offer_ids: Sequence[int], wish: Wish) -> Made:
    """One product for each offer that has none in this shop yet; each for itself, so that one mistake keeps one out.

    :raises Refused: too many at once, or none.
    """
    if not offer_ids:
        raise Refused(_("Choose at least one offer."))
    if len(offer_ids) > MOST:
        raise Refused(_("At most %(most)d offers at a time.", most=MOST))
    made = Made()
    for offer in await db.fetch(OFFERS, list(offer_ids), editor.shop_id):
        if offer["linked"]:
            made.left_out.append((offer["title"], _("it is sold already")))
            continue
        try:
            made.product_ids.append(await db.transaction(_make, editor, offer, wish))
        except Refused as refused:
            made.left_out.append((offer["title"], refused.text))
    await changed()
    return made


async def _make(tx: Tx, editor: Person, offer: Any, wish: Wish) -> int:
    cost = price_rule.in_shop_currency(Money(offer["cost"], offer["currency"]), wish.currency, offer["rates"])
    if cost is None:
        raise Refused(_("tell the exchange rate of %(currency)s first", currency=offer["currency"]))
    price = wish.draft.rule.price(cost)
    if not price_rule.can_be_asked(price):
        raise Refused(_("nobody could pay the price that comes of its cost"))
    category_id = await _category(tx, editor, offer["category"], wish) if wish.with_categories else None
    product = ProductDraft(
        slug=f"{editing.slug_from(offer['title'])[:50].strip('-')}-{offer['id']}",
        title={wish.locale: offer["title"][:200]},
        summary={},
        description={wish.locale: offer["description"]} if offer["description"] else {},
        delivery_note={},
        buyer_fields=[],
        category_id=category_id,
        state=wish.state,
        position=0,
    )
    product_id = await editing.add_product_in(tx, editor, product)
    sku_id = await editing.add_sku_in(tx, editor, product_id, _sku(offer, price, wish))
    await skus.link(tx, editor, sku_id, offer["id"])
    await skus.save_in(tx, editor, sku_id, replace(wish.draft, source="supplier"))
    return product_id


def _sku(offer: Any, price: int, wish: Wish) -> SkuDraft:
    code = "".join(sign if sign in SIGNS else "-" for sign in f"{offer['supplier']}-{offer['item']}")[:50]
    same_currency = offer["face_currency"] == wish.currency
    return SkuDraft(
        code=f"{code}-{offer['id']}",
        title={wish.locale: offer["title"][:200]},
        price=price,
        currency=wish.currency,
        face_value=offer["face_value"] if same_currency else None,
        period="none",
        min_per_order=min(offer["least"], 1000),
        max_per_order=min(max(offer["least"], offer["most"] or 10), 1000),
        max_per_buyer=None,
        low_stock=5,
        listed=True,
        position=0,
    )


async def _category(tx: Tx, editor: Person, name: str, wish: Wish) -> int | None:
    """The shop's category of that name, made when there is none."""
    if not name:
        return None
    found: int | None = await tx.fetchval(
        "SELECT min(id) FROM catalog_category WHERE shop_id = $1 AND EXISTS ("
        " SELECT 1 FROM jsonb_each_text(title) AS said WHERE said.value = $2)",
        editor.shop_id,
        name,
    )
    if found is not None:
        return found
    return await tx.fetchval(
        "INSERT INTO catalog_category (shop_id, slug, title) VALUES ($1, $2, jsonb_build_object($3::text, $4::text))"
        " ON CONFLICT (shop_id, slug) DO UPDATE SET slug = catalog_category.slug RETURNING id",
        editor.shop_id,
        editing.slug_from(name) if name.isascii() else new_ref("c-", 6).lower(),
        wish.locale,
        name,
    )
