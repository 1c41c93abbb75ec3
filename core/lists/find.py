"""Finding a record by whatever number or name a person has of it, among what that person may see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from core import db
from core.checkout import lists as orders
from core.money import Money
from core.orders import words
from core.web.i18n import _, in_words, locale
from core.web.lists import Scope, escaped

MOST = 8
SHORTEST = 2


@dataclass(frozen=True, slots=True)
class Found:
    text: Any
    href: str
    note: Any = ""
    icon: str = "receipt"


ORDERS = """
SELECT ref, contact, total, currency, payment_state FROM orders_order
WHERE id = ANY($1) OR (shop_id = $2 AND contact = lower($3)) ORDER BY id DESC LIMIT $4
"""
PRODUCTS = """
SELECT DISTINCT product.id, product.title, product.slug, product.position FROM catalog_product product
WHERE product.shop_id = $1 AND (product.title::text ILIKE $3 OR product.slug = $2
      OR product.id IN (SELECT product_id FROM catalog_sku WHERE shop_id = $1 AND code = $2))
ORDER BY product.position, product.id DESC LIMIT $4
"""
STAFF = """
SELECT id, name, email FROM people_staff WHERE shop_id = $1 AND (name ILIKE $2 OR email ILIKE $2)
ORDER BY email LIMIT $3
"""
BALANCES = """
SELECT id, contact, amount, currency FROM ledger_balance WHERE shop_id = $1 AND contact = lower($2) LIMIT $3
"""
BATCHES = "SELECT id, name FROM vault_batch WHERE shop_id = $1 AND name ILIKE $2 ORDER BY id DESC LIMIT $3"


async def records(scope: Scope, q: str) -> list[Found]:
    """At most eight of each kind. A whole code finds its order, by the fingerprint."""
    q = q.strip()
    if len(q) < SHORTEST or "\0" in q:
        return []
    found: list[Found] = []
    for right, look in LOOKS:
        if scope.may(right):
            found += await look(scope, q)
    return found


def for_plugins(q: str, found: list[Found]) -> bool:
    """Whether plugins look too: not for a code."""
    return len(q.strip()) >= SHORTEST and not any(one.note is orders.FOUND_BY["code"] for one in found)


async def _orders(scope: Scope, q: str) -> list[Found]:
    rows = await db.fetch(orders.MATCHES, q, scope.shop_id)
    how = orders.FOUND_BY[rows[0]["how"]] if rows else ""
    found = await db.fetch(ORDERS, [row["id"] for row in rows], scope.shop_id, q, MOST)
    shown = [_order(row, how) for row in found]
    ref = await orders.ref_by_code(scope.shop_id, q, scope.staff_id) if not shown else None
    return [Found(ref, f"/admin/orders/{ref}", orders.FOUND_BY["code"])] if ref else shown


def _order(row: Any, how: Any) -> Found:
    state = words.PAYMENT[row["payment_state"]][0]
    money = Money(row["total"], row["currency"])
    note = " · ".join(str(part) for part in (row["contact"], money.text(locale()), state, how) if part)
    return Found(row["ref"], f"/admin/orders/{row['ref']}", note)


async def _products(scope: Scope, q: str) -> list[Found]:
    rows = await db.fetch(PRODUCTS, scope.shop_id, q, f"%{escaped(q)}%", MOST)
    return [Found(in_words(row["title"]), f"/admin/products/{row['id']}", f"/p/{row['slug']}", "box") for row in rows]


async def _batches(scope: Scope, q: str) -> list[Found]:
    rows = await db.fetch(BATCHES, scope.shop_id, f"%{escaped(q)}%", MOST)
    return [Found(row["name"], f"/admin/stock/batches?q={quote(row['name'])}", _("Batch"), "packages") for row in rows]


async def _balances(scope: Scope, q: str) -> list[Found]:
    rows = await db.fetch(BALANCES, scope.shop_id, q, MOST)
    return [
        Found(
            row["contact"],
            f"/admin/balances/{row['id']}",
            Money(row["amount"], row["currency"]).text(locale()),
            "wallet",
        )
        for row in rows
    ]


async def _staff(scope: Scope, q: str) -> list[Found]:
    rows = await db.fetch(STAFF, scope.shop_id, f"%{escaped(q)}%", MOST)
    return [Found(row["name"] or row["email"], f"/admin/staff/{row['id']}", row["email"], "user") for row in rows]


LOOKS: tuple[tuple[str, Callable[[Scope, str], Awaitable[list[Found]]]], ...] = (
    ("orders.read", _orders),
    ("products.read", _products),
    ("stock.read", _batches),
    ("balance.read", _balances),
    ("staff.manage", _staff),
)
