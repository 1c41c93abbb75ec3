"""Tickets: opening, speaking, taking, closing, merging. The database keeps the limits.

Every change is one short transaction that holds the ticket's row; what a buyer writes is counted in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from core.api import PluginDb, PluginTx, Refused, _

Row = Mapping[str, Any]

MOST_OPEN = 3
MOST_POSTS = 20
LONGEST = 4000

COUNT = """
INSERT INTO apps_tickets_hour AS so_far (order_ref, hour, posts) VALUES ($1, date_trunc('hour', $2::timestamptz), 1)
ON CONFLICT (order_ref, hour) DO UPDATE SET posts = so_far.posts + 1 WHERE so_far.posts < $3 RETURNING posts
"""

# Two at once take one place; the second is told that there is none.
OPEN = """
INSERT INTO apps_tickets_ticket (shop, order_ref, line_id, code_id, code_mask, about, reason, place, locale, device,
    evidence, opened_at, waiting_since)
SELECT $1, $2, $3, $4, $5, $6, $7, place, $8, $9, $10, $11, $11 FROM (
    SELECT min(place) AS place FROM generate_series(1, $12::integer) place
    WHERE place NOT IN (SELECT place FROM apps_tickets_ticket WHERE order_ref = $2 AND place IS NOT NULL)) AS free
WHERE place IS NOT NULL ON CONFLICT (order_ref, place) DO NOTHING RETURNING id
"""

REOPEN = """
UPDATE apps_tickets_ticket SET state = $2, solved_at = NULL, helped = NULL, waiting_since = $3, place = (
    SELECT min(place) FROM generate_series(1, $4::integer) place
    WHERE place NOT IN (SELECT place FROM apps_tickets_ticket WHERE order_ref = $5 AND place IS NOT NULL))
WHERE id = $1
"""

SAY = """
INSERT INTO apps_tickets_message (ticket_id, author, kind, staff_id, staff_name, text, at)
VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id
"""

MESSAGES = """
SELECT message.*, coalesce((SELECT array_agg(image.id ORDER BY place) FROM apps_tickets_image image
                            WHERE image.message_id = message.id), '{}') AS images
FROM apps_tickets_message message WHERE ticket_id = $1 ORDER BY message.id
"""

UNREAD = """
EXISTS (SELECT 1 FROM apps_tickets_message message WHERE message.ticket_id = ticket.id AND message.author = 'staff'
        AND message.id > ticket.buyer_seen)
"""

OF_ORDERS = f"""
SELECT ticket.*, {UNREAD} AS unread FROM apps_tickets_ticket ticket
WHERE shop = $1 AND order_ref = ANY($2) AND merged_into IS NULL ORDER BY (state = 'solved'), id DESC LIMIT 100
"""  # noqa: S608 - put together from constants

FOUND = """
FROM apps_tickets_ticket ticket WHERE shop = $1 AND merged_into IS NULL
  AND CASE $2 WHEN '' THEN state <> 'solved' WHEN 'all' THEN true ELSE state = $2 END
  AND CASE WHEN $3::bigint IS NULL THEN true WHEN $3 = 0 THEN holder IS NULL ELSE holder = $3 END
  AND ($4 = '' OR reason = $4) AND ($5 = '' OR order_ref = upper($5) OR id::text = ltrim($5, '#'))
  AND ($6::timestamptz IS NULL OR (state = 'open' AND waiting_since < $6))
"""

SEARCH = """
SELECT id, about, order_ref FROM apps_tickets_ticket WHERE shop = $1 AND merged_into IS NULL
  AND (order_ref = upper($2) OR id::text = ltrim($2, '#') OR about ILIKE $3) ORDER BY id DESC LIMIT 5
"""

LIST = f"""
SELECT ticket.*, (SELECT count(*) FROM apps_tickets_message message WHERE message.ticket_id = ticket.id
                  AND author IN ('buyer', 'staff')) AS said
{FOUND} ORDER BY array_position(ARRAY['open', 'waiting', 'solved'], state),
    CASE WHEN state <> 'solved' THEN waiting_since END, solved_at DESC, id LIMIT $7 OFFSET $8
"""  # noqa: S608 - put together from constants

FIGURES = """
SELECT count(*) FILTER (WHERE state = 'open') AS open,
       count(*) FILTER (WHERE state = 'open' AND waiting_since < $2) AS late,
       count(*) FILTER (WHERE state = 'waiting') AS waiting,
       min(waiting_since) FILTER (WHERE state = 'open') AS oldest,
       count(*) FILTER (WHERE helped) AS helped, count(*) FILTER (WHERE helped IS NOT NULL) AS judged
