"""What staff correct on an order: more time to pay, how its buyer is reached, a gateway's word sooner."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from core import clock, db
from core.audit import service as audit
from core.audit.person import Person
from core.checkout.ask import ask_about
from core.checkout.giving import renew_link
from core.checkout.place import TOKEN_PURPOSE
from core.db import Tx
from core.ids import new_token, token_hash
from core.messages import gifts as gift_mails
from core.messages import service as messages
from core.messages.events import ORDER_DELIVERED, ORDER_IN_REVIEW
from core.orders import timeline
from core.orders.contact import masked_contact, read_contact
from core.payments import service as payments
from core.payments.refunds import locked
from core.refused import Refused
from core.vault.cipher import seal_secret
from core.web.i18n import _

LONGEST = timedelta(days=3)
MINUTES = (15, 60, 1440)
ASKED_AT_ONCE = 3

OPEN_TRIES = """
SELECT attempt.ref FROM payments_attempt attempt JOIN orders_order o ON o.id = attempt.order_id
WHERE o.ref = $1 AND o.shop_id = $2 AND attempt.state <> 'paid' ORDER BY attempt.id DESC LIMIT $3
"""


async def ask_gateways(shop_id: int, ref: str, base_url: str, who: Person) -> None:
    """Ask about the newest payments that did not come, and let what is said have its effect.

    :raises Refused: there is none to ask about.
    """
    tries = [row["ref"] for row in await db.fetch(OPEN_TRIES, ref, shop_id, ASKED_AT_ONCE)]
    if not tries:
        raise Refused(_("No payment of this order is open."))
    await db.transaction(_write_down, shop_id, ref, "order.asked", who, {"payments": ", ".join(tries)})
    for one in tries:
        attempt = await payments.load_attempt(one, base_url)
        if attempt is not None:
            await ask_about(attempt)


async def extend(shop_id: int, ref: str, minutes: int, who: Person) -> None:
    """Give an unpaid order so many minutes more; its codes stay reserved.

    :raises Refused: it is not unpaid any more, or would hold its codes for longer than three days.
    """
    if minutes not in MINUTES:
        raise Refused(_("Choose how much longer."), "minutes")
    await db.transaction(_extend, shop_id, ref, minutes, who)


async def _extend(tx: Tx, shop_id: int, ref: str, minutes: int, who: Person) -> None:
    order = await locked(tx, shop_id, ref)
    if order["payment_state"] != "unpaid" or order["fulfilment_state"] != "reserved":
        raise Refused(_("Only an order that waits for its payment can get more time."))
    until = max(order["expires_at"], clock.now()) + timedelta(minutes=minutes)
    if until > order["created_at"] + LONGEST:
        raise Refused(_("Codes are held for an unpaid order for three days at most."))
    await tx.execute("UPDATE orders_order SET expires_at = $2 WHERE id = $1", order["id"], until)
    await tx.execute(
        "UPDATE vault_code SET reserved_until = $2 WHERE state = 'reserved'"
        " AND line_id = ANY(ARRAY(SELECT id FROM orders_line WHERE order_id = $1))",
        order["id"],
        until,
    )
    await _note(tx, order, "extended", who, {"minutes": minutes, "until": _utc(until)})


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


FREE_SLOT = """
SELECT min(n) FROM generate_series(1, 32000) AS n WHERE NOT EXISTS (
    SELECT 1 FROM orders_order WHERE shop_id = $1 AND contact = $2 AND contact_slot = n
      AND payment_state = 'unpaid' AND fulfilment_state = 'reserved')
"""


async def change_contact(shop_id: int, ref: str, text: str, who: Person) -> list[int]:
    """The buyer is reached elsewhere from now on. Links that were sent open nothing any more, nor do browsers that
    came by one; what was delivered is told to the new address. Whoever read the old mails saw the link of a gift
    too: it is renewed, and its recipient is sent the new one. Gives the jobs to ring for.

    :raises Refused: no contact, the same one, or the order of a partner.
    """
    kind, contact = read_contact(text)
    return await db.transaction(_change_contact, shop_id, ref, kind, contact, who)


async def _change_contact(tx: Tx, shop_id: int, ref: str, kind: str, contact: str, who: Person) -> list[int]:
    order = await locked(tx, shop_id, ref)
    if order["contact_kind"] == "partner":
        raise Refused(_("A partner's order is told to the partner."), "contact")
    if order["contact"] == contact:
        raise Refused(_("This is its contact already."), "contact")
    token = new_token()
    await tx.execute(
        "UPDATE orders_order SET contact = $2, contact_kind = $3, token_hash = $4, token_sealed = $5,"
        " contact_slot = $6 WHERE id = $1",
        order["id"],
        contact,
        kind,
        token_hash(token),
        seal_secret(TOKEN_PURPOSE, token.encode()),
        await tx.fetchval(FREE_SLOT, shop_id, contact),
    )
    await tx.execute("DELETE FROM orders_access WHERE order_id = $1 AND how <> 'bought'", order["id"])
    await tx.execute(
        "UPDATE messages_message SET recipient = $2 WHERE order_id = $1 AND recipient = $3"
        " AND state IN ('queued', 'held') AND $4 = 'email'",
        order["id"],
        contact,
        order["contact"],
        kind,
    )
    gift_jobs = await gift_mails.queue_again(tx, order["id"]) if await renew_link(tx, order["id"]) else []
    kept = {"before": masked_contact(order["contact"]), "now": masked_contact(contact)}
    await _note(tx, order, "contact_changed", who, kept)
    if kind != "email" or order["payment_state"] not in ("paid", "mismatch"):
        return gift_jobs
    event = ORDER_DELIVERED if order["fulfilment_state"] == "delivered" else ORDER_IN_REVIEW
    number = await tx.fetchval("SELECT count(*) FROM messages_message WHERE order_id = $1", order["id"])
    key = f"{ref}:{number + 1}"
    return gift_jobs + await messages.queue(tx, shop_id, order["id"], event.key, contact, order["locale"], key)


async def _note(tx: Tx, order: Any, kind: str, who: Person, data: dict[str, Any]) -> None:
    await timeline.add(tx, order["id"], kind, who.actor, data)
    await _write_down(tx, order["shop_id"], order["ref"], f"order.{kind}", who, data)


async def _write_down(tx: Tx, shop_id: int, ref: str, act: str, who: Person, data: dict[str, Any]) -> None:
    await audit.record(tx, who.actor, act, f"order:{ref}", data, shop_id=shop_id, ip=who.ip)


async def taken_along(shop_id: int, ref: str, kind: str, who: Person) -> None:
    """Somebody takes the whole trace of an order along."""
    await db.transaction(_write_down, shop_id, ref, "order.traced", who, {"format": kind})
