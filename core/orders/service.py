"""The life of an order beside payment: who may see it, expiry, cancelling."""

from __future__ import annotations

from typing import Any

from core import clock, db
from core.crash_point import crash_point
from core.db import Tx
from core.hooks import telling
from core.ids import token_hash
from core.orders import timeline, uses
from core.people.sessions import IDLE
from core.refused import Refused
from core.together import Together
from core.vault import keys, stock
from core.vault.reveal import BURN_HOURS, SHOWING, SHOWN, RevealedCode, Showing, shown_codes
from core.web import limits
from core.web.errors import TooMany
from core.web.i18n import _

EXPIRE_AT_ONCE = 200

VIEW = f"""
SELECT o.*, happened.last_event, happened.to_codes,
    (SELECT json_agg(json_build_object(
        'id', line.id, 'sku_code', line.sku_code, 'product_title', line.product_title, 'sku_title', line.sku_title,
        'quantity', line.quantity, 'unit_price', line.unit_price, 'total', line.total, 'fields', line.fields,
        'delivery_note', line.delivery_note, 'state', line.state, 'source', line.source,
        'asked', CASE WHEN line.fields <> '{{}}' THEN (
            SELECT json_object_agg(field ->> 'key', json_build_object(
                'label', field -> 'label', 'choices', field -> 'option_titles'))
            FROM catalog_product product JOIN catalog_sku sku ON sku.id = line.sku_id,
            jsonb_array_elements(product.buyer_fields || sku.account_fields) AS field
            WHERE product.id = line.product_id) END,
        'burn_hours', (SELECT {BURN_HOURS} FROM catalog_sku sku JOIN shops_shop shop ON shop.id = sku.shop_id
                       WHERE sku.id = line.sku_id),
        'codes', (SELECT json_agg(json_build_object(
                      'id', code.id, 'mask', code.mask, 'burn_at', code.burn_at, 'burned_at', code.burned_at,
                      'reported', code.reported_at IS NOT NULL, 'replaced_by', code.replaced_by)
                      ORDER BY code.replaced_by IS NOT NULL, code.id)
                  FROM vault_code code WHERE code.line_id = line.id AND code.state = 'delivered'))
        ORDER BY line.id) FROM orders_line line WHERE line.order_id = o.id) AS lines,
    (SELECT json_agg(json_build_object('title', title, 'amount', amount, 'code', code) ORDER BY id)
     FROM orders_adjustment WHERE order_id = o.id) AS discounts,
    (SELECT json_build_object(
        'recipient', recipient, 'message', message, 'send_at', send_at, 'sent_at', sent_at,
        'token', encode(token_sealed, 'base64'),
        'opened_at', (SELECT min(at) FROM orders_event WHERE order_id = o.id AND kind = 'gift_opened'))
     FROM orders_gift WHERE order_id = o.id) AS gift,
    (SELECT json_agg(json_build_object(
        'id', attempt.id, 'ref', attempt.ref, 'method', attempt.method, 'label', attempt.label,
        'option', attempt.option, 'state', attempt.state, 'started', attempt.started, 'error', attempt.error,
        'amount', attempt.amount)
        ORDER BY attempt.id) FROM payments_attempt attempt WHERE attempt.order_id = o.id) AS attempts,
    CASE WHEN o.refunded > 0 OR o.fulfilment_state = 'void' THEN (
        SELECT json_agg(json_build_object('amount', amount, 'currency', currency, 'way', way, 'done', state = 'done')
                        ORDER BY id) FROM payments_refund
        WHERE order_id = o.id AND state NOT IN ('failed', 'declined')) END AS refunds,
    CASE WHEN o.payment_state = 'mismatch' AND o.fulfilment_state = 'review' THEN o.total - (
        SELECT coalesce(sum(greatest(0, amount - refunds - charged_back)), 0)::bigint FROM payments_event
        WHERE order_id = o.id AND state = 'paid' AND currency = o.currency) END AS missing
FROM orders_order o
CROSS JOIN LATERAL (
    SELECT max(id) AS last_event, json_agg(json_build_object('kind', kind, 'at', at) ORDER BY id)
        FILTER (WHERE kind IN ('staff_revealed', 'burned')) AS to_codes
    FROM orders_event WHERE order_id = o.id) AS happened
"""  # noqa: S608 - put together from constants

FOR_SESSION = VIEW + "JOIN orders_access access ON access.order_id = o.id AND access.session_hash = $2 WHERE o.ref = $1"

# The button "Show my code" in one statement: the order, its codes, and the note that they were shown.
REVEAL = f"""
WITH {SHOWING}
SELECT let_in.place, let_in.too_many, view.*, {SHOWN} AS shown
FROM let_in CROSS JOIN LATERAL ({VIEW} WHERE o.id = let_in.order_id) AS view
"""  # noqa: S608 - put together from constants
_showing = Together(REVEAL)


async def for_session(ref: str, session_hash: bytes) -> dict[str, Any] | None:
    """The order with its lines, masked codes and attempts, if that session may see it."""
    row = await db.fetchrow(FOR_SESSION, ref, session_hash)
    return dict(row) if row else None


