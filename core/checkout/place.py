"""Place an order: order, lines, reserved codes and the first payment attempt, in one short transaction."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any

import asyncpg

from core import clock, db
from core.crash_point import crash_point
from core.db import Tx
from core.ids import new_ref, new_token, token_hash
from core.pricing.quote import Quote, QuoteLine
from core.refused import Refused
from core.shops.service import Shop
from core.vault import stock
from core.vault.cipher import seal_secret
from core.web.i18n import _

TOKEN_PURPOSE = "order-token"  # noqa: S105 - the name of a purpose
LOOKS_BEFORE_SOLD_OUT = 4


class SoldOut(Refused):
    """No free codes are left; nothing was reserved or charged."""

    def __init__(self) -> None:
        super().__init__(_("Sold out: the last ones were just taken. You have not been charged."), "quantity")


class TooManyOpen(Refused):
    """This buyer already holds as many unpaid orders as one may."""

    def __init__(self) -> None:
        super().__init__(_("You have unpaid orders already. Pay or cancel one of them, or wait until it expires."))


class _CodesTaken(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who asks: the contact, and the session that will be let in to the order."""

    contact_kind: str
    contact: str
    session_hash: bytes
    session_is_new: bool
    ip: str
    agent: str
    locale: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """How the buyer wants to pay."""

    method: str
    label: dict[str, str]
    option: str
    test: bool


@dataclass(frozen=True, slots=True)
class Placed:
    order_id: int
    ref: str
    attempt_ref: str
    expires_at: datetime
    is_new: bool
    token: str = field(repr=False, default="")


# Order, lines, reserved codes, access and first attempt in one statement. It does nothing when the caps are
# reached or the key was used. The claim is the one of core.vault.stock, once for each line.
PLACE = """
WITH held AS (
    SELECT (SELECT count(*) FROM orders_order WHERE shop_id = $1 AND contact = $4
                AND payment_state = 'unpaid' AND fulfilment_state = 'reserved') AS by_contact,
           (SELECT count(*) FROM orders_order WHERE ip = $20
                AND payment_state = 'unpaid' AND fulfilment_state = 'reserved') AS by_address
), placed AS (
    INSERT INTO orders_order (shop_id, ref, key, contact, contact_kind, locale, ip, agent, currency, total,
                              token_hash, token_sealed, test, expires_at)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $10, $11, $12, $13, $15, $16 FROM held
    WHERE by_contact < $21 AND by_address < $22
    ON CONFLICT (shop_id, key) DO NOTHING RETURNING id
), session AS (
    INSERT INTO people_session (id_hash, kind, expires_at, ip, agent)
    SELECT $9, 'buyer', now() + interval '30 days', $7, $8 FROM placed WHERE $14
), access AS (
    INSERT INTO orders_access (order_id, session_hash, how) SELECT id, $9, 'bought' FROM placed
), event AS (
    INSERT INTO orders_event (order_id, kind, actor, data)
    SELECT id, 'placed', 'buyer', jsonb_build_object('total', $11::bigint, 'currency', $10::text) FROM placed
), attempt AS (
    INSERT INTO payments_attempt (ref, order_id, method, label, option, amount, currency)
    SELECT $2 || '-1', id, $17, $18, $19, $11, $10 FROM placed WHERE $17 <> ''
), line AS (
    INSERT INTO orders_line (order_id, sku_id, product_id, product_title, sku_title, sku_code, delivery_note,
                             quantity, unit_price, total, fields)
    SELECT placed.id, item.* FROM placed, jsonb_to_recordset($23) AS item (
        sku_id bigint, product_id bigint, product_title jsonb, sku_title jsonb, sku_code text, delivery_note jsonb,
        quantity int, unit_price bigint, total bigint, fields jsonb)
    RETURNING id, sku_id, quantity
), claimed AS (
    SELECT line.id AS line_id, code.id FROM line CROSS JOIN LATERAL (
        WITH first AS MATERIALIZED (
            SELECT id FROM vault_code WHERE sku_id = line.sku_id AND state = 'free' AND slot >= $24
            ORDER BY slot LIMIT line.quantity FOR UPDATE SKIP LOCKED
        ), rest AS MATERIALIZED (
            SELECT id FROM vault_code WHERE sku_id = line.sku_id AND state = 'free' AND slot < $24
            ORDER BY slot LIMIT line.quantity - (SELECT count(*) FROM first) FOR UPDATE SKIP LOCKED
        )
        SELECT id FROM first UNION ALL SELECT id FROM rest
    ) AS code
), reserved AS (
    -- by array and not by join: the planner expects a million claims and would read the whole stock to join them
    UPDATE vault_code SET state = 'reserved', reserved_until = $16,
                          line_id = (SELECT line_id FROM claimed WHERE claimed.id = vault_code.id)
    WHERE id = ANY(ARRAY(SELECT id FROM claimed)) RETURNING 1
)
SELECT (SELECT id FROM placed) AS id, (SELECT count(*) FROM reserved) AS reserved, held.* FROM held
"""

BOUGHT = """
SELECT coalesce(sum(line.quantity), 0) FROM orders_line line JOIN orders_order o ON o.id = line.order_id
WHERE o.shop_id = $1 AND o.contact = $2 AND line.sku_id = $3
  AND o.payment_state NOT IN ('expired', 'cancelled', 'refunded')
"""

