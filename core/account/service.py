"""What a shop knows of one buyer, as they may see it themselves. Codes come as masks only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core import clock, db
from core.catalog.service import Words
from core.money import Money
from core.orders.finding import Found
from core.people.sessions import HANDLE

PAGE = 20

ORDERS = """
SELECT o.ref, o.created_at, o.currency, o.total, o.payment_state, o.fulfilment_state,
       (SELECT line.product_title FROM orders_line line WHERE line.order_id = o.id ORDER BY line.id LIMIT 1) AS title
FROM orders_order o
WHERE o.shop_id = $1 AND o.contact = $2
  AND ($3 = '' OR o.ref = upper($3) OR EXISTS (
      SELECT 1 FROM orders_line line WHERE line.order_id = o.id
        AND (line.product_title::text ILIKE $4 OR line.sku_title::text ILIKE $4)))
ORDER BY o.id DESC LIMIT $5 OFFSET $6
"""

CODES = """
SELECT o.ref, o.created_at, line.product_title, line.sku_title, code.mask,
       code.burned_at IS NOT NULL OR coalesce(code.burn_at <= $3, false) AS burned,
       code.replaced_by IS NOT NULL AS replaced
FROM orders_order o
JOIN orders_line line ON line.order_id = o.id
CROSS JOIN LATERAL (SELECT * FROM vault_code WHERE line_id = line.id AND state = 'delivered' OFFSET 0) AS code
WHERE o.shop_id = $1 AND o.contact = $2 AND o.fulfilment_state = 'delivered'
ORDER BY o.id DESC, code.id LIMIT $4 OFFSET $5
"""

MESSAGES = """
SELECT message.event, message.subject, message.created_at, message.sent_at, message.state, o.ref
FROM messages_message message LEFT JOIN orders_order o ON o.id = message.order_id
WHERE message.shop_id = $1 AND message.recipient = $2
ORDER BY message.id DESC LIMIT $3 OFFSET $4
"""

# Where orders of this contact can be opened, or the contact was proven.
HOLDERS = """
SELECT session_hash FROM people_contact_proof WHERE shop_id = $1 AND contact = $2
UNION
SELECT access.session_hash FROM orders_order o JOIN orders_access access ON access.order_id = o.id
WHERE o.shop_id = $1 AND o.contact = $2
"""

DEVICES = f"""
SELECT {HANDLE} AS handle, agent, host(ip) AS ip, created_at, seen_at, id_hash = $3 AS here
FROM people_session WHERE kind = 'buyer' AND expires_at > $4 AND id_hash IN ({HOLDERS})
ORDER BY here DESC, seen_at DESC LIMIT 100
"""  # noqa: S608 - put together from constants

LET_GO = f"""
WITH gone AS (
    SELECT id_hash FROM people_session WHERE kind = 'buyer' AND {HANDLE} = $3 AND id_hash IN ({HOLDERS})
), access AS (
    DELETE FROM orders_access WHERE session_hash IN (SELECT id_hash FROM gone)
      AND order_id IN (SELECT id FROM orders_order WHERE shop_id = $1 AND contact = $2)
), proof AS (
    DELETE FROM people_contact_proof
    WHERE session_hash IN (SELECT id_hash FROM gone) AND shop_id = $1 AND contact = $2
)
SELECT count(*) FROM gone
"""  # noqa: S608 - put together from constants


LEAVE = """
WITH proven AS (
    DELETE FROM people_contact_proof WHERE session_hash = $1 RETURNING shop_id, contact
)
DELETE FROM orders_access access USING orders_order o, proven
WHERE access.session_hash = $1 AND access.how = 'code' AND o.id = access.order_id
  AND o.shop_id = proven.shop_id AND o.contact = proven.contact
