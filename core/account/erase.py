"""Forgetting a buyer. Orders keep their amounts and times, which the books need; who it was is found nowhere.

What stays on purpose: the audit log, whose entries are sealed one upon the other (an entry names a buyer only where
staff changed their balance by hand), and what gateways sent, which a payment can be disputed by. Limits per
buyer go on counting: ``core.people.forgotten``.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

from core import db
from core.account.service import HOLDERS
from core.audit import service as audit
from core.db import Tx
from core.hooks import telling
from core.jobs import ring
from core.messages import service as messages
from core.messages.events import ACCOUNT_ERASE
from core.people import contact_code, contact_proof, forgotten
from core.refused import Refused
from core.web.i18n import _

KIND = "erased"

BLOCKERS = """
SELECT
    (SELECT count(*) FROM orders_order o WHERE o.shop_id = $1 AND o.contact = $2 AND (
        (o.payment_state = 'unpaid' AND o.fulfilment_state = 'reserved')
        OR (o.payment_state IN ('paid', 'mismatch') AND o.fulfilment_state NOT IN ('delivered', 'void'))
        OR EXISTS (SELECT 1 FROM orders_gift gift
                   WHERE gift.order_id = o.id AND gift.sent_at IS NULL AND gift.recipient <> ''))) AS orders,
    (SELECT count(*) FROM payments_refund refund JOIN orders_order o ON o.id = refund.order_id
     WHERE o.shop_id = $1 AND o.contact = $2 AND refund.state NOT IN ('done', 'failed', 'declined')) AS refunds,
    (SELECT count(*) FROM review_item item JOIN orders_order o ON o.id = item.order_id
     WHERE o.shop_id = $1 AND o.contact = $2 AND item.state = 'open') AS questions,
    (SELECT count(*) FROM ledger_balance WHERE shop_id = $1 AND contact = $2 AND amount <> 0) AS balances
"""

# $1 are the orders, $2 the contact and $3 what stands in its place; a statement names of them what it needs.
OF_ORDERS = (
    "UPDATE orders_line SET fields = '{}' WHERE order_id = ANY($1) AND fields <> '{}'",
    "DELETE FROM orders_stranger WHERE order_id = ANY($1)",
    "DELETE FROM orders_access WHERE order_id = ANY($1)",
    "UPDATE vault_reveal SET ip = NULL, agent = '' WHERE line_id IN"
    " (SELECT id FROM orders_line WHERE order_id = ANY($1))",
    "UPDATE review_item SET data = data - '{ip,agent,note}'::text[] WHERE order_id = ANY($1)",
    "DELETE FROM messages_message WHERE order_id = ANY($1)",
    "UPDATE orders_gift SET recipient = '', message = '', send_at = NULL WHERE order_id = ANY($1)",
)
# Where a contact stands inside of what is kept.
WITHIN = (
    ("orders_event", "data", "order_id = ANY($1)"),
    ("review_item", "data", "order_id = ANY($1)"),
    ("review_evidence", "data", "order_id = ANY($1)"),
    ("review_evidence", "reason", "order_id = ANY($1)"),
)

ORDERS = """
UPDATE orders_order SET contact = $2, contact_kind = 'erased', ip = NULL, address = NULL, agent = '',
    token_hash = sha256(gen_random_uuid()::text::bytea), token_sealed = ''
