"""What suppliers offer, as it was seen last."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from core.db import Tx
from core.supply import accounts
from core.supply.supplier import Offer
from core.vault.code_text import storable

LONGEST_TITLE = 300
LONGEST_DESCRIPTION = 5_000
MOST_STOCK = 10**9

SEEN = """
INSERT INTO supply_offer (supplier, item, title, category, description, image_url, delivers, cost, currency, stock,
                          listed, face_value, face_currency, least, most, fields, gone, seen_at, changed_at)
SELECT $1, item, title, category, description, image_url, delivers, cost, currency, stock, listed, face_value,
       face_currency, least, most, fields, false, $3, $3
FROM jsonb_to_recordset($2) AS new (
    item text, title text, category text, description text, image_url text, delivers text, cost bigint, currency text,
    stock int, listed boolean, face_value bigint, face_currency text, least int, most int, fields jsonb)
ON CONFLICT (supplier, item) DO UPDATE SET
    title = excluded.title, category = excluded.category, description = excluded.description,
    image_url = excluded.image_url, delivers = excluded.delivers, cost = excluded.cost, currency = excluded.currency,
    stock = excluded.stock, listed = excluded.listed, face_value = excluded.face_value,
    face_currency = excluded.face_currency, least = excluded.least, most = excluded.most, fields = excluded.fields,
    gone = false, seen_at = excluded.seen_at,
    changed_at = CASE WHEN (supply_offer.cost, supply_offer.currency, supply_offer.stock, supply_offer.listed,
                            supply_offer.gone, supply_offer.fields, supply_offer.least, supply_offer.most)
        IS DISTINCT FROM (excluded.cost, excluded.currency, excluded.stock, excluded.listed, false, excluded.fields,
                          excluded.least, excluded.most)
        THEN excluded.changed_at ELSE supply_offer.changed_at END
RETURNING id, changed_at = $3 AS changed
"""

NOT_SEEN = """
UPDATE supply_offer SET gone = true, changed_at = $2
WHERE supplier = $1 AND NOT gone AND seen_at < $2 AND ($3::text[] IS NULL OR item = ANY($3)) RETURNING id
"""

# -- what a supplier said ---------------------------------------------------------------


class BadOffer(ValueError):
    """Something a supplier said of an offer that cannot be kept."""


def _row(offer: Offer) -> dict[str, Any]:
    if not offer.item or len(offer.item) > 100 or storable(offer.item) != offer.item:
        raise BadOffer("an item number has 1 to 100 signs")
    if offer.cost is None:
        raise BadOffer(f"the price of {offer.item} cannot be read")
    if offer.cost.amount < 0:
        raise BadOffer(f"{offer.item} costs less than nothing")
    least = min(max(1, offer.least), MOST_STOCK)
    return {
        "item": offer.item,
        "title": _text(offer.title, LONGEST_TITLE) or offer.item,
        "category": _text(offer.category, LONGEST_TITLE),
        "description": _text(offer.description, LONGEST_DESCRIPTION),
        "image_url": _text(offer.image_url, 1000) if offer.image_url.startswith(("https://", "http://")) else "",
        "delivers": str(offer.delivers),
        "cost": offer.cost.amount,
        "currency": offer.cost.currency,
        "stock": None if offer.stock is None else min(max(0, offer.stock), MOST_STOCK),
        "listed": offer.listed and accounts.can_be_asked(offer.fields),
        "face_value": offer.face_value.amount if offer.face_value else None,
        "face_currency": offer.face_value.currency if offer.face_value else None,
        "least": least,
        "most": None if offer.most is None else min(max(least, offer.most), MOST_STOCK),
        "fields": accounts.stored(offer.fields),
    }


def _text(text: str, most: int) -> str:
    return storable(text).strip()[:most]


def rows_of(offers: Iterable[Offer]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Offers by item as they are kept, and what is wrong with those that cannot be: they are as good as gone."""
    rows, wrong = {}, []
    for offer in offers:
        try:
            rows[offer.item] = _row(offer)
        except BadOffer as bad:
            wrong.append(str(bad))
    return rows, wrong


async def seen(tx: Tx, supplier: str, rows: list[dict[str, Any]], now: datetime) -> list[int]:
    """Write down what a supplier offers now; gives the ids of what changed."""
    return [row["id"] for row in await tx.fetch(SEEN, supplier, rows, now) if row["changed"]]


async def not_seen(tx: Tx, supplier: str, now: datetime, items: list[str] | None = None) -> list[int]:
    """What was not among the offers seen at ``now`` (of ``items``, or of all) is not sold any more."""
    return [row["id"] for row in await tx.fetch(NOT_SEEN, supplier, now, items)]


# -- looking ----------------------------------------------------------------------------