"""


@dataclass(frozen=True, slots=True)
class Owned:
    """One delivered code."""

    ref: str
    at: datetime
    product: Words
    sku: Words
    mask: str
    burned: bool
    replaced: bool


@dataclass(frozen=True, slots=True)
class Told:
    """A message that was written to the buyer."""

    event: str
    subject: str
    at: datetime
    sent: bool
    ref: str | None


@dataclass(frozen=True, slots=True)
class Holder:
    """A browser in which something of this buyer can be opened."""

    handle: str
    agent: str
    ip: str | None
    created_at: datetime
    seen_at: datetime
    here: bool


async def orders(shop_id: int, contact: str, search: str = "", page: int = 1, size: int = PAGE) -> list[Found]:
    """The newest first; one more than the page holds when there are more."""
    like = "%" + search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    rows = await db.fetch(ORDERS, shop_id, contact, search, like, size + 1, (page - 1) * size)
    return [_order(row) for row in rows]


def _order(row: Any) -> Found:
    return Found(
        ref=row["ref"],
        title=row["title"] or {},
        total=Money(row["total"], row["currency"]),
        created_at=row["created_at"],
        payment_state=row["payment_state"],
        fulfilment_state=row["fulfilment_state"],
    )


async def codes(shop_id: int, contact: str, page: int = 1, size: int = PAGE) -> Sequence[Owned]:
    rows = await db.fetch(CODES, shop_id, contact, clock.now(), size + 1, (page - 1) * size)
    return [
        Owned(
            ref=row["ref"],
            at=row["created_at"],
            product=row["product_title"],
            sku=row["sku_title"],
            mask=row["mask"],
            burned=row["burned"],
            replaced=row["replaced"],
        )
        for row in rows
    ]


async def messages(shop_id: int, contact: str, page: int = 1, size: int = PAGE) -> Sequence[Told]:
    rows = await db.fetch(MESSAGES, shop_id, contact, size + 1, (page - 1) * size)
    return [
        Told(row["event"], row["subject"], row["sent_at"] or row["created_at"], row["state"] == "sent", row["ref"])
        for row in rows
    ]


async def devices(shop_id: int, contact: str, here: bytes) -> list[Holder]:
    return [Holder(**row) for row in await db.fetch(DEVICES, shop_id, contact, here, clock.now())]


async def let_go(shop_id: int, contact: str, handle: str) -> bool:
    """Nothing of this buyer can be opened in that browser any more. False when it held nothing."""
    return bool(await db.fetchval(LET_GO, shop_id, contact, handle))


async def open_order(shop_id: int, contacts: Sequence[str], ref: str, session_hash: bytes) -> bool:
    """Let a session that has proven its contact see an order of it. False: there is none."""
    return (
        await db.fetchval(
            "WITH mine AS (SELECT id FROM orders_order WHERE shop_id = $1 AND contact = ANY($2) AND ref = $3),"
            " access AS (INSERT INTO orders_access (order_id, session_hash, how) SELECT id, $4, 'code' FROM mine"
            " ON CONFLICT DO NOTHING) SELECT id FROM mine",
            shop_id,
            list(contacts),
            ref,
            session_hash,
        )
        is not None
    )


async def leave(session_hash: bytes) -> None:
    """The buyer is done here: the proof goes, and the orders that were opened only by it."""
    await db.execute(LEAVE, session_hash)


# -- everything, to take along ----------------------------------------------------------

EXPORT = """
SELECT jsonb_build_object(
    'orders', coalesce((SELECT jsonb_agg(jsonb_build_object(
        'number', o.ref, 'placed', o.created_at, 'paid', o.paid_at, 'delivered', o.delivered_at,
        'payment', o.payment_state, 'delivery', o.fulfilment_state, 'currency', btrim(o.currency),
        'total_in_minor_units', o.total, 'refunded_in_minor_units', o.refunded, 'language', o.locale,
        'network_address', host(o.ip), 'browser', o.agent,
        'lines', (SELECT jsonb_agg(jsonb_build_object(
            'product', line.product_title, 'variant', line.sku_title, 'quantity', line.quantity,
            'total_in_minor_units', line.total, 'answers', line.fields,
            'codes', (SELECT coalesce(jsonb_agg(code.mask ORDER BY code.id), '[]')
                      FROM vault_code code WHERE code.line_id = line.id AND code.state = 'delivered')) ORDER BY line.id)
            FROM orders_line line WHERE line.order_id = o.id)) ORDER BY o.id)
        FROM (SELECT * FROM orders_order WHERE shop_id = $1 AND contact = $2 ORDER BY id DESC LIMIT 2000) AS o), '[]'),
    'balances', coalesce((SELECT jsonb_agg(jsonb_build_object(
        'currency', btrim(currency), 'amount_in_minor_units', amount, 'changed', changed_at))
        FROM ledger_balance WHERE shop_id = $1 AND contact = $2), '[]'),
    'messages', coalesce((SELECT jsonb_agg(jsonb_build_object(
        'what', event, 'subject', subject, 'written', created_at, 'sent', sent_at) ORDER BY id)
        FROM (SELECT * FROM messages_message WHERE shop_id = $1 AND recipient = $2 ORDER BY id DESC LIMIT 5000)
        AS message), '[]'))
"""


async def export(shop_id: int, contact: str) -> dict[str, Any]:
    """All of it as plain values, with the newest 2000 orders; of codes the masks."""
    found: dict[str, Any] = await db.fetchval(EXPORT, shop_id, contact)
    return {"contact": contact, "made": clock.now().isoformat(timespec="seconds"), **found}
