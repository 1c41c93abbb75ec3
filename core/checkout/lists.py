"""The list of orders, and what may be done with many of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core import db
from core.audit import service as audit
from core.checkout import acts
from core.jobs import bell, ring
from core.ledger import chart
from core.messages import service as messages
from core.money import Money
from core.orders import service as orders
from core.orders import words
from core.payments import service as payments
from core.payments.lists import methods
from core.refused import Refused
from core.vault import cipher, code_text
from core.web import limits
from core.web.i18n import Text, _, in_words
from core.web.lists import Act, Badge, Cell, Choice, Column, Day, Doing, Listing, Many, Match, Nothing, Scope, badge

# By every number that stands for one order. Each branch looks into one index.
MATCHES = """
SELECT 'order' AS how, id FROM orders_order WHERE ref = upper($1) AND shop_id = $2
UNION ALL SELECT 'payment', order_id FROM payments_attempt WHERE ref = upper($1)
UNION ALL SELECT 'gateway', order_id FROM payments_attempt WHERE gateway_ref = $1
UNION ALL SELECT 'purchase', order_id FROM supply_purchase WHERE ref = $1
UNION ALL SELECT 'supplier', order_id FROM supply_purchase WHERE supplier_ref = $1 AND supplier_ref <> ''
LIMIT 50
"""
FOUND_BY: dict[str, Text] = {
    "order": _("Found by the order no."),
    "payment": _("Found by the payment no."),
    "gateway": _("Found by the gateway's no."),
    "purchase": _("Found by the purchase no."),
    "supplier": _("Found by the supplier's order no."),
    "contact": _("Found by the contact"),
    "code": _("Found by a code that was delivered"),
}

ROWS = """
SELECT o.id AS row_key, o.id, o.ref, o.contact, o.currency, o.total, o.payment_state,
       o.fulfilment_state, o.test, o.held, o.created_at, o.paid_at, o.delivered_at, lines.goods, attempt.method,
       came.sums AS came, back.sums AS back
FROM orders_order o
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object('title', line.product_title, 'sku', line.sku_title, 'quantity', line.quantity)
                    ORDER BY line.id) AS goods FROM orders_line line WHERE line.order_id = o.id) lines ON true
