"""The review queue: what a person must decide, oldest first."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from core import db
from core.orders import words
from core.web.i18n import in_language
from core.web.render import page


@get("/review", opt={"who": "staff:review.read"})
async def queue(request: Request[Any, Any, Any]) -> Response[str]:
    shop_id = request.scope["state"]["visit"].shop.id
    items = await db.fetch(
        "SELECT item.*, o.ref, o.contact FROM review_item item LEFT JOIN orders_order o ON o.id = item.order_id"
        " WHERE item.shop_id = $1 AND item.state = 'open' ORDER BY item.id LIMIT 200",
        shop_id,
    )
    done = await db.fetch(
        "SELECT item.*, o.ref, staff.name, staff.email FROM review_item item"
        " LEFT JOIN orders_order o ON o.id = item.order_id LEFT JOIN people_staff staff ON staff.id = item.resolved_by"
        " WHERE item.shop_id = $1 AND item.state = 'done' ORDER BY item.resolved_at DESC LIMIT 20",
        shop_id,
    )
    shown = [{**item, "reason": in_language(item["reason"])} for item in items]
    return page(request, "review/queue.html", {"items": shown, "done": done, "kinds": words.REVIEW})
