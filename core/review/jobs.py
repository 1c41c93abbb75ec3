"""What plugins are shown of a question that waits for a person, and what is forgotten in time."""

from __future__ import annotations

from core import db
from core.hooks import telling
from core.hooks.views import ReviewView
from core.jobs import Lease, every
from core.review import assess
from core.web.i18n import in_language, speaking

ITEM = """
SELECT item.*, shop.code AS shop, shop.locale, coalesce(o.ref, '') AS order_ref
FROM review_item item JOIN shops_shop shop ON shop.id = item.shop_id LEFT JOIN orders_order o ON o.id = item.order_id
WHERE item.id = $1
"""


@telling.shows("review_opened")
async def look(number: str) -> telling.Views | None:
    row = await db.fetchrow(ITEM, int(number))
    if row is None:
        return None
    with speaking(row["locale"]):
        reason = in_language(row["reason"])
    review = ReviewView(
        number=row["id"],
        shop=row["shop"],
        kind=row["kind"],
        reason=reason,
        order_ref=row["order_ref"],
        opened_at=row["created_at"],
        open=row["state"] == "open",
    )
    return {"review": review}


@every(3600, "review.forget_refused")
async def forget_refused(lease: Lease) -> None:
    await assess.sweep()
