"""The messages: writing each once, reading those one may see, and how many are unread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.api import Money, PluginDb, _

ADD = """
INSERT INTO notifiers_inbox_message (shop, reader, kind, key, order_ref, data) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (key) DO NOTHING
"""

UNREAD_OF_STAFF = """
SELECT count(*) FROM (
    SELECT 1 FROM notifiers_inbox_message WHERE shop = $1 AND reader = 'staff' AND kind = ANY($3)
    AND id > coalesce((SELECT up_to FROM notifiers_inbox_read WHERE staff_id = $2), 0) LIMIT 100) AS unread
"""

OF_STAFF = """
SELECT message.*, message.id <= coalesce((SELECT up_to FROM notifiers_inbox_read WHERE staff_id = $2), 0) AS seen
FROM notifiers_inbox_message message
WHERE shop = $1 AND reader = 'staff' AND kind = ANY($3) AND ($4::bigint = 0 OR id < $4) ORDER BY id DESC LIMIT $5
"""

READ_BY_STAFF = """
INSERT INTO notifiers_inbox_read (staff_id, up_to) VALUES ($1, $2)
ON CONFLICT (staff_id) DO UPDATE SET up_to = greatest(notifiers_inbox_read.up_to, $2)
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """One message as it is read. ``path`` leads to what it is about."""

    id: int
    title: Any
    text: Any
    path: str
    at: datetime
    seen: bool


@dataclass(frozen=True, slots=True)
class New:
    shop: str
    kind: str
    key: str
    order_ref: str = ""
    data: Mapping[str, Any] | None = None


async def to_buyer(db: PluginDb, new: New) -> None:
    await db.execute(ADD, new.shop, "buyer", new.kind, f"buyer:{new.key}", new.order_ref, dict(new.data or {}))


async def to_staff(db: PluginDb, new: New) -> None:
    await db.execute(ADD, new.shop, "staff", new.kind, f"staff:{new.key}", new.order_ref, dict(new.data or {}))


# -- buyers -----------------------------------------------------------------------------


async def unread_of_buyer(db: PluginDb, refs: Sequence[str]) -> int:
    if not refs:
        return 0
    return int(
        await db.fetchval(
            "SELECT count(*) FROM notifiers_inbox_message"
            " WHERE reader = 'buyer' AND order_ref = ANY($1) AND read_at IS NULL",
            list(refs),
        )
    )


async def of_buyer(db: PluginDb, refs: Sequence[str]) -> list[Shown]:
    rows = await db.fetch(
        "SELECT * FROM notifiers_inbox_message WHERE reader = 'buyer' AND order_ref = ANY($1)"
        " ORDER BY id DESC LIMIT 100",
        list(refs),
    )
    return [_for_buyer(row) for row in rows]


async def read_by_buyer(db: PluginDb, refs: Sequence[str], up_to: int) -> None:
    """``up_to`` is the newest message that was on the page: one that came meanwhile stays unread."""
    await db.execute(
        "UPDATE notifiers_inbox_message SET read_at = now()"
        " WHERE reader = 'buyer' AND order_ref = ANY($1) AND id <= $2 AND read_at IS NULL",
        list(refs),
        up_to,
    )


def _for_buyer(row: Any) -> Shown:
    ref = row["order_ref"]
    titles = {
        "paid": _("Order %(ref)s is paid", ref=ref),
        "delivered": _("Order %(ref)s is ready", ref=ref),
        "refunded": _("Money of order %(ref)s went back to you", ref=ref),
    }
    texts = {
        "paid": _("We are getting your goods ready."),
        "delivered": _("Open the order to see your goods."),
        "refunded": _amount(row["data"]),
    }
    kind = row["kind"]
    return Shown(row["id"], titles[kind], texts[kind], f"/o/{ref}", row["made_at"], row["read_at"] is not None)


def _amount(data: Mapping[str, Any]) -> Any:
    """``|money`` writes it in the language of the page."""
    return Money(data["amount"], data["currency"]) if "amount" in data else ""


# -- staff ------------------------------------------------------------------------------

NEEDS = {"review": "review.read", "stock": "stock.read", "job": "jobs.read"}
"""The act that staff must be allowed, to be told of a kind of thing."""


def kinds_for(session: Any) -> list[str]:
    return [kind for kind, act in NEEDS.items() if session.may(act)]


async def unread_of_staff(db: PluginDb, shop: str, staff_id: int, kinds: Sequence[str]) -> int:
    return int(await db.fetchval(UNREAD_OF_STAFF, shop, staff_id, list(kinds)))


async def of_staff(
    db: PluginDb, shop: str, staff_id: int, kinds: Sequence[str], before: int, limit: int
) -> list[Shown]:
    """The newest first; ``before`` is the last one that was shown already, 0 for none."""
    rows = await db.fetch(OF_STAFF, shop, staff_id, list(kinds), before, limit)
    return [_for_staff(row) for row in rows]


async def read_by_staff(db: PluginDb, staff_id: int, up_to: int) -> None:
    await db.execute(READ_BY_STAFF, staff_id, up_to)


def _for_staff(row: Any) -> Shown:
    data, ref = row["data"], row["order_ref"]
    match row["kind"]:
        case "review":
            title: Any = (
                _("Order %(ref)s waits for a decision", ref=ref) if ref else _("Something waits for a decision")
            )
            path, text = (f"/admin/orders/{ref}" if ref else "/admin/review"), data["reason"]
        case "stock":
            title = _("%(title)s runs low", title=data["title"])
            path = "/admin/stock"
            text = _("%(sku)s: %(left)s left", sku=data["sku"], left=data["left"])
        case _:
            title, path, text = _("A job has failed"), f"/admin/jobs/{data['job']}", f"{data['name']}: {data['error']}"
    return Shown(row["id"], title, text, path, row["made_at"], row["seen"])


async def sweep(db: PluginDb, days: int) -> None:
    await db.execute(
        "DELETE FROM notifiers_inbox_message WHERE made_at < now() - make_interval(days => $1)",
        days,
    )
