"""One row for each message to a person, written in the business transaction; sent by a job afterwards."""

from __future__ import annotations

from typing import Any

from core import db
from core.db import Tx
from core.hooks import runtime, telling
from core.messages.events import EVENTS, MAIL, ORDER_DELIVERED, ORDER_IN_REVIEW, ORDER_LINKS, PAYMENT_LATE
from core.messages.notifier import Notifier
from core.orders import timeline
from core.refused import Refused
from core.web.i18n import _

SEND = "messages.send"

QUEUE = """
WITH message AS (
    INSERT INTO messages_message (shop_id, order_id, event, channel, recipient, locale, key, state)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (key) DO NOTHING RETURNING id
)
INSERT INTO jobs_job (name, args) SELECT $9, jsonb_build_object('message', id) FROM message WHERE $8 = 'queued'
RETURNING id
"""

AGAIN = """
WITH message AS (
    UPDATE messages_message SET state = 'queued', error = ''
    WHERE id = ANY($1) AND state IN ('held', 'failed', 'sent') RETURNING id
), hurried AS (
    UPDATE jobs_job SET run_at = now()
    WHERE state = 'queued' AND name = $2 AND (args ->> 'message')::bigint = ANY($1) RETURNING id
), new AS (
    INSERT INTO jobs_job (name, args) SELECT $2, jsonb_build_object('message', id) FROM message RETURNING id
)
SELECT id FROM new UNION ALL SELECT id FROM hurried
"""


def notifier_for(channel: str, shop_id: int | None = None) -> Notifier | None:
    """Who sends on that channel (for this shop) in this process, if anybody does."""
    try:
        plugins = runtime.current()
    except RuntimeError:
        # a process without plugins, such as a command: its mails wait in the outbox
        return None
    notifiers = plugins.notifiers if shop_id is None else plugins.notifiers_in(shop_id)
    return next(
        (notifiers[key] for key in sorted(notifiers) if getattr(notifiers[key], "channel", "") == channel), None
    )


def state_now(channel: str) -> str:
    """How a new message begins: it is sent, or held until somebody can send it."""
    return "queued" if notifier_for(channel) else "held"


# -- writing to people ------------------------------------------------------------------


async def queue(
    tx: Tx, shop_id: int, order_id: int | None, event: str, recipient: str, locale: str, key: str
) -> list[int]:
    """Write one mail into ``tx``; gives the jobs to ring for after the commit.

    ``key`` makes a second mail of the same kind impossible. While no notifier works the message is held: it
    waits in the outbox until staff sends it.
    """
    if event not in EVENTS:
        raise ValueError(f"no message is called {event!r}")
    state = state_now(MAIL)
    unique = f"{event}:{MAIL}:{key}"
    rows = await tx.fetch(QUEUE, shop_id, order_id, event, MAIL, recipient, locale, unique, state, SEND)
    return [row["id"] for row in rows]


async def order_settled(tx: Tx, order: Any, *, delivered: bool) -> list[int]:
    """Tell the buyer of a paid order how it stands, and plugins when its goods are handed over.

    ``order`` is its row as it was before it was paid.
    """
    jobs = await telling.tell(tx, order["ref"], "order_delivered") if delivered else []
    if order["contact_kind"] != "email":
        return jobs
    if delivered:
        event = ORDER_DELIVERED
    else:
        late = order.get("payment_state") in ("expired", "cancelled")
        event = PAYMENT_LATE if late else ORDER_IN_REVIEW
    mail = await queue(tx, order["shop_id"], order["id"], event.key, order["contact"], order["locale"], order["ref"])
    return mail + jobs


async def resend(tx: Tx, order: Any) -> list[int]:
    """Send the newest message about an order once more.

    :raises Refused: no message belongs to it.
    """
    newest = await tx.fetchval("SELECT max(id) FROM messages_message WHERE order_id = $1", order["id"])
    if newest is not None:
        return await _again(tx, [newest])
    if order["contact_kind"] != "email":
        raise Refused(_("The buyer left a phone number: there is no way to send a mail."))
    raise Refused(_("No message was written for this order yet."))