FROM apps_tickets_ticket WHERE shop = $1 AND merged_into IS NULL
"""


@dataclass(frozen=True, slots=True)
class Image:
    type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class New:
    """A ticket as its buyer opens it. ``text`` holds no code any more."""

    shop: str
    order_ref: str
    reason: str
    locale: str
    text: str = ""
    line_id: int | None = None
    code_id: int | None = None
    code_mask: str = ""
    about: str = ""
    device: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    images: Sequence[Image] = ()


@dataclass(frozen=True, slots=True)
class Who:
    """A member of staff."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the list is asked for. ``holder`` 0 is nobody, None anybody; ``late``: waits for us since before then."""

    state: str = ""
    holder: int | None = None
    reason: str = ""
    q: str = ""
    late: datetime | None = None


# -- looking ----------------------------------------------------------------------------


async def one(db: PluginDb | PluginTx, shop: str, ticket_id: int) -> Row | None:
    return await db.fetchrow("SELECT * FROM apps_tickets_ticket WHERE id = $1 AND shop = $2", ticket_id, shop)


async def search(db: PluginDb, shop: str, text: str) -> list[Row]:
    """The newest few whose number, order or goods these are."""
    return await db.fetch(SEARCH, shop, text, like(text))


def like(text: str) -> str:
    return "%" + re.sub(r"([\\%_])", r"\\\1", text) + "%"


async def messages(db: PluginDb, ticket_id: int) -> list[Row]:
    return await db.fetch(MESSAGES, ticket_id)


async def image(db: PluginDb, ticket_id: int, image_id: int, *, notes: bool) -> Image | None:
    """``notes``: also one of a message that is for staff alone."""
    row = await db.fetchrow(
        "SELECT image.type, image.body FROM apps_tickets_image image"
        " JOIN apps_tickets_message message ON message.id = image.message_id"
        " WHERE image.id = $1 AND message.ticket_id = $2 AND ($3 OR message.author <> 'note')",
        image_id,
        ticket_id,
        notes,
    )
    return Image(row["type"], row["body"]) if row else None


async def of_orders(db: PluginDb, shop: str, refs: Sequence[str]) -> list[Row]:
    """Tickets of these orders, the unsolved first; ``unread`` says that staff wrote since its buyer looked."""
    return await db.fetch(OF_ORDERS, shop, list(refs)) if refs else []


async def found(db: PluginDb, shop: str, wanted: Wanted, page: int, size: int) -> tuple[list[Row], int]:
    """One page of the list, what waits longest for us first, and how many there are in all."""
    asked = (shop, wanted.state, wanted.holder, wanted.reason, wanted.q.strip(), wanted.late)
    rows = await db.fetch(LIST, *asked, size, (page - 1) * size)
    return rows, int(await db.fetchval(f"SELECT count(*) {FOUND}", *asked))


async def figures(db: PluginDb, shop: str, late: datetime) -> Row:
    [row] = await db.fetch(FIGURES, shop, late)
    return row


async def seen(db: PluginDb, ticket_id: int, up_to: int) -> None:
    await db.execute(
        "UPDATE apps_tickets_ticket SET buyer_seen = greatest(buyer_seen, $2) WHERE id = $1", ticket_id, up_to
    )


# -- the buyer --------------------------------------------------------------------------


async def open_one(tx: PluginTx, new: New, at: datetime) -> int:
    """:raises Refused: three are open for this order, or too much was written within the hour."""
    await _count(tx, new.order_ref, at)
    ticket_id = await tx.fetchval(
        OPEN,
        new.shop,
        new.order_ref,
        new.line_id,
        new.code_id,
        new.code_mask,
        new.about,
        new.reason,
        new.locale,
        new.device[:300],
        dict(new.evidence),
        at,
        MOST_OPEN,
    )
    if ticket_id is None:
        raise Refused(_("Three questions about this order are open already. Please write into one of them."))
    await event(tx, ticket_id, "opened", at)
    await _say(tx, ticket_id, "buyer", new.text, at, images=new.images)
    return int(ticket_id)