WHERE id = ANY($1)
"""


@dataclass(frozen=True, slots=True)
class Erased:
    """``name`` stands where the contact stood."""

    name: str
    orders: int


async def ask(shop_id: int, contact: str, locale: str) -> None:
    """Mail the link that confirms it.

    :raises Refused: something is open still; the text says what.
    """
    await ring(*await db.transaction(_ask, shop_id, contact, locale))


async def _ask(tx: Tx, shop_id: int, contact: str, locale: str) -> list[int]:
    await _check(tx, shop_id, contact)
    return await messages.queue(tx, shop_id, None, ACCOUNT_ERASE.key, contact, locale, secrets.token_hex(8))


async def _check(tx: Tx, shop_id: int, contact: str) -> None:
    open_ones: Any = await tx.fetchrow(BLOCKERS, shop_id, contact)
    if open_ones["orders"]:
        raise Refused(_("An order is not finished yet. Cancel it, or wait until it is delivered."))
    if open_ones["refunds"]:
        raise Refused(_("Money is on its way back to you. Wait until it has arrived."))
    if open_ones["questions"]:
        raise Refused(_("The shop still looks at a question about an order of yours."))
    if open_ones["balances"]:
        raise Refused(_("There is money in your balance. Spend it, or ask the shop to pay it out."))


async def confirm(shop_id: int, token: str) -> Erased | None:
    """Erase whom the link was mailed to, for good; None when the link does not count (any more).

    :raises Refused: something is open still; the link stays good.
    """
    return await db.transaction(_confirm, shop_id, token)


async def _confirm(tx: Tx, shop_id: int, token: str) -> Erased | None:
    contact = await contact_proof.spend(tx, shop_id, token, "erase")
    return await _erase(tx, shop_id, contact) if contact else None


async def _erase(tx: Tx, shop_id: int, contact: str) -> Erased:
    rows = await tx.fetch(
        "SELECT id, ref FROM orders_order WHERE shop_id = $1 AND contact = $2 ORDER BY id FOR UPDATE", shop_id, contact
    )
    await _check(tx, shop_id, contact)
    ids, name = [row["id"] for row in rows], forgotten.name_of(shop_id, contact)
    await _end_sessions(tx, shop_id, contact)
    for statement in OF_ORDERS:
        await tx.execute(statement, ids)
    for table, column, where in WITHIN:
        await _replace(tx, table, column, where, ids, contact, name)
    await tx.execute(ORDERS, ids, name)
    await _elsewhere(tx, shop_id, contact, name)
    await telling.tell_many(tx, [row["ref"] for row in rows], "buyer_forgotten")
    await audit.record(tx, "buyer", "buyer.erased", f"buyer:{name}", {"orders": len(ids)}, shop_id=shop_id)
    return Erased(name, len(ids))


async def _end_sessions(tx: Tx, shop_id: int, contact: str) -> None:
    await tx.execute(
        f"DELETE FROM people_session WHERE kind = 'buyer' AND id_hash IN ({HOLDERS})",  # noqa: S608 - constants
        shop_id,
        contact,
    )


async def _replace(tx: Tx, table: str, column: str, where: str, ids: list[int], contact: str, name: str) -> None:
    within = json.dumps(contact, ensure_ascii=False)[1:-1]
    await tx.execute(
        f"UPDATE {table} SET {column} = replace({column}::text, $2, $3)::jsonb"  # noqa: S608 - constants
        f" WHERE {where} AND strpos({column}::text, $2) > 0",
        ids,
        within,
        name,
    )


async def _elsewhere(tx: Tx, shop_id: int, contact: str, name: str) -> None:
    """What belongs to no order."""
    for statement in (
        "DELETE FROM messages_message WHERE shop_id = $1 AND recipient = $2",
        "DELETE FROM people_contact_link WHERE shop_id = $1 AND contact = $2",
        "DELETE FROM people_contact_proof WHERE shop_id = $1 AND contact = $2",
        "UPDATE orders_gift SET recipient = '', message = '', send_at = NULL"
        " WHERE recipient = $2 AND sent_at IS NOT NULL"
        " AND order_id IN (SELECT id FROM orders_order WHERE shop_id = $1)",
        "DELETE FROM review_refused WHERE shop_id = $1 AND contact = $2",
        "DELETE FROM jobs_job WHERE (args ->> 'shop_id')::bigint = $1 AND args ->> 'contact' = $2",
    ):
        await tx.execute(statement, shop_id, contact)
    await contact_code.forget(tx, shop_id, contact)
    await tx.execute(
        "UPDATE ledger_balance SET contact = $3 WHERE shop_id = $1 AND contact = $2",
        shop_id,
        contact,
        f"{name}-{secrets.token_hex(4)}",  # who comes again and is forgotten again had a balance under that name
    )
    await tx.execute("DELETE FROM web_limit WHERE strpos(bucket, $1) > 0", contact)
