"""What promotions took off is stored by the statement that places the order, with the uses it takes of their limits."""

from __future__ import annotations

from typing import Any

import asyncpg

from core.pricing.promote import FIELD
from core.pricing.quote import Quote
from core.refused import Refused
from core.web.i18n import _

# Added to PLACE. A cap that is full gives no row in ``taken``: the use then has no cap, which the table refuses, and
# nothing of the whole statement is done. Caps are taken in one order everywhere, so that no two orders wait for each
# other.
TAKE = """, asked AS (
    SELECT placed.shop_id, wanted.*
    FROM placed, jsonb_to_recordset(${caps}) AS wanted (promotion text, key text, most int)
), taken AS (
    INSERT INTO orders_cap (shop_id, promotion, key, most, used)
    SELECT shop_id, promotion, key, most, 1 FROM asked ORDER BY promotion, key
    ON CONFLICT (shop_id, promotion, key) DO UPDATE SET used = orders_cap.used + 1, most = excluded.most
    WHERE orders_cap.used < excluded.most RETURNING id, promotion, key
), use AS (
    INSERT INTO orders_use (order_id, cap_id)
    SELECT placed.id, taken.id FROM (asked LEFT JOIN taken USING (promotion, key)) CROSS JOIN placed
), adjustment AS (
    INSERT INTO orders_adjustment (order_id, promotion, key, title, amount, sku_id, code, data)
    SELECT placed.id, discount.* FROM placed, jsonb_to_recordset(${discounts}) AS discount (
        promotion text, key text, title jsonb, amount bigint, sku_id bigint, code text, data jsonb)
)
"""


class UsedUp(Refused):
    """The last use of a discount went to somebody else while this order was being written; nothing was placed."""

    def __init__(self, quote: Quote) -> None:
        if any(discount.code for discount in quote.discounts):
            super().__init__(_("This code was used as often as it may be."), FIELD)
        else:
            super().__init__(_("A discount has just run out, so the price is another now. Nothing was ordered."))


def with_discounts(statement: str, values: tuple[Any, ...], quote: Quote) -> tuple[str, tuple[Any, ...]]:
    """``PLACE`` and its values after the first for an order with discounts; for one without as they were."""
    if not quote.discounts:
        return statement, values
    take = TAKE.format(caps=len(values) + 2, discounts=len(values) + 3)
    return statement + take, (*values, _caps(quote), _discounts(quote))


def is_used_up(error: asyncpg.NotNullViolationError) -> bool:
    return error.table_name == "orders_use" and error.column_name == "cap_id"


def _caps(quote: Quote) -> list[dict[str, Any]]:
    """One use of each cap, however many discounts name it."""
    most: dict[tuple[str, str], int] = {}
    for discount in quote.discounts:
        for cap in discount.caps:
            key = (discount.promotion, cap.key)
            most[key] = min(cap.most, most.get(key, cap.most))
    return [{"promotion": promotion, "key": key, "most": number} for (promotion, key), number in most.items()]


def _discounts(quote: Quote) -> list[dict[str, Any]]:
    return [
        {
            "promotion": discount.promotion,
            "key": discount.key,
            "title": dict(discount.title),
            "amount": discount.amount.amount,
            "sku_id": discount.sku_id,
            "code": discount.code,
            "data": dict(discount.data or {}),
        }
        for discount in quote.discounts
    ]