LEFT JOIN LATERAL (
    SELECT method FROM payments_attempt WHERE order_id = o.id ORDER BY state = 'paid' DESC, id DESC LIMIT 1
) attempt ON true
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_array(sum, currency) ORDER BY first) AS sums FROM (
        SELECT currency, sum(amount)::bigint AS sum, min(id) AS first FROM payments_event
        WHERE order_id = o.id AND state = 'paid' GROUP BY currency) one
) came ON true
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_array(sum, currency) ORDER BY first) AS sums FROM (
        SELECT currency, sum(amount)::bigint AS sum, min(id) AS first FROM payments_refund
        WHERE order_id = o.id AND state = 'done' GROUP BY currency) one
) back ON true
WHERE o.id = ANY({keys})
"""


async def search(scope: Scope, q: str) -> Match:
    rows = await db.fetch(MATCHES, q, scope.shop_id)
    if rows:
        return Match("o.id = ANY({ids})", {"ids": [row["id"] for row in rows]}, FOUND_BY[rows[0]["how"]])
    return Match("o.contact = {contact}", {"contact": q.lower()}, FOUND_BY["contact"] if "@" in q else "")


async def ref_by_code(shop_id: int, text: str, staff_id: int) -> str | None:
    """The order that has the code with exactly this text, by its fingerprint: nothing of it is stored or said.

    Whoever searches for more codes that are none than a person would is told no more: short ones could be guessed.
    """
    clean = code_text.clean(text)
    if not clean or not await limits.below("code-search", f"staff:{staff_id}"):
        return None
    [mark] = cipher.fingerprints(shop_id, [clean])
    ref = await db.fetchval(
        "SELECT o.ref FROM vault_code code JOIN orders_line line ON line.id = code.line_id"
        " JOIN orders_order o ON o.id = line.order_id WHERE code.shop_id = $1 AND code.fingerprint = $2",
        shop_id,
        mark,
    )
    if ref is None:
        return None
    await limits.take_back("code-search", f"staff:{staff_id}")
    return str(ref)


async def sku_codes(scope: Scope) -> Sequence[tuple[str, str]]:
    rows = await db.fetch("SELECT code FROM catalog_sku WHERE shop_id = $1 ORDER BY code LIMIT 2000", scope.shop_id)
    return [(row["code"], row["code"]) for row in rows]


# -- what may be done with many ---------------------------------------------------------


async def _ref(doing: Doing, key: int) -> str:
    ref = await db.fetchval("SELECT ref FROM orders_order WHERE id = $1 AND shop_id = $2", key, doing.scope.shop_id)
    if ref is None:
        raise Refused(_("There is no such order."))
    return str(ref)


async def cancel(doing: Doing, key: int) -> None:
    ref = await _ref(doing, key)
    await acts.cancel(doing.scope.shop_id, ref, doing.scope.staff_id, doing.ip)
    await bell.ring(f"order:{ref}", "changed")


async def resend(doing: Doing, key: int) -> None:
    ref = await _ref(doing, key)
    order = await orders.for_staff(doing.scope.shop_id, ref)

    async def write(tx: db.Tx) -> list[int]:
        actor = f"staff:{doing.scope.staff_id}"
        await audit.record(tx, actor, "order.resent", f"order:{ref}", shop_id=doing.scope.shop_id, ip=doing.ip)
        return await messages.resend(tx, order)

    await ring(*await db.transaction(write))


async def ask_gateway(doing: Doing, key: int) -> None:
    await payments.ask_now(doing.scope.shop_id, key)


ACTS = (
    Act(
        "cancel",
        _("Cancel unpaid orders"),
        "orders.cancel",
        _("Cancelled orders give their codes back to the stock. A payment that still comes is kept for a decision."),
        cancel,
        "o.payment_state = 'unpaid' AND o.fulfilment_state = 'reserved'",
        _("they are not unpaid any more"),
        danger=True,
    ),
    Act(
        "resend",
        _("Send the delivery mail again"),
        "orders.resend",
        _("The newest message of each order is sent once more."),
        resend,
        "EXISTS (SELECT 1 FROM messages_message WHERE order_id = o.id)",
        _("no message belongs to them"),
    ),
    Act(
        "ask",
        _("Ask the gateway about the payment"),
        "orders.ask",
        _("The gateway is asked anew whether these were paid; the answer is booked as always."),
        ask_gateway,
        "EXISTS (SELECT 1 FROM payments_attempt WHERE order_id = o.id AND state IN ('created', 'waiting'))",
        _("no payment of theirs is open"),
    ),
)


def _goods(row: Any) -> Many:
    return Many(
        [f"{in_words(line['title'])} · {in_words(line['sku'])} × {line['quantity']}" for line in row["goods"] or []]
    )


def _order(row: Any) -> Cell:
    marks = [Badge(_("test"), "warning")] * row["test"] + [Badge(_("held"), "warning")] * row["held"]
    return Cell(row["ref"], f"/admin/orders/{row['ref']}", badges=tuple(marks), copy=True)


ORDERS = Listing(
    name="orders",
    title=_("Orders"),
    path="/admin/orders",
    right="orders.read",
    key="o.id",
    source="FROM orders_order o WHERE o.shop_id = {shop}",
    rows=ROWS,
    order="o.id DESC",
    columns=(
        Column("order", _("Order"), _order),
        Column("goods", _("Goods"), _goods, kind="wide"),
        Column("contact", _("Contact"), lambda row: row["contact"], kind="long", draw="checkout/_contact.html"),
        Column("total", _("Total"), lambda row: Money(row["total"], row["currency"]), "o.total", kind="number"),
        Column("payment", _("Payment"), lambda row: badge(words.PAYMENT, row["payment_state"])),
        Column("delivery", _("Delivery"), lambda row: badge(words.FULFILMENT, row["fulfilment_state"])),
        Column("placed", _("Placed"), lambda row: row["created_at"], "o.id"),
        Column(
            "method",
            _("Method"),
            lambda row: chart.method_title(row["method"]) if row["method"] else None,
            shown=False,
        ),
        Column("paid", _("Paid"), lambda row: _paid(row), shown=False, kind="number"),
        Column("back", _("Given back"), lambda row: _sums(row["back"]), shown=False, kind="number"),
        Column("paid_at", _("Paid at"), lambda row: row["paid_at"], shown=False),
        Column("delivered_at", _("Delivered at"), lambda row: row["delivered_at"], shown=False),
    ),
    hint=_("Order no., contact, payment no., supplier's no., a whole code"),
    search=search,
    find="/admin/orders/find",
    filters=(
        Choice("payment", _("Payment"), words.PAYMENT, "o.payment_state = {value}"),
        Choice("fulfilment", _("Delivery"), words.FULFILMENT, "o.fulfilment_state = {value}"),
        Choice(
            "sku",
            _("SKU"),
            sku_codes,
            "o.id IN (SELECT order_id FROM orders_line WHERE sku_id ="
            " (SELECT id FROM catalog_sku WHERE shop_id = {shop} AND code = {value}))",
        ),
        Choice(
            "method",
            _("Method"),
            methods,
            "EXISTS (SELECT 1 FROM payments_attempt WHERE order_id = o.id AND method = {value})",
        ),
        Choice(
            "test", _("Test and real"), {"no": _("Real ones"), "yes": _("Tests")}, {"no": "NOT o.test", "yes": "o.test"}
        ),
        Choice(
            "sold",
            _("Sold or not"),
            {"yes": _("Sold, also what was given back"), "no": _("Not sold")},
            {
                "yes": "o.payment_state IN ('paid', 'refunded', 'charged_back')",
                "no": "o.payment_state NOT IN ('paid', 'refunded', 'charged_back')",
            },
        ),
        Day("since", _("From the day"), "o.created_at >= {value}"),
        Day("until", _("Up to the day"), "o.created_at < {value}", after=True),
        Day("paid_since", _("Paid from"), "o.paid_at >= {value}"),
        Day("paid_until", _("Paid to"), "o.paid_at < {value}", after=True),
    ),
    total=("total", "o.currency", "o.total"),
    acts=ACTS,
    label=lambda row: row["ref"],
    empty=Nothing(
        _("No orders yet"),
        _("Open your shop and place a test order to see how it goes."),
        "/",
        _("View the shop"),
        "shopping-cart",
    ),
    slot="admin.orders.column",
)


def _paid(row: Any) -> Money | Many:
    return _sums(row["came"]) or Money(0, row["currency"])


def _sums(sums: Any) -> Money | Many | None:
    """One sum for each currency."""
    found = [Money(*one) for one in sums or []]
    return Many(found) if len(found) > 1 else found[0] if found else None


LISTS = (ORDERS,)
