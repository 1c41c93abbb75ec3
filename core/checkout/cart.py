"""The cart: what a visitor wants to order, kept with the session. Nothing of it is reserved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from core import db
from core.catalog.service import SkuFacts, sku_facts
from core.ids import new_token, token_hash
from core.pricing.quote import Item, Quote, QuoteLine, priced
from core.refused import Refused
from core.vault import stock
from core.web.i18n import Text, _

MOST_LINES = 20
RACES_FOR_A_PLACE = 20

ADD = """
WITH session AS (
    INSERT INTO people_session (id_hash, kind, expires_at, ip, agent)
    SELECT $1, 'buyer', now() + interval '30 days', $6, $7 WHERE $8 ON CONFLICT DO NOTHING
)
INSERT INTO checkout_cart_line (session_hash, shop_id, place, sku_id, quantity) SELECT $1, $2, coalesce(
    (SELECT place FROM checkout_cart_line WHERE session_hash = $1 AND sku_id = $3),
    (SELECT min(n) FROM generate_series(1, 20) AS n WHERE NOT EXISTS (
        SELECT 1 FROM checkout_cart_line WHERE session_hash = $1 AND shop_id = $2 AND place = n))), $3, $4
ON CONFLICT (session_hash, sku_id) DO UPDATE SET quantity = least(checkout_cart_line.quantity + excluded.quantity, $5)
"""

LINES = """
SELECT sku.id, sku.code, sku.available, line.quantity
FROM checkout_cart_line line JOIN catalog_sku sku ON sku.id = line.sku_id
WHERE line.session_hash = $1 AND line.shop_id = $2 ORDER BY line.place
"""

OF_SKU = "session_hash = $1 AND sku_id = (SELECT id FROM catalog_sku WHERE shop_id = $2 AND code = $3)"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whose cart it is: a session, or one that begins with the first thing in the cart."""

    session_hash: bytes
    is_new: bool
    ip: str
    agent: str


@dataclass(frozen=True, slots=True)
class CartLine:
    """``trouble`` says why it cannot be ordered as it stands, ``can_have`` how many there are of it then."""

    line: QuoteLine
    trouble: Text | None = None
    can_have: int = 0

    @property
    def sku(self) -> SkuFacts:
        return self.line.sku

    @property
    def quantity(self) -> int:
        return self.line.quantity


@dataclass(frozen=True, slots=True)
class Cart:
    lines: tuple[CartLine, ...] = ()

    @property
    def good(self) -> tuple[QuoteLine, ...]:
        """What can be ordered."""
        return tuple(one.line for one in self.lines if one.trouble is None)

    @property
    def in_order(self) -> bool:
        return bool(self.lines) and len(self.good) == len(self.lines)

    @property
    def quote(self) -> Quote | None:
        """What can be ordered, at catalogue prices."""
        return priced([(line.sku, line.quantity) for line in self.good]) if self.good else None


class CartFull(Refused):
    def __init__(self) -> None:
        super().__init__(_("Your cart is full: it holds %(most)d different things.", most=MOST_LINES))


async def of_session(shop_id: int, session_hash: bytes) -> Cart:
    """What that session has in its cart, held against what is on sale and in stock now."""
    rows = await db.fetch(LINES, session_hash, shop_id)
    if not rows:
        return Cart()
    facts = await sku_facts(shop_id, [row["code"] for row in rows])
    free = await stock.free_counts([row["id"] for row in rows])
    found = [(facts[row["code"]], row) for row in rows if row["code"] in facts]
    currency = found[0][0].price.currency if found else ""
    return Cart(tuple(_line(sku, row, free.get(sku.id, 0), currency) for sku, row in found))


def _line(sku: SkuFacts, row: Any, free: int, currency: str) -> CartLine:
    line = priced([(sku, row["quantity"])]).lines[0]
    if not sku.on_sale:
        return CartLine(line, _("This is not on sale any more."))
    if sku.price.currency != currency:
        return CartLine(line, _("This has another currency: order it by itself."))
    there = min(sku.max_per_order, _there(sku, row["available"], free))
    if there < sku.min_per_order:
        return CartLine(line, _("Sold out at the moment."))
    if line.quantity > there:
        return CartLine(line, _("Only %(number)d can be had now.", number=there), there)
    if line.quantity < sku.min_per_order:
        least = sku.min_per_order
        return CartLine(line, _("At least %(number)d must be ordered.", number=least), least)
    return CartLine(line)


def _there(sku: SkuFacts, available: int | None, free: int) -> int:
    """How many there are as far as anybody knows: own codes, and what a supplier or a person can bring."""
    own = free if sku.source == "codes" or sku.own_first else 0
    if sku.source == "codes":
        return own
    return sku.max_per_order if available is None else own + available


async def count(shop_id: int, session_hash: bytes) -> int:
    """How many different things are in it."""
    found: int = await db.fetchval(
        "SELECT count(*) FROM checkout_cart_line WHERE session_hash = $1 AND shop_id = $2", session_hash, shop_id
    )
    return found


async def add(shop_id: int, visitor: Visitor, items: Sequence[Item]) -> int:
    """Put so many more of each into the cart; gives how many of these are on sale. The others are left out.

    :raises CartFull: it holds as many different things as it can; those before that one are in it.
    """
    facts = await sku_facts(shop_id, [item.sku_code for item in items])
    known = [(facts[item.sku_code], item.quantity) for item in items if item.sku_code in facts]
    on_sale = [(sku, quantity) for sku, quantity in known if sku.on_sale]
    for sku, quantity in on_sale:
        await _add(shop_id, visitor, sku, min(max(quantity, sku.min_per_order), sku.max_per_order))
    return len(on_sale)


async def _add(shop_id: int, visitor: Visitor, sku: SkuFacts, quantity: int) -> None:
    races = RACES_FOR_A_PLACE
    values = (visitor.session_hash, shop_id, sku.id, quantity, sku.max_per_order)
    while True:
        try:
            await db.execute(ADD, *values, visitor.ip or None, visitor.agent[:300], visitor.is_new)
            return
        except asyncpg.NotNullViolationError:
            raise CartFull from None
        except asyncpg.UniqueViolationError as error:
            # Another request of this visitor took that place; look for the next one.
            races -= 1
            if error.constraint_name != "checkout_cart_line_place" or not races:
                raise


async def change(shop_id: int, session_hash: bytes, sku_code: str, quantity: int) -> None:
    """Have that many of it in the cart; 0 takes it out."""
    if quantity == 0:
        await db.execute(f"DELETE FROM checkout_cart_line WHERE {OF_SKU}", session_hash, shop_id, sku_code)  # noqa: S608
        return
    await db.execute(
        f"UPDATE checkout_cart_line SET quantity = $4 WHERE {OF_SKU}",  # noqa: S608 - put together from constants
        session_hash,
        shop_id,
        sku_code,
        quantity,
    )


async def ordered(session_hash: bytes, quote: Quote) -> None:
    """These were ordered: they are in the cart no more."""
    skus = [line.sku.id for line in quote.lines]
    await db.execute("DELETE FROM checkout_cart_line WHERE session_hash = $1 AND sku_id = ANY($2)", session_hash, skus)


def visitor_of(session_hash: bytes | None, token: str | None, ip: str, agent: str) -> tuple[Visitor, str | None]:
    """The visitor, and the cookie a new session gets; ``token`` is one that was promised."""
    if session_hash is not None:
        return Visitor(session_hash, is_new=False, ip=ip, agent=agent), None
    token = token or new_token()
    return Visitor(token_hash(token), is_new=True, ip=ip, agent=agent), token
