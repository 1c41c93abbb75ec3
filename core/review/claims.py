"""Who works on a question, so that two people do not. A claim runs out by itself and can be taken over knowingly."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from core import clock
from core.audit import service as audit
from core.db import Tx
from core.refused import Refused
from core.web.i18n import _

LASTS = timedelta(minutes=15)

CLAIM = """
UPDATE review_item SET claimed_by = $3, claimed_at = $4
WHERE id = $1 AND shop_id = $2 AND state = 'open' AND (claimed_by IS NULL OR claimed_by = $3 OR claimed_at < $5)
RETURNING id
"""
TAKE_OVER = """
UPDATE review_item SET claimed_by = $3, claimed_at = $4
WHERE id = $1 AND shop_id = $2 AND state = 'open' AND claimed_by = $5 RETURNING id
"""


async def claim(tx: Tx, shop_id: int, item_id: int, staff_id: int) -> None:
    """Work on it for the next while; asked again, for longer.

    :raises Refused: it was decided, or somebody else is at it.
    """
    now = clock.now()
    if await tx.fetchval(CLAIM, item_id, shop_id, staff_id, now, now - LASTS) is None:
        raise Refused(await _why_not(tx, shop_id, item_id))


async def take_over(tx: Tx, shop_id: int, item_id: int, staff_id: int, from_id: int, ip: str | None) -> None:
    """Work on it instead of the person named, who may be away.

    :raises Refused: it was decided, or is not that person's any more.
    """
    if await tx.fetchval(TAKE_OVER, item_id, shop_id, staff_id, clock.now(), from_id) is None:
        raise Refused(await _why_not(tx, shop_id, item_id))
    detail = {"from": f"staff:{from_id}"}
    await audit.record(
        tx, f"staff:{staff_id}", "review.taken_over", f"review:{item_id}", detail, shop_id=shop_id, ip=ip
    )


async def release(tx: Tx, shop_id: int, item_id: int, staff_id: int) -> None:
    """Leave it to others.

    :raises Refused: it is not theirs (any more).
    """
    released = await tx.fetchval(
        "UPDATE review_item SET claimed_by = NULL, claimed_at = NULL"
        " WHERE id = $1 AND shop_id = $2 AND state = 'open' AND claimed_by = $3 RETURNING id",
        item_id,
        shop_id,
        staff_id,
    )
    if released is None:
        raise Refused(await _why_not(tx, shop_id, item_id))


def holder(item: Any) -> int | None:
    """Who works on it now."""
    if item["claimed_by"] is None or item["claimed_at"] < clock.now() - LASTS:
        return None
    return int(item["claimed_by"])


async def check_free_for(tx: Tx, item: Any, staff_id: int) -> None:
    """:raises Refused: somebody else works on it."""
    if holder(item) not in (None, staff_id):
        raise Refused(await _why_not(tx, item["shop_id"], item["id"]))


async def _why_not(tx: Tx, shop_id: int, item_id: int) -> Any:
    row = await tx.fetchrow(
        "SELECT item.state, coalesce(nullif(staff.name, ''), staff.email) AS name FROM review_item item"
        " LEFT JOIN people_staff staff ON staff.id = item.claimed_by WHERE item.id = $1 AND item.shop_id = $2",
        item_id,
        shop_id,
    )
    if row is None:
        return _("There is no such question.")
    if row["state"] == "done":
        return _("This was decided already.")
    if row["name"] is None:
        return _("Nobody works on this now.")
    return _("%(name)s works on this now. Take it over first, or wait.", name=row["name"])