async def reveal(
    ref: str, session_hash: bytes, ip: str | None, agent: str, *, limit: str = "reveal"
) -> tuple[dict[str, Any], list[RevealedCode]] | None:
    """The order, if that session may see it, and the codes it may see now; that it saw them is written down.

    ``limit`` is how often that session may ask.

    :raises TooMany: this session asked too often; nothing was shown.
    """
    keys.current().check_opens_codes()
    this = limits.one(limit, session_hash.hex()[:32])
    row = await Showing(ref, session_hash, ip, agent, IDLE["staff"], this).ask(_showing)
    if row is None:
        return None
    if row["too_many"]:
        raise TooMany(this.retry_after)
    crash_point("reveal.noted")
    order = dict(row)
    return order, shown_codes(order.pop("shown"))


async def for_staff(shop_id: int, ref: str) -> dict[str, Any] | None:
    row = await db.fetchrow(VIEW + "WHERE o.ref = $1 AND o.shop_id = $2", ref, shop_id)
    return dict(row) if row else None


async def state_for_session(ref: str, session_hash: bytes) -> dict[str, Any] | None:
    """Only what the live part of the page depends on; asked often."""
    row = await db.fetchrow(
        """
        SELECT o.payment_state, o.fulfilment_state, o.expires_at,
               (SELECT max(id) FROM orders_event WHERE order_id = o.id) AS last_event,
               (SELECT sent_at FROM orders_gift WHERE order_id = o.id) AS gift_sent_at
        FROM orders_order o
        JOIN orders_access access ON access.order_id = o.id AND access.session_hash = $2 WHERE o.ref = $1
        """,
        ref,
        session_hash,
    )
    return dict(row) if row else None


async def events(order_id: int) -> list[Any]:
    return await db.fetch("SELECT * FROM orders_event WHERE order_id = $1 ORDER BY at, id", order_id)


async def link_fits(ref: str, token: str) -> bool:
    """Whether a mail link opens this order."""
    return await db.fetchval(
        "SELECT EXISTS (SELECT 1 FROM orders_order WHERE ref = $1 AND token_hash = $2)", ref, token_hash(token)
    )


async def last_contact(session_hash: bytes) -> str:
    """What this browser gave as contact the last time it bought, so that nobody types it twice."""
    return (
        await db.fetchval(
            "SELECT o.contact FROM orders_access access JOIN orders_order o ON o.id = access.order_id"
            " WHERE access.session_hash = $1 AND access.how = 'bought' ORDER BY o.id DESC LIMIT 1",
            session_hash,
        )
        or ""
    )


async def let_in(ref: str, token: str, session_hash: bytes) -> bool:
    """Open the order to that session for the token of a mail link. False when the token does not fit."""
    return (
        await db.fetchval(
            """
            WITH fits AS (SELECT id FROM orders_order WHERE ref = $1 AND token_hash = $2),
            access AS (
                INSERT INTO orders_access (order_id, session_hash, how) SELECT id, $3, 'link' FROM fits
                ON CONFLICT DO NOTHING),
            event AS (
                INSERT INTO orders_event (order_id, kind, actor) SELECT id, 'opened_by_link', 'buyer' FROM fits)
            SELECT id FROM fits
            """,
            ref,
            token_hash(token),
            session_hash,
        )
        is not None
    )


async def cancel(order_id: int, actor: str) -> None:
    """Give an unpaid order up and put its codes back on sale.

    :raises Refused: the order was paid, or has ended already.
    """
    await db.transaction(cancel_in, order_id, actor)


async def cancel_in(tx: Tx, order_id: int, actor: str) -> None:
    """The same within the caller's transaction."""
    row = await tx.fetchrow("SELECT payment_state FROM orders_order WHERE id = $1 FOR UPDATE", order_id)
    if row is None or row["payment_state"] != "unpaid":
        raise Refused(_("Only an order that waits for its payment can be cancelled."))
    await _end_unpaid(tx, [order_id], "cancelled", actor)


async def expire_due() -> list[str]:
    """End orders whose reservation time is over; gives their refs. Payments that come later are settled as late."""
    return await db.transaction(_expire_due)


async def _expire_due(tx: Tx) -> list[str]:
    rows = await tx.fetch(
        "SELECT id, ref FROM orders_order WHERE payment_state = 'unpaid' AND fulfilment_state = 'reserved'"
        " AND expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED",
        clock.now(),
        EXPIRE_AT_ONCE,
    )
    if rows:
        await _end_unpaid(tx, [row["id"] for row in rows], "expired", "system")
    return [row["ref"] for row in rows]


async def _end_unpaid(tx: Tx, order_ids: list[int], state: str, actor: str) -> None:
    lines = await tx.fetch("UPDATE orders_line SET state = 'released' WHERE order_id = ANY($1) RETURNING id", order_ids)
    await stock.release(tx, [line["id"] for line in lines])
    await uses.release(tx, order_ids)
    ended = await tx.fetch(
        "UPDATE orders_order SET payment_state = $2, fulfilment_state = 'released' WHERE id = ANY($1) RETURNING ref",
        order_ids,
        state,
    )
    await tx.execute(
        "UPDATE payments_attempt SET state = 'expired' WHERE order_id = ANY($1) AND state IN ('created', 'waiting')",
        order_ids,
    )
    for order_id in order_ids:
        await timeline.add(tx, order_id, state, actor)
    await telling.tell_many(tx, [row["ref"] for row in ended], "order_closed")
