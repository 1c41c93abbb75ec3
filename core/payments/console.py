"""Payments in the console: every attempt, and what the gateways said."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from msgspec import Meta

from core import db
from core.hooks import runtime
from core.ledger import service as ledger
from core.money import Money
from core.orders import words
from core.web.forms import Line, read_query
from core.web.render import page

PAGE = 50

ATTEMPTS = """
SELECT attempt.*, o.ref AS order_ref, o.test, o.contact FROM payments_attempt attempt
JOIN orders_order o ON o.id = attempt.order_id
WHERE o.shop_id = $1 AND ($2 = '' OR attempt.state = $2) AND ($3 = '' OR attempt.method = $3)
  AND ($4 = '' OR attempt.ref = upper($4) OR attempt.gateway_ref = $4 OR o.ref = upper($4))
ORDER BY attempt.id DESC LIMIT $5 OFFSET $6
"""

METHODS = """
SELECT attempt.method, count(*) AS attempts, count(*) FILTER (WHERE attempt.state = 'paid') AS paid,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM attempt.settled_at - attempt.created_at))
           FILTER (WHERE attempt.state = 'paid') AS median_seconds
FROM payments_attempt attempt JOIN orders_order o ON o.id = attempt.order_id
WHERE o.shop_id = $1 AND attempt.created_at > now() - interval '30 days' GROUP BY attempt.method ORDER BY attempt.method
"""


class Filters(msgspec.Struct):
    q: Line = ""
    state: Line = ""
    method: Line = ""
    page: Annotated[int, Meta(ge=1, le=100_000)] = 1


@get("/payments", opt={"who": "staff:payments.read"})
async def payment_list(request: Request[Any, Any, Any]) -> Response[str]:
    filters = read_query(request, Filters)
    shop = request.scope["state"]["visit"].shop
    rows = await db.fetch(
        ATTEMPTS, shop.id, filters.state, filters.method, filters.q.strip(), PAGE + 1, (filters.page - 1) * PAGE
    )
    methods = await db.fetch(METHODS, shop.id)
    context = {
        "attempts": [{**row, "money": Money(row["amount"], row["currency"])} for row in rows[:PAGE]],
        "more": len(rows) > PAGE,
        "filters": filters,
        "given": {name: value for name, value in msgspec.to_builtins(filters).items() if value not in ("", 1)},
        "methods": [{**row, "balance": await _balance(shop, row["method"])} for row in methods],
        "known_methods": [(row["method"], row["method"]) for row in methods],
        "offered": sorted(runtime.current().payment_methods),
        "states": words.ATTEMPT,
    }
    return page(request, "payments/list.html", context)


async def _balance(shop: Any, method: str) -> Money:
    return Money(await ledger.balance(shop.id, ledger.GATEWAY.format(method), shop.currency), shop.currency)
