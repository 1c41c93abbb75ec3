"""Lists of payments and refunds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core import db
from core.ledger import chart
from core.money import Money
from core.orders import words
from core.web.i18n import _, in_words
from core.web.lists import Badge, Cell, Choice, Column, Day, Listing, Many, Nothing, Scope, badge

# As the index payments_attempt_listed has it: a sale's statements must not find their payment by that.
METHOD = "method || ''"
# What has been used at all: stepped through by the index, so that it costs as many looks as there are methods.
METHODS = f"""
WITH RECURSIVE used AS (
    (SELECT {METHOD} AS method FROM payments_attempt ORDER BY {METHOD} LIMIT 1)
    UNION ALL
    SELECT (SELECT {METHOD} FROM payments_attempt one WHERE one.{METHOD} > used.method ORDER BY one.{METHOD} LIMIT 1)
    FROM used WHERE used.method IS NOT NULL
) SELECT method FROM used WHERE method IS NOT NULL
"""  # noqa: S608 - put together from constants


async def used_methods() -> list[str]:
    return [row["method"] for row in await db.fetch(METHODS)]


async def methods(_scope: Scope) -> Sequence[tuple[str, str]]:
    return [(one, chart.method_title(one)) for one in await used_methods()]


def _payment(row: Any) -> Cell:
    return Cell(row["ref"], badges=(Badge(_("test"), "warning"),) if row["test"] else (), copy=True)


def _order(row: Any) -> Cell:
    return Cell(row["order_ref"], f"/admin/orders/{row['order_ref']}")


def _money(row: Any) -> Money:
    return Money(row["amount"], row["currency"])


def _came(row: Any) -> Money | Many | None:
    """One sum for each currency; nothing where nothing came."""
    found = [Money(*one) for one in row["came"] or []]
    return Many(found) if len(found) > 1 else found[0] if found else None


# The amount is what was asked for; what came may be less, more, twice or in another currency.
PAYMENT_ROWS = """
SELECT attempt.id AS row_key, attempt.*, o.ref AS order_ref, o.test, o.contact, came.sums AS came
FROM payments_attempt attempt JOIN orders_order o ON o.id = attempt.order_id
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_array(sum, currency) ORDER BY first) AS sums FROM (
        SELECT currency, sum(amount)::bigint AS sum, min(id) AS first FROM payments_event
        WHERE order_id = attempt.order_id AND attempt_id = attempt.id AND state = 'paid' GROUP BY currency) one
) came ON true
WHERE attempt.id = ANY({keys})
"""

PAYMENTS = Listing(
    name="payments",
    title=_("Payments"),
    path="/admin/payments",
    right="payments.read",
    key="attempt.id",
    source="FROM payments_attempt attempt JOIN orders_order o ON o.id = attempt.order_id WHERE o.shop_id = {shop}",
    rows=PAYMENT_ROWS,
    order="attempt.id DESC",
    columns=(
        Column("payment", _("Payment"), _payment),
        Column("order", _("Order"), _order),
        Column("method", _("Method"), lambda row: in_words(row["label"]) or chart.method_title(row["method"])),
        Column("amount", _("Amount"), _money, kind="number"),
        Column("came", _("Received"), _came, kind="number"),
        Column("state", _("State"), lambda row: badge(words.ATTEMPT, row["state"])),
        Column("problem", _("Problem"), lambda row: row["error"], shown=False),
        Column("gateway", _("Gateway no."), lambda row: row["gateway_ref"] or None, kind="long"),
        Column("begun", _("Begun"), lambda row: row["created_at"], "attempt.id"),
        Column("settled", _("Settled"), lambda row: row["settled_at"]),
        Column("contact", _("Contact"), lambda row: row["contact"], shown=False, kind="long"),
    ),
    hint=_("Order no., payment no. or gateway no."),
    search="attempt.id IN (SELECT id FROM payments_attempt WHERE ref = upper({q})"
    " UNION ALL SELECT id FROM payments_attempt WHERE gateway_ref = {q} UNION ALL SELECT one.id FROM payments_attempt"
    " one JOIN orders_order ON orders_order.id = one.order_id WHERE orders_order.ref = upper({q}))",
    filters=(
        Choice("state", _("State"), words.ATTEMPT, "attempt.state = {value}"),
        Choice("method", _("Method"), methods, f"attempt.{METHOD} = {{value}}"),
        Day("since", _("From the day"), "attempt.created_at >= {value}"),
        Day("until", _("Up to the day"), "attempt.created_at < {value}", after=True),
    ),
    total=("amount", "attempt.currency", "attempt.amount"),
    label=lambda row: row["ref"],
    empty=Nothing(
        _("No payments here"),
        _("They appear as soon as somebody begins to pay."),
        "/admin/orders",
        _("See all orders"),
        "credit-card",
    ),
)

REFUNDS = Listing(
    name="refunds",
    title=_("All refunds"),
    about=_("What was given back, or asked for. What waits for somebody stands under Refund or refill."),
    path="/admin/refunds/all",
    right="payments.read",
    key="refund.id",
    source="FROM payments_refund refund JOIN orders_order o ON o.id = refund.order_id WHERE refund.shop_id = {shop}",
    rows="SELECT refund.id AS row_key, refund.*, o.ref AS order_ref, o.test,"
    " coalesce(nullif(asker.name, ''), asker.email) AS asker, coalesce(nullif(approver.name, ''), approver.email)"
    " AS approver FROM payments_refund refund JOIN orders_order o ON o.id = refund.order_id"
    " JOIN people_staff asker ON asker.id = refund.asked_by"
    " LEFT JOIN people_staff approver ON approver.id = refund.approved_by WHERE refund.id = ANY({keys})",
    order="refund.id DESC",
    columns=(
        Column("refund", _("Refund"), _payment),
        Column("order", _("Order"), _order),
        Column("amount", _("Amount"), _money, "refund.amount", kind="number"),
        Column("way", _("How"), lambda row: words.WAYS[row["way"]]),
        Column("state", _("State"), lambda row: badge(words.REFUND, row["state"])),
        Column("problem", _("Problem"), lambda row: row["error"]),
        Column("asker", _("Asked by"), lambda row: row["asker"]),
        Column("approver", _("Approved by"), lambda row: row["approver"]),
        Column("asked", _("Asked"), lambda row: row["asked_at"], "refund.id"),
        Column("note", _("Note"), lambda row: row["note"], shown=False),
    ),
    hint=_("Refund no. or order no."),
    search="refund.ref = upper({q}) OR o.ref = upper({q})",
    filters=(
        Choice("state", _("State"), words.REFUND, "refund.state = {value}"),
        Choice("way", _("How"), words.WAYS, "refund.way = {value}"),
        Day("since", _("From the day"), "refund.asked_at >= {value}"),
        Day("until", _("Up to the day"), "refund.asked_at < {value}", after=True),
    ),
    total=("amount", "refund.currency", "refund.amount"),
    label=lambda row: row["ref"],
    empty=Nothing(
        _("Nothing was given back yet"),
        _("A refund begins on the page of its order."),
        "/admin/orders",
        _("See all orders"),
        "cash",
    ),
)

LISTS = (PAYMENTS, REFUNDS)
