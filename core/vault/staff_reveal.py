"""Staff look at a delivered code: with a reason, within a daily cap, and its buyer can see that they did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core import clock, db
from core.audit import service as audit
from core.db import Tx
from core.refused import Refused
from core.vault import keys
from core.vault.reveal import CODES_OF_ORDER, RevealedCode, burned, opened
from core.web.i18n import _, ngettext

SHORTEST_REASON = 5

CODES = f"""
{CODES_OF_ORDER} JOIN orders_order ON orders_order.id = line.order_id
WHERE orders_order.shop_id = $1 AND orders_order.ref = $2 AND ($3::bigint IS NULL OR code.id = $3)
ORDER BY code.line_id, code.id
"""

# The row of the day decides, however many requests come at once.
COUNT = """
UPDATE vault_staff_day SET codes = codes + $3
WHERE staff_id = $1 AND day = $2 AND codes + $3 <= $4 RETURNING codes
"""
FIRST_REFUSAL = """
UPDATE vault_staff_day SET refused_at = $3 WHERE staff_id = $1 AND day = $2 AND refused_at IS NULL RETURNING codes
"""

WRITE_DOWN = """
WITH log AS (
    INSERT INTO vault_reveal (code_id, line_id, staff_id, ip, agent)
    SELECT code_id, line_id, $1, $2, $3 FROM unnest($4::bigint[], $5::bigint[]) AS seen (code_id, line_id)
)
INSERT INTO orders_event (order_id, kind, actor, data)
SELECT order_id, 'staff_revealed', 'staff:' || $1::bigint, $6::jsonb FROM orders_line WHERE id = ($5::bigint[])[1]
"""


@dataclass(frozen=True, slots=True)
class Onlooker:
    """Who wants to look, from where, and at how many codes they may look in a day."""

    shop_id: int
    staff_id: int
    most_per_day: int
    ip: str | None = None
    agent: str = ""


async def look(who: Onlooker, ref: str, reason: str, code_id: int | None = None) -> list[RevealedCode]:
    """One delivered code of an order, or all of them; written down where the buyer, and the audit log, see it.

    :raises Refused: no reason, nothing to show, or more codes than this person may see today.
    """
    reason = " ".join(reason.split())[:300]
    if len(reason) < SHORTEST_REASON:
        raise Refused(_("Write down why you need to see it."), "reason")
    keys.current().check_opens_codes()
    codes = await db.transaction(_look, who, ref, reason, code_id)
    if codes is None:
        raise enough(who)  # said after the alarm was committed
    return codes


def enough(who: Onlooker) -> Refused:
    return Refused(
        ngettext(
            "You may look at %(num)s code in a day. Ask a colleague, or an owner to raise the number.",
            "You may look at %(num)s codes in a day. Ask a colleague, or an owner to raise the number.",
            who.most_per_day,
        )
    )


async def _look(tx: Tx, who: Onlooker, ref: str, reason: str, code_id: int | None) -> list[RevealedCode] | None:
    rows = await tx.fetch(CODES, who.shop_id, ref, code_id)
    now = clock.now()
    kept = [row for row in rows if not burned(row, now)]
    if not kept:
        raise Refused(_("Erased for good: nobody can show it any more.") if rows else _("There is no code to show."))
    if not await counted(tx, who, ref, len(kept)):
        return None
    await tx.execute(
        WRITE_DOWN,
        who.staff_id,
        who.ip,
        who.agent[:300],
        [row["id"] for row in kept],
        [row["line_id"] for row in kept],
        {"codes": len(kept), "reason": reason},
    )
    await audit.record(
        tx,
        f"staff:{who.staff_id}",
        "codes.revealed",
        f"order:{ref}",
        {"codes": len(kept), "masks": ", ".join(row["mask"] for row in kept[:5]), "reason": reason},
        shop_id=who.shop_id,
        ip=who.ip,
    )
    return opened(kept)


async def counted(tx: Tx, who: Onlooker, ref: str, codes: int) -> bool:
    """Count codes that this person is about to see; False, with an alarm, when those are more than a day's."""
    if await _within_the_day(tx, who, codes):
        return True
    await _alarm(tx, who, ref, codes)
    return False


async def _within_the_day(tx: Tx, who: Onlooker, codes: int) -> bool:
    today = clock.now().date()
    await tx.execute(
        "INSERT INTO vault_staff_day (staff_id, day) VALUES ($1, $2) ON CONFLICT DO NOTHING", who.staff_id, today
    )
    return await tx.fetchval(COUNT, who.staff_id, today, codes, who.most_per_day) is not None


async def _alarm(tx: Tx, who: Onlooker, ref: str, codes: int) -> None:
    """Once for a person and a day."""
    now = clock.now()
    seen = await tx.fetchval(FIRST_REFUSAL, who.staff_id, now.date(), now)
    if seen is None:
        return
    facts: dict[str, Any] = {"order": ref, "seen_today": seen, "asked_for": codes}
    await audit.alarm(tx, "staff.too_many_codes", f"staff:{who.staff_id}", "", facts, shop_id=who.shop_id, ip=who.ip)


async def left_today(staff_id: int, most_per_day: int) -> int:
    """How many more codes this person may look at today."""
    seen = await db.fetchval(
        "SELECT codes FROM vault_staff_day WHERE staff_id = $1 AND day = $2", staff_id, clock.now().date()
    )
    return max(0, most_per_day - (seen or 0))