async def links_asked(shop_id: int, contact: str, ref: str, locale: str) -> list[int]:
    """Somebody asked for the orders of ``contact``: mail links to that address, if it has any orders.

    At most one such mail to an address in ten minutes, so that nobody can be flooded.
    """
    return await db.transaction(_links_asked, shop_id, contact, ref, locale)


async def _links_asked(tx: Tx, shop_id: int, contact: str, ref: str, locale: str) -> list[int]:
    order_id = await tx.fetchval(
        "SELECT id FROM orders_order WHERE shop_id = $1 AND contact = $2 AND contact_kind = 'email'"
        " AND ($3 = '' OR ref = $3) AND payment_state NOT IN ('cancelled', 'expired') ORDER BY id DESC LIMIT 1",
        shop_id,
        contact,
        ref,
    )
    if order_id is None:
        return []
    window = await tx.fetchval("SELECT floor(extract(epoch FROM now()) / 600)::bigint")
    only = order_id if ref else None
    return await queue(tx, shop_id, only, ORDER_LINKS.key, contact, locale, f"{shop_id}:{contact}:{window}")


# -- sending, step by step --------------------------------------------------------------


async def begin(tx: Tx, message_id: int) -> Any:
    return await tx.fetchrow(
        "UPDATE messages_message SET state = 'sending', tries = tries + 1"
        " WHERE id = $1 AND state IN ('queued', 'sending') RETURNING *",
        message_id,
    )


async def hold(tx: Tx, message_id: int) -> None:
    await tx.execute("UPDATE messages_message SET state = 'held' WHERE id = $1", message_id)


async def wait(tx: Tx, message_id: int, error: str) -> None:
    queued = "UPDATE messages_message SET state = 'queued', error = $2 WHERE id = $1"
    await tx.execute(queued, message_id, db.storable(error))


async def sent(tx: Tx, message: Any, subject: str, receipt: str) -> None:
    await tx.execute(
        "UPDATE messages_message SET state = 'sent', sent_at = now(), subject = $2, receipt = $3, error = ''"
        " WHERE id = $1",
        message["id"],
        subject,
        db.storable(receipt[:300]),
    )
    await _note(tx, message, "mail_sent", {"event": message["event"], "to": message["recipient"]})


async def failed(tx: Tx, message_id: int, error: str) -> None:
    message = await tx.fetchrow(
        "UPDATE messages_message SET state = 'failed', error = $2 WHERE id = $1 AND state IN ('queued', 'sending')"
        " RETURNING *",
        message_id,
        error,
    )
    if message is not None:
        await _note(tx, message, "mail_failed", {"event": message["event"], "reason": error})


async def _note(tx: Tx, message: Any, kind: str, data: dict[str, Any]) -> None:
    if message["order_id"] is not None:
        await timeline.add(tx, message["order_id"], kind, "system", data)


# -- the outbox -------------------------------------------------------------------------


async def send_again(tx: Tx, shop_id: int, message_id: int) -> list[int]:
    """Staff wants this message sent, whatever became of it. Gives the jobs to ring for."""
    known = await tx.fetchval("SELECT id FROM messages_message WHERE id = $1 AND shop_id = $2", message_id, shop_id)
    return await _again(tx, [known] if known else [])


async def send_all(tx: Tx, shop_id: int, states: tuple[str, ...]) -> list[int]:
    """Send every message that is ``held`` or ``failed``."""
    rows = await tx.fetch(
        "SELECT id FROM messages_message WHERE shop_id = $1 AND state = ANY($2) ORDER BY id LIMIT 5000",
        shop_id,
        [state for state in states if state in ("held", "failed")],
    )
    return await _again(tx, [row["id"] for row in rows])


async def _again(tx: Tx, message_ids: list[int]) -> list[int]:
    return [row["id"] for row in await tx.fetch(AGAIN, message_ids, SEND)]
