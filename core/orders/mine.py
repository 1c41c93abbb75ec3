"""The orders a visitor may see, for plugins that show buyers something about them."""

from __future__ import annotations

from core import db
from core.web.visit import Visit

MOST = 200

OF_SESSION = """
SELECT o.ref FROM orders_access access JOIN orders_order o ON o.id = access.order_id
WHERE access.session_hash = $1 AND o.shop_id = $2 ORDER BY o.id DESC LIMIT $3
"""


async def orders_of_visitor(visit: Visit) -> list[str]:
    """The references of the orders this browser placed or opened by a mailed link, the newest first, 200 at most.

    Empty on pages that do not look at the session, and for whoever is not known.
    """
    if visit.session is None:
        return []
    rows = await db.fetch(OF_SESSION, visit.session.id_hash, visit.shop.id, MOST)
    return [row["ref"] for row in rows]
