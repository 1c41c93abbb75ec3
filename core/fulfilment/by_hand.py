"""Goods that a person makes: typed on the order's page, sealed, and handed over like any others."""

from __future__ import annotations

from typing import Any

from core import db
from core.audit import service as audit
from core.catalog import service as catalog
from core.db import Tx
from core.fulfilment import service as fulfilment
from core.orders import timeline
from core.refused import Refused
from core.review import service as review
from core.vault import bought, keys, stock
from core.vault.bought import Shelf, Text
from core.web.i18n import _

MOST = 1000

WAITING = """
SELECT line.* FROM orders_line line JOIN orders_order o ON o.id = line.order_id
WHERE line.id = $1 AND line.order_id = $2 AND line.state IN ('preparing', 'review') AND line.source <> 'codes'
  AND o.payment_state = 'paid' AND NOT o.held FOR UPDATE OF line
"""

# Where it is counted how many more there are.
USED_UP = """
UPDATE catalog_sku SET available = greatest(available - $2, 0)
WHERE id = $1 AND source = 'hand' AND available IS NOT NULL
"""


async def hand_over(
    shop_id: int, ref: str, line_id: int, pasted: str, note: str, staff_id: int, ip: str | None = None
) -> list[int]:
    """Hand typed goods over, one in each line; without any, what was to be done is done. Gives the jobs to ring for.

    :raises Refused: the line waits for nothing, a supplier may still deliver it, or a code is known already.
    """
    keys.current().check_opens_codes()
    jobs = await db.transaction(_hand_over, shop_id, ref, line_id, pasted, note, staff_id, ip)
    await catalog.changed()
    return jobs


async def _hand_over(
    tx: Tx, shop_id: int, ref: str, line_id: int, pasted: str, note: str, staff_id: int, ip: str | None
) -> list[int]:
    order = await tx.fetchrow("SELECT * FROM orders_order WHERE ref = $1 AND shop_id = $2 FOR UPDATE", ref, shop_id)
    line = await tx.fetchrow(WAITING, line_id, order["id"]) if order else None
    if order is None or line is None:
        raise Refused(_("This line does not wait for anybody."))
    if await fulfilment.is_being_bought(tx, line_id):
        raise Refused(_("A supplier may still deliver it. Decide about that purchase first."))
    masks = await _put_in(tx, order, line, bought.lines_of(pasted))
    await tx.execute("UPDATE orders_line SET state = 'delivered' WHERE id = $1", line_id)
    await tx.execute(USED_UP, line["sku_id"], line["quantity"])
    detail = {"codes": masks, "note": note.strip()[:300]}
    await timeline.add(tx, order["id"], "handed_over", f"staff:{staff_id}", detail)
    await audit.record(tx, f"staff:{staff_id}", "order.handed_over", f"order:{ref}", detail, shop_id=shop_id, ip=ip)
    await _close(tx, order, line_id, staff_id)
    done = await fulfilment.carry_on(tx, order)
    return done.jobs if done else []


async def _put_in(tx: Tx, order: Any, line: Any, texts: list[Text]) -> list[str]:
    if len(texts) > MOST:
        raise Refused(_("At most %(most)d goods in one line of an order.", most=MOST), "goods")
    if not texts:
        return []
    timezone = await tx.fetchval("SELECT timezone FROM shops_shop WHERE id = $1", order["shop_id"])
    shelf = Shelf(order["shop_id"], line["sku_id"], line["id"], "hand", order["ref"])
    taken = await bought.put_in(tx, shelf, texts, len(texts), stock.today(timezone))
    if taken.seen:
        raise Refused(_("This shop has had one of these codes before: %(mask)s", mask=taken.seen[0]), "goods")
    if taken.unfit:
        raise Refused(_("This cannot be stored as a code: %(mask)s", mask=taken.unfit[0]), "goods")
    return taken.bound


async def _close(tx: Tx, order: Any, line_id: int, staff_id: int) -> None:
    items = await tx.fetch(
        "SELECT id FROM review_item WHERE order_id = $1 AND state = 'open' AND kind = ANY($2)"
        " AND (data ->> 'line')::bigint = $3",
        order["id"],
        [fulfilment.BY_HAND, fulfilment.PURCHASE_FAILED],
        line_id,
    )
    for item in items:
        await review.resolve(tx, item["id"], staff_id, "delivered")