async def answer(
    tx: PluginTx, ticket_id: int, text: str, images: Sequence[Image], at: datetime, reopen_days: int
) -> tuple[int, bool]:
    """The buyer writes; a solved ticket is open again. Gives the message, and whether staff must be told of it.

    :raises Refused: it was solved too long ago, or too much was written within the hour.
    """
    ticket = await locked(tx, ticket_id)
    await _count(tx, ticket["order_ref"], at)
    if ticket["state"] == "solved":
        if ticket["merged_into"] or ticket["solved_at"] < at - timedelta(days=reopen_days):
            raise Refused(_("This question was closed long ago. Please open a new one from your order."))
        await _reopen(tx, ticket, at)
    elif ticket["state"] == "waiting":
        await tx.execute(
            "UPDATE apps_tickets_ticket SET state = 'open', waiting_since = $2 WHERE id = $1", ticket_id, at
        )
    return await _say(tx, ticket_id, "buyer", text, at, images=images), ticket["state"] != "open"


async def judge(tx: PluginTx, ticket_id: int, *, helped: bool, at: datetime) -> None:
    """The buyer says whether it helped; what was not closed yet is closed by that."""
    ticket = await locked(tx, ticket_id)
    if ticket["state"] != "solved":
        await _solve(tx, ticket_id, "solved_buyer", at)
    await tx.execute("UPDATE apps_tickets_ticket SET helped = $2 WHERE id = $1", ticket_id, helped)


async def _count(tx: PluginTx, ref: str, at: datetime) -> None:
    if await tx.fetchval(COUNT, ref, at, MOST_POSTS) is None:
        raise Refused(_("That is a lot for an hour. Please wait a while: everything you wrote is there."))


# -- staff ------------------------------------------------------------------------------


async def reply(tx: PluginTx, ticket_id: int, text: str, who: Who, at: datetime, *, seen: int, solve: bool) -> int:
    """Staff answer; who answers first holds the ticket. ``seen`` is the newest message that was on the page.

    :raises Refused: the buyer or a colleague wrote meanwhile.
    """
    ticket = await locked(tx, ticket_id)
    newest = await tx.fetchval(
        "SELECT coalesce(max(id), 0) FROM apps_tickets_message WHERE ticket_id = $1 AND author IN ('buyer', 'staff')",
        ticket_id,
    )
    if newest > seen:
        raise Refused(_("Something was written meanwhile. Read it first; your answer is kept below."))
    if ticket["state"] == "solved" and not solve:
        await _reopen(tx, ticket, at)
    message_id = await _say(tx, ticket_id, "staff", text, at, who)
    await tx.execute(
        "UPDATE apps_tickets_ticket SET answered_at = coalesce(answered_at, $2), holder = coalesce(holder, $3),"
        " holder_name = CASE WHEN holder IS NULL THEN $4 ELSE holder_name END WHERE id = $1",
        ticket_id,
        at,
        who.id,
        who.name,
    )
    if solve:
        if ticket["state"] != "solved":
            await _solve(tx, ticket_id, "solved_staff", at, who)
    else:
        await tx.execute(
            "UPDATE apps_tickets_ticket SET state = 'waiting', waiting_since = $2 WHERE id = $1", ticket_id, at
        )
    return message_id


async def note(tx: PluginTx, ticket_id: int, text: str, who: Who, at: datetime) -> int:
    """For colleagues alone."""
    await locked(tx, ticket_id)
    return await _say(tx, ticket_id, "note", text, at, who)


async def give_to(tx: PluginTx, ticket_id: int, to: Who | None, held_by: int, at: datetime) -> None:
    """Give the ticket to somebody, or put it back. ``held_by`` is who held it on the page, 0 for nobody.

    :raises Refused: somebody else took it meanwhile.
    """
    ticket = await locked(tx, ticket_id)
    if (ticket["holder"] or 0) != held_by:
        raise Refused(_("%(name)s has it now.", name=ticket["holder_name"] or "–"))
    await tx.execute(
        "UPDATE apps_tickets_ticket SET holder = $2, holder_name = $3 WHERE id = $1",
        ticket_id,
        to.id if to else None,
        to.name if to else "",
    )
    await event(tx, ticket_id, "taken" if to else "put_back", at, to, to.name if to else "")


async def set_state(tx: PluginTx, ticket_id: int, state: Literal["open", "solved"], who: Who, at: datetime) -> None:
    ticket = await locked(tx, ticket_id)
    if ticket["merged_into"] is not None:
        raise Refused(_("This question was merged into another."))
    if state == "solved" and ticket["state"] != "solved":
        await _solve(tx, ticket_id, "solved_staff", at, who)
    elif state == "open" and ticket["state"] == "solved":
        await _reopen(tx, ticket, at)


