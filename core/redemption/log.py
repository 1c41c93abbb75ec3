"""Reading what happened at the tills."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from core import db
from core.money import Money
from core.redemption.redeem import Answer

AT_ONCE = 100

NEWEST = """
SELECT one.id, one.at, one.act, one.outcome, one.amount, one.answer, one.place, one.caller,
       coalesce(nullif(staff.name, ''), staff.email, key.name, one.caller) AS who
FROM redemption_try one
LEFT JOIN people_staff staff ON one.caller = 'staff:' || staff.id
LEFT JOIN people_api_key key ON one.caller = 'key:' || key.id
WHERE one.shop_id = $1 AND ($2 = '' OR one.act = $2) AND ($3 = '' OR one.outcome = $3)
  AND ($4::bigint IS NULL OR one.id < $4)
ORDER BY one.id DESC LIMIT $5
"""


@dataclass(frozen=True, slots=True)
class Line:
    id: int
    at: datetime
    act: str
    outcome: str
    mask: str
    amount: Money | None
    place: str
    who: str


async def newest(shop_id: int, act: str = "", outcome: str = "", before: int | None = None) -> list[Line]:
    rows = await db.fetch(NEWEST, shop_id, act, outcome, before, AT_ONCE)
    lines = []
    for row in rows:
        card = row["answer"].get("card") or {}
        amount = Money(row["amount"], card["currency"]) if row["amount"] and card.get("currency") else None
        lines.append(
            Line(
                row["id"], row["at"], row["act"], row["outcome"], card.get("mask", ""), amount, row["place"], row["who"]
            )
        )
    return lines


async def answer_of(shop_id: int, caller: str, try_id: int) -> Answer | None:
    """The answer to a redemption or a void that this caller made."""
    answer = await db.fetchval(
        "SELECT answer FROM redemption_try WHERE id = $1 AND shop_id = $2 AND caller = $3 AND act <> 'verify'",
        try_id,
        shop_id,
        caller,
    )
    return msgspec.convert(answer, Answer) if answer else None
