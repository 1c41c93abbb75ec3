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
from core.pricing.quote import Quote
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


ORDER = """
WITH session AS (
    INSERT INTO people_session (id_hash, kind, expires_at, ip, agent)
    SELECT $9, 'buyer', now() + interval '30 days', $7, $8 WHERE $14
), placed AS (
    INSERT INTO orders_order (shop_id, ref, key, contact, contact_kind, locale, ip, agent, currency, total,
                              token_hash, token_sealed, test, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $10, $11, $12, $13, $15, $16)
    ON CONFLICT (shop_id, key) DO NOTHING RETURNING id
), access AS (
    INSERT INTO orders_access (order_id, session_hash, how) SELECT id, $9, 'bought' FROM placed
), event AS (
    INSERT INTO orders_event (order_id, kind, actor, data)
    SELECT id, 'placed', 'buyer', jsonb_build_object('total', $11::bigint, 'currency', $10::text) FROM placed
), attempt AS (
    INSERT INTO payments_attempt (ref, order_id, method, label, option, amount, currency)
    SELECT $2 || '-1', id, $17, $18, $19, $11, $10 FROM placed WHERE $17 <> ''
)
SELECT id FROM placed
"""

LINE = """
INSERT INTO orders_line (order_id, sku_id, product_id, product_title, sku_title, sku_code, delivery_note,
                         quantity, unit_price, total, fields)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id
"""

OPEN_ORDERS = """
SELECT (SELECT count(*) FROM orders_order WHERE shop_id = $1 AND contact = $2
            AND payment_state = 'unpaid' AND fulfilment_state = 'reserved') AS by_contact,
       (SELECT count(*) FROM orders_order WHERE ip = $3
            AND payment_state = 'unpaid' AND fulfilment_state = 'reserved') AS by_address
"""

BOUGHT = """
SELECT coalesce(sum(line.quantity), 0) FROM orders_line line JOIN orders_order o ON o.id = line.order_id
WHERE o.shop_id = $1 AND o.contact = $2 AND line.sku_id = $3 AND o.payment_state NOT IN ('expired', 'cancelled', 'refunded')
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
            placed = await db.transaction(_place, shop, quote, answers, buyer, chosen, key)
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
    await _hold_caps(tx, shop, quote, buyer)
    ref, token = new_ref("V"), new_token()
    expires_at = clock.now() + timedelta(minutes=shop.settings.reservation_minutes)
    try:
        order_id = await tx.fetchval(
            ORDER,
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
        )
    except asyncpg.ForeignKeyViolationError:
        raise Refused(_("Your visit has expired. Reload the page and try again.")) from None
    if order_id is None:
        return await _already(tx, shop, buyer, key)
    for line in quote.lines:
        await _add_line(tx, order_id, line, answers, expires_at)
    crash_point("checkout.reserved")
    return Placed(order_id, ref, f"{ref}-1", expires_at, is_new=True, token=token)


async def _add_line(tx: Tx, order_id: int, line: Any, answers: dict[str, str], until: datetime) -> None:
    sku = line.sku
    line_id = await tx.fetchval(
        LINE,
        order_id,
        sku.id,
        sku.product_id,
        sku.product_title,
        sku.title,
        sku.code,
        sku.delivery_note,
        line.quantity,
        line.unit_price.amount,
        line.total.amount,
        answers,
    )
    if await stock.reserve(tx, line_id, sku.id, line.quantity, until) < line.quantity:
        raise _CodesTaken


async def _already(tx: Tx, shop: Shop, buyer: Buyer, key: str) -> Placed:
    row = await tx.fetchrow(ALREADY, shop.id, key, buyer.session_hash)
    if row is None:
        raise Refused(_("This form was used already. Reload the page and try again."))
    return Placed(row["id"], row["ref"], row["attempt_ref"] or "", row["expires_at"], is_new=False)


async def _hold_caps(tx: Tx, shop: Shop, quote: Quote, buyer: Buyer) -> None:
    """Nobody may freeze the shop with unpaid orders. Orders of one buyer are placed one after the other."""
    address = buyer.ip if _tells_buyers_apart(buyer.ip) else None
    names = [f"contact:{shop.id}:{buyer.contact}", *([f"address:{address}"] if address else [])]
    await tx.execute("SELECT pg_advisory_xact_lock(k) FROM unnest($1::bigint[]) AS k", sorted(map(_lock_key, names)))
    held = await tx.fetchrow(OPEN_ORDERS, shop.id, buyer.contact, address)
    assert held is not None
    settings = shop.settings
    if held["by_contact"] >= settings.open_orders_per_contact or held["by_address"] >= settings.open_orders_per_address:
        raise TooManyOpen
    for line in quote.lines:
        most = line.sku.max_per_buyer
        if most is not None and await tx.fetchval(BOUGHT, shop.id, buyer.contact, line.sku.id) + line.quantity > most:
            raise Refused(_("One buyer may have at most %(most)d of these.", most=most), "quantity")


def _tells_buyers_apart(ip: str) -> bool:
    """Behind a proxy that was not named, every buyer comes from loopback: that says nothing about them."""
    return bool(ip) and not ip_address(ip).is_loopback


def _lock_key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
