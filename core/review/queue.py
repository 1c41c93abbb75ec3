"""The review queue as staff sees it: what is open, what was decided, and what risk rules found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core import clock, db
from core.review import claims
from core.web.i18n import in_language, told

PAGE = 50

FROM = """
FROM review_item item LEFT JOIN orders_order o ON o.id = item.order_id
LEFT JOIN people_staff holder ON holder.id = item.claimed_by
LEFT JOIN people_staff decider ON decider.id = item.resolved_by
WHERE item.shop_id = $1 AND item.state = $2 AND ($3 = '' OR item.kind = $3)
  AND ($4 = '' OR o.ref = upper($4) OR o.contact = lower($4))
  AND ($5 = '' OR ($5 = 'mine' AND item.claimed_by = $6 AND item.claimed_at >= $7)
       OR ($5 = 'free' AND (item.claimed_by IS NULL OR item.claimed_at < $7)))
"""
ITEMS = f"""
SELECT item.*, o.ref, o.contact, o.total, o.currency, o.test, o.held,
       coalesce(nullif(holder.name, ''), holder.email) AS holder_name,
       coalesce(nullif(decider.name, ''), decider.email) AS decider_name
{FROM} ORDER BY CASE WHEN item.state = 'done' THEN item.resolved_at END DESC, item.id LIMIT $8 OFFSET $9
"""
KINDS = "SELECT kind, count(*) AS n FROM review_item WHERE shop_id = $1 AND state = 'open' GROUP BY kind ORDER BY kind"
EVIDENCE = """
SELECT * FROM review_evidence WHERE {} = ANY($1)
ORDER BY action = 'refuse' DESC, action = 'review' DESC, score DESC, id
"""

# How often each rule had something to say lately, and how those orders ended.
LATELY = """
SELECT evidence.rule, count(*) AS findings, count(*) FILTER (WHERE evidence.action = 'note') AS noted,
       count(DISTINCT evidence.refused_id) AS refused,
       count(DISTINCT o.id) FILTER (WHERE o.held) AS held,
       count(DISTINCT item.order_id) FILTER (WHERE item.resolution = 'approved') AS approved
FROM review_evidence evidence LEFT JOIN orders_order o ON o.id = evidence.order_id
LEFT JOIN review_refused refused ON refused.id = evidence.refused_id
LEFT JOIN review_item item ON item.order_id = evidence.order_id AND item.kind = 'risk'
WHERE coalesce(o.shop_id, refused.shop_id) = $1 AND evidence.at > now() - interval '30 days'
GROUP BY evidence.rule
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    q: str = ""
    kind: str = ""
    whose: str = ""
    state: str = "open"
    page: int = 1


async def items(shop_id: int, staff_id: int, wanted: Wanted) -> tuple[list[dict[str, Any]], int]:
    """One page of questions: what is open oldest first, what was decided newest first; and how many there are."""
    given = (shop_id, wanted.state, wanted.kind, wanted.q.strip(), wanted.whose, staff_id, clock.now() - claims.LASTS)
    rows = await db.fetch(ITEMS, *given, PAGE, (wanted.page - 1) * PAGE)
    total = await db.fetchval(f"SELECT count(*) {FROM}", *given)
    found = await evidence_of([row["order_id"] for row in rows if row["kind"] == "risk"])
    return [
        {
            **row,
            "reason": in_language(row["reason"]),
            "holder": claims.holder(row),
            "evidence": found.get(row["order_id"], []) if row["kind"] == "risk" else [],
        }
        for row in rows
    ], total


async def open_kinds(shop_id: int) -> dict[str, int]:
    return {row["kind"]: row["n"] for row in await db.fetch(KINDS, shop_id)}


async def evidence_of(order_ids: list[int]) -> dict[int, list[dict[str, Any]]]:
    """What rules found about each of these orders, what weighs most first."""
    return await _evidence("order_id", order_ids)


async def _evidence(column: str, ids: list[int]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in await db.fetch(EVIDENCE.format(column), ids) if ids else []:
        found.setdefault(row[column], []).append({**row, "reason": told(row["reason"])})
    return found


async def evidence_of_refused(refused_ids: list[int]) -> dict[int, list[dict[str, Any]]]:
    """The same of orders that were not placed."""
    return await _evidence("refused_id", refused_ids)


async def lately(shop_id: int) -> dict[str, Mapping[str, Any]]:
    """By rule: what came of it in the last 30 days."""
    return {row["rule"]: row for row in await db.fetch(LATELY, shop_id)}
