"""Copy-and-burn: a code that was shown is erased after its window, or at once when its buyer says so.

What is erased is the sealed text, and with it what the supplier answered about that line, where it stands too.
Fingerprint, mask and times stay, so that a dispute can still be settled.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from core import clock, db
from core.audit import service as audit
from core.db import Tx
from core.refused import Refused
from core.web.i18n import _

AT_ONCE = 500

# A purchase that is still in doubt keeps its answers: codes nobody has yet may stand there alone.
FORGET_ANSWERS = """
DELETE FROM supply_answer answer USING supply_purchase purchase
WHERE purchase.id = answer.purchase_id AND purchase.state IN ('done', 'failed') AND purchase.line_id = ANY({lines})
"""

# Only what this very session was shown: a link in somebody else's hands erases nothing.
BURN_SHOWN = """
UPDATE vault_code SET blob = NULL, burned_at = $3
FROM orders_line line
JOIN orders_order ON orders_order.id = line.order_id AND orders_order.ref = $1
JOIN orders_access ON orders_access.order_id = orders_order.id AND orders_access.session_hash = $2
WHERE vault_code.line_id = line.id AND vault_code.state = 'delivered'
  AND vault_code.shown_to = $2 AND vault_code.burned_at IS NULL
RETURNING orders_order.id AS order_id, orders_order.shop_id, line.id AS line_id
"""

BURN_DUE = f"""
WITH due AS MATERIALIZED (
    SELECT id FROM vault_code WHERE burn_at <= $1 AND burned_at IS NULL
    ORDER BY burn_at LIMIT $2 FOR UPDATE SKIP LOCKED
), burned AS (
    UPDATE vault_code SET blob = NULL, burned_at = $1 WHERE id IN (SELECT id FROM due) RETURNING line_id
), answers AS (
    {FORGET_ANSWERS.format(lines="ARRAY(SELECT line_id FROM burned)")}
), told AS (
    INSERT INTO orders_event (order_id, kind, actor, data)
    SELECT line.order_id, 'burned', 'system', jsonb_build_object('codes', count(*))
    FROM burned JOIN orders_line line ON line.id = burned.line_id GROUP BY line.order_id
)
SELECT count(*) FROM burned
"""  # noqa: S608 - put together from constants


async def burn_shown(ref: str, session_hash: bytes, ip: str | None = None) -> int:
    """Erase at once what this session was shown of an order sold as copy-and-burn; gives the number of codes.

    :raises Refused: there is nothing of that kind.
    """
    return await db.transaction(_burn_shown, ref, session_hash, ip)


async def _burn_shown(tx: Tx, ref: str, session_hash: bytes, ip: str | None) -> int:
    rows = await tx.fetch(BURN_SHOWN, ref, session_hash, clock.now())
    if not rows:
        raise Refused(_("There is nothing here to erase."))
    await tx.execute(FORGET_ANSWERS.format(lines="$1"), [row["line_id"] for row in rows])
    burned: dict[str, Any] = {"codes": len(rows)}
    await tx.execute(
        "INSERT INTO orders_event (order_id, kind, actor, data) VALUES ($1, 'burned', 'buyer', $2)",
        rows[0]["order_id"],
        burned,
    )
    await audit.record(tx, "buyer", "codes.burned", f"order:{ref}", burned, shop_id=rows[0]["shop_id"], ip=ip)
    return len(rows)


async def burn_due(tx: Tx, now: datetime) -> int:
    """Erase up to ``AT_ONCE`` codes whose window was over at ``now``; gives how many."""
    burned = int(await tx.fetchval(BURN_DUE, now, AT_ONCE))
    if burned:
        await audit.record(tx, "system", "codes.burned", "vault", {"codes": burned})
    return burned
