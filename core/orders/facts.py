"""What plugins are shown of an order when they are told a fact about it."""

from __future__ import annotations

from typing import Any

from core import db
from core.catalog.service import words
from core.hooks import telling
from core.hooks.views import LineView, OrderView, RemovedView
from core.money import Money

VIEW = """
SELECT o.*, shop.code AS shop, shop.locale AS shop_locale,
       (SELECT json_agg(json_build_object('sku_code', line.sku_code, 'title', line.product_title,
                                          'quantity', line.quantity, 'total', line.total) ORDER BY line.id)
        FROM orders_line line WHERE line.order_id = o.id) AS lines
FROM orders_order o JOIN shops_shop shop ON shop.id = o.shop_id WHERE o.ref = $1
"""


async def order_view(ref: str) -> OrderView | None:
    """The order as it is now, with its contact: whoever hands it on looks at who may see that."""
    row = await db.fetchrow(VIEW, ref)
    return _view(row) if row else None


def _view(row: Any) -> OrderView:
    return OrderView(
        ref=row["ref"],
        shop=row["shop"],
        test=row["test"],
        contact_kind=row["contact_kind"],
        contact=row["contact"],
        locale=row["locale"],
        total=Money(row["total"], row["currency"]),
        payment_state=row["payment_state"],
        fulfilment_state=row["fulfilment_state"],
        lines=tuple(_line(line, row) for line in row["lines"] or ()),
        placed_at=row["created_at"],
        expires_at=row["expires_at"],
        paid_at=row["paid_at"],
        delivered_at=row["delivered_at"],
    )


def _line(line: dict[str, Any], row: Any) -> LineView:
    title = words(line["title"], row["shop_locale"])
    return LineView(line["sku_code"], title, line["quantity"], Money(line["total"], row["currency"]))


@telling.shows("order_paid", "order_delivered", "order_closed", "buyer_forgotten")
async def look(ref: str) -> telling.Views | None:
    order = await order_view(ref)
    return {"order": order} if order else None


def removed(shop: str, ref: str) -> str:
    """The subject of ``order_removed``: nothing can be looked up any more."""
    return f"{shop}/{ref}"


@telling.shows("order_removed")
async def look_back(subject: str) -> telling.Views:
    shop, _, ref = subject.partition("/")
    return {"removed": RemovedView(ref, shop)}
