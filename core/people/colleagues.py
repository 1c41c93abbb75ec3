"""The staff of a shop, for pages of plugins that give work to one of them."""

from __future__ import annotations

from dataclasses import dataclass

from core import db
from core.people import rights
from core.web.visit import Visit

OF_SHOP = """
SELECT id, role, coalesce(nullif(name, ''), email) AS name FROM people_staff
WHERE shop_id = $1 AND disabled_at IS NULL ORDER BY name, id
"""


@dataclass(frozen=True, slots=True)
class Colleague:
    """A member of staff: ``id`` as in ``visit.session.staff_id``, and the name as colleagues know it."""

    id: int
    name: str


async def colleagues(visit: Visit, act: str) -> list[Colleague]:
    """The staff of this shop who may do ``act``, by name. Empty for whoever is not staff."""
    if visit.session is None or visit.session.staff_id is None:
        return []
    rows = await db.fetch(OF_SHOP, visit.shop.id)
    return [Colleague(row["id"], row["name"]) for row in rows if rights.may(row["role"], act)]