ALREADY = """
SELECT o.id, o.ref, o.expires_at, attempt.ref AS attempt_ref FROM orders_order o
JOIN orders_access access ON access.order_id = o.id AND access.session_hash = $3
LEFT JOIN payments_attempt attempt ON attempt.order_id = o.id
WHERE o.shop_id = $1 AND o.key = $2 ORDER BY attempt.id DESC LIMIT 1
"""


async def place(shop: Shop, quote: Quote, answers: dict[str, str], buyer: Buyer, chosen: Chosen, key: str) -> Placed:
    """Place the order of ``quote`` and reserve its codes for the shop's reservation time.

    ``key`` is the form's idempotency key: a second click gives the first order back.

    :raises SoldOut: not enough free codes; nothing was changed.
    :raises TooManyOpen: the caps on open reservations per contact and address are reached.
    :raises Refused: a per-buyer limit, or a key that belongs to somebody else's order.
    """
    for look in range(LOOKS_BEFORE_SOLD_OUT):
        try:
            placed = await db.transaction(
                _place, shop, quote, answers, buyer, chosen, key, locks=_one_after_the_other(shop, buyer)
            )
            crash_point("checkout.placed")
            return placed
        except _CodesTaken:
            # Codes that another buyer holds locked look taken but may come back when that one is refused.
            if not await _enough_free(quote):
                break
            await asyncio.sleep(0.02 * (look + 1))
    raise SoldOut


async def _enough_free(quote: Quote) -> bool:
    free = await stock.free_counts([line.sku.id for line in quote.lines])
    return all(free[line.sku.id] >= line.quantity for line in quote.lines)


async def _place(
    tx: Tx, shop: Shop, quote: Quote, answers: dict[str, str], buyer: Buyer, chosen: Chosen, key: str
) -> Placed:
    await _hold_buyer_limits(tx, shop, quote, buyer)
    ref, token = new_ref("V"), new_token()
    expires_at = clock.now() + timedelta(minutes=shop.settings.reservation_minutes)
    try:
        placed = await tx.fetchrow(
            PLACE,
            shop.id,
            ref,
            key,
            buyer.contact,
            buyer.contact_kind,
            buyer.locale,
            buyer.ip or None,
            buyer.agent[:300],
            buyer.session_hash,
            quote.total.currency,
            quote.total.amount,
            token_hash(token),
            seal_secret(TOKEN_PURPOSE, token.encode()),
            buyer.session_is_new,
            chosen.test,
            expires_at,
            chosen.method,
            chosen.label,
            chosen.option,
            _counted_address(buyer.ip),
            shop.settings.open_orders_per_contact,
            shop.settings.open_orders_per_address,
            [_line(line, answers) for line in quote.lines],
            stock.random_slot(),
        )
    except asyncpg.ForeignKeyViolationError:
        raise Refused(_("Your visit has expired. Reload the page and try again.")) from None
    if placed["id"] is None:
        return await _already(tx, shop, buyer, key)
    if placed["reserved"] < sum(line.quantity for line in quote.lines):
        raise _CodesTaken
    crash_point("checkout.reserved")
    return Placed(placed["id"], ref, f"{ref}-1", expires_at, is_new=True, token=token)


def _line(line: QuoteLine, answers: dict[str, str]) -> dict[str, Any]:
    sku = line.sku
    return {
        "sku_id": sku.id,
        "product_id": sku.product_id,
        "product_title": sku.product_title,
        "sku_title": sku.title,
        "sku_code": sku.code,
        "delivery_note": sku.delivery_note,
        "quantity": line.quantity,
        "unit_price": line.unit_price.amount,
        "total": line.total.amount,
        "fields": answers,
    }


async def placed_before(shop: Shop, buyer: Buyer, key: str) -> bool:
    """Whether this buyer has placed an order with this form already."""
    return await db.fetchrow(ALREADY, shop.id, key, buyer.session_hash) is not None


async def _already(tx: Tx, shop: Shop, buyer: Buyer, key: str) -> Placed:
    """Nothing was placed: either the key was used before, or this buyer holds too many unpaid orders."""
    row = await tx.fetchrow(ALREADY, shop.id, key, buyer.session_hash)
    if row is not None:
        return Placed(row["id"], row["ref"], row["attempt_ref"] or "", row["expires_at"], is_new=False)
    if await tx.fetchval("SELECT EXISTS (SELECT 1 FROM orders_order WHERE shop_id = $1 AND key = $2)", shop.id, key):
        raise Refused(_("This form was used already. Reload the page and try again."))
    raise TooManyOpen


async def _hold_buyer_limits(tx: Tx, shop: Shop, quote: Quote, buyer: Buyer) -> None:
    for line in quote.lines:
        most = line.sku.max_per_buyer
        if most is not None and await tx.fetchval(BOUGHT, shop.id, buyer.contact, line.sku.id) + line.quantity > most:
            raise Refused(_("One buyer may have at most %(most)d of these.", most=most), "quantity")


def _one_after_the_other(shop: Shop, buyer: Buyer) -> list[int]:
    """Locks that queue the orders of one buyer, so that two at once cannot both stay below a cap."""
    address = _counted_address(buyer.ip)
    names = [f"contact:{shop.id}:{buyer.contact}", *([f"address:{address}"] if address else [])]
    return [_lock_key(name) for name in names]


def _counted_address(ip: str) -> str | None:
    """Behind a proxy that was not named, every buyer comes from loopback: that says nothing about them."""
    return ip if ip and not ip_address(ip).is_loopback else None


def _lock_key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