async def merge(tx: PluginTx, shop: str, ticket_id: int, into: int, who: Who, at: datetime) -> None:
    """Everything said in one ticket moves into another of the same order.

    :raises Refused: they are not two open questions about one order.
    """
    # both in one order, so that two merges the other way round do not wait for each other
    rows = {row["id"]: row for row in [await locked(tx, one) for one in sorted({ticket_id, into})]}
    old, new = rows[ticket_id], rows[into]
    same = old["order_ref"] == new["order_ref"] and old["shop"] == new["shop"] == shop
    if ticket_id == into or not same or old["merged_into"] or new["merged_into"]:
        raise Refused(_("Only two questions about one order can be merged."))
    await tx.execute("UPDATE apps_tickets_message SET ticket_id = $2 WHERE ticket_id = $1", ticket_id, into)
    if old["state"] != "solved":
        await _solve(tx, ticket_id, "solved_staff", at, who)
    await tx.execute("UPDATE apps_tickets_ticket SET merged_into = $2 WHERE id = $1", ticket_id, into)
    await event(tx, into, "merged", at, who, f"#{ticket_id}")
    if old["state"] == "open" and new["state"] == "waiting":
        await tx.execute(
            "UPDATE apps_tickets_ticket SET state = 'open', waiting_since = $2 WHERE id = $1",
            into,
            old["waiting_since"],
        )


async def locked(tx: PluginTx, ticket_id: int) -> Row:
    row = await tx.fetchrow("SELECT * FROM apps_tickets_ticket WHERE id = $1 FOR UPDATE", ticket_id)
    if row is None:
        raise Refused(_("This question is gone."))
    return row


async def event(tx: PluginTx, ticket_id: int, kind: str, at: datetime, who: Who | None = None, text: str = "") -> None:
    staff = (who.id, who.name) if who else (None, "")
    await tx.execute(SAY, ticket_id, "event", kind, *staff, text, at)


async def _say(
    tx: PluginTx,
    ticket_id: int,
    author: str,
    text: str,
    at: datetime,
    who: Who | None = None,
    images: Sequence[Image] = (),
) -> int:
    staff = (who.id, who.name) if who else (None, "")
    message_id = await tx.fetchval(SAY, ticket_id, author, "", *staff, text, at)
    await tx.executemany(
        "INSERT INTO apps_tickets_image (message_id, place, type, body) VALUES ($1, $2, $3, $4)",
        [(message_id, place, one.type, one.body) for place, one in enumerate(images, 1)],
    )
    return int(message_id)


async def _solve(tx: PluginTx, ticket_id: int, kind: str, at: datetime, who: Who | None = None) -> None:
    await tx.execute(
        "UPDATE apps_tickets_ticket SET state = 'solved', place = NULL, solved_at = $2, waiting_since = $2"
        " WHERE id = $1",
        ticket_id,
        at,
    )
    await event(tx, ticket_id, kind, at, who)


async def _reopen(tx: PluginTx, ticket: Row, at: datetime) -> None:
    open_now = await tx.fetchval(
        "SELECT count(*) FROM apps_tickets_ticket WHERE order_ref = $1 AND place IS NOT NULL", ticket["order_ref"]
    )
    if open_now >= MOST_OPEN:
        raise Refused(_("Three questions about this order are open already. Please write into one of them."))
    await tx.execute(REOPEN, ticket["id"], "open", at, MOST_OPEN, ticket["order_ref"])
    await event(tx, ticket["id"], "reopened", at)


# -- time -------------------------------------------------------------------------------


async def close_silent(tx: PluginTx, before: datetime, at: datetime) -> None:
    """What was answered and never heard of again counts as solved."""
    rows = await tx.fetch(
        "SELECT id FROM apps_tickets_ticket WHERE state = 'waiting' AND waiting_since < $1 ORDER BY id LIMIT 500"
        " FOR UPDATE SKIP LOCKED",
        before,
    )
    for row in rows:
        await _solve(tx, row["id"], "solved_time", at)


async def forget_order(db: PluginDb, order_ref: str) -> None:
    """Everything that was said about an order; a second time there is nothing left to forget."""
    await db.execute("DELETE FROM apps_tickets_ticket WHERE order_ref = $1", order_ref)


async def forget(db: PluginDb, tickets_before: datetime, images_before: datetime, hours_before: datetime) -> None:
    await db.execute("DELETE FROM apps_tickets_ticket WHERE solved_at < $1", tickets_before)
    await db.execute(
        "DELETE FROM apps_tickets_image image USING apps_tickets_message message, apps_tickets_ticket ticket"
        " WHERE message.id = image.message_id AND ticket.id = message.ticket_id AND ticket.solved_at < $1",
        images_before,
    )
    await db.execute("DELETE FROM apps_tickets_hour WHERE hour < $1", hours_before)
