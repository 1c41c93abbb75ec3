"""How to use what was bought, line by line, and whether it worked for the buyer.

A line has the guide that its SKU (else its product) has today: a step that a merchant corrects is right for everybody
who has bought already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core import clock, db
from core.catalog.devices import DEVICES
from core.refused import Refused
from core.web.i18n import _

Words = dict[str, str]

OF_ORDER = """
SELECT line.id, guide.texts, guide.link, answer.worked
FROM orders_line line
JOIN catalog_sku sku ON sku.id = line.sku_id
JOIN catalog_product product ON product.id = sku.product_id
LEFT JOIN catalog_guide guide ON guide.id = coalesce(sku.guide_id, product.guide_id)
LEFT JOIN orders_worked answer ON answer.line_id = line.id
WHERE line.order_id = $1 ORDER BY line.id
"""

# Only for whoever may see the order, and only once it was delivered.
SAY = """
WITH mine AS (
    SELECT line.id, sku.product_id, coalesce(sku.guide_id, product.guide_id) AS guide_id
    FROM orders_order o
    JOIN orders_access access ON access.order_id = o.id AND access.session_hash = $3
    JOIN orders_line line ON line.order_id = o.id AND line.id = $2
    JOIN catalog_sku sku ON sku.id = line.sku_id
    JOIN catalog_product product ON product.id = sku.product_id
    WHERE o.ref = $1 AND o.fulfilment_state = 'delivered'
), said AS (
    INSERT INTO orders_worked (line_id, product_id, guide_id, worked, device, at)
    SELECT id, product_id, guide_id, $4, $5, $6 FROM mine ON CONFLICT (line_id) DO NOTHING RETURNING line_id
), event AS (
    INSERT INTO orders_event (order_id, kind, actor, data)
    SELECT o.id, CASE WHEN $4 THEN 'worked' ELSE 'did_not_work' END, 'buyer',
           jsonb_build_object('line', $2, 'device', $5::text)
    FROM orders_order o WHERE o.ref = $1 AND EXISTS (SELECT 1 FROM said)
)
SELECT count(*) FROM mine
"""


@dataclass(frozen=True, slots=True)
class Use:
    """How a line is used: texts by device, in the order of ``DEVICES``; ``worked`` is None until the buyer says."""

    texts: dict[str, Words]
    link: str
    worked: bool | None

    def best(self, device: str) -> str:
        """The device whose steps are shown first to somebody on ``device``."""
        fitting = (one for one in (device, "any", *self.texts) if one in self.texts)
        return next(fitting, "")


async def of_order(order_id: int) -> dict[int, Use]:
    """By line."""
    return {row["id"]: _use(row) for row in await db.fetch(OF_ORDER, order_id)}


def _use(row: Any) -> Use:
    texts = row["texts"] or {}
    written = {device: texts[device] for device in DEVICES if any((texts.get(device) or {}).values())}
    return Use(written, row["link"] or "", row["worked"])


async def say(ref: str, line_id: int, session_hash: bytes, worked: bool, device: str) -> None:
    """The buyer says whether a line worked; the first answer stands.

    :raises Refused: that session has no such line, or it was not delivered.
    """
    if not await db.fetchval(SAY, ref, line_id, session_hash, worked, device, clock.now()):
        raise Refused(_("This is not a line of your order."), "line")
