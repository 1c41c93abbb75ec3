"""The life of a purchase in its row: written before the supplier hears of it, ended once.

``created`` → ``sent`` → ``waiting`` or ``unknown`` → ``done`` or ``failed``. What follows for the order is decided in
``core.fulfilment``. Every function works in its caller's transaction, in which the order is locked already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from core import clock, db
from core.db import Tx
from core.money import MAX_AMOUNT, Money
from core.orders import timeline
from core.supply import accounts, price_rule, skus
from core.supply.skus import Linked
from core.supply.supplier import Keep, Purchase, Supplier

LIVE = ("created", "sent", "waiting", "unknown")
IN_DOUBT = ("sent", "waiting", "unknown")
CALL_SECONDS = 45
"""How long a supplier may take to answer."""
ASKS_AT_ONCE = 50
KEEPS_ASKING = timedelta(days=7)
TRIED_AGAIN = ("absent", "given_up")
"""Failures after which the same offer may be tried once more: nobody said no, and the supplier answers, or it was
never asked."""

LINE = """
SELECT line.*,
       (SELECT count(*) FROM orders_line earlier WHERE earlier.order_id = line.order_id AND earlier.id <= line.id)
           AS number,
       (SELECT count(*) FROM vault_code WHERE line_id = line.id AND state IN ('reserved', 'delivered')) AS codes,
       (SELECT coalesce(sum(got), 0) FROM supply_purchase JOIN supply_offer offer ON offer.id = offer_id
        WHERE line_id = line.id AND state = 'done' AND offer.delivers = 'top_up') AS topped_up,
       (SELECT count(*) FROM supply_purchase WHERE line_id = line.id) AS purchases
FROM orders_line line WHERE line.id = $1
"""

TRIED = """
SELECT offer_id, count(*) AS times, bool_or(failure <> ALL($2)) AS said_no
FROM supply_purchase WHERE line_id = $1 AND state = 'failed' GROUP BY offer_id
"""

INSERT = """
INSERT INTO supply_purchase (shop_id, order_id, line_id, offer_id, supplier, ref, quantity, price_cap, currency)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING *
"""

ROW = """
SELECT purchase.*, offer.item, offer.title AS offer_title, offer.delivers, o.ref AS order_ref, o.test,
       o.payment_state, o.fulfilment_state, line.fields AS answers, line.sku_id, supplier.title AS supplier_title
FROM supply_purchase purchase JOIN supply_offer offer ON offer.id = purchase.offer_id
JOIN orders_order o ON o.id = purchase.order_id JOIN orders_line line ON line.id = purchase.line_id
JOIN supply_supplier supplier ON supplier.key = purchase.supplier
"""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The offer that a line is bought by next, how many of it, and the most that all of them may cost."""

    offer: Linked
    quantity: int
    cap: Money


# -- which offer ------------------------------------------------------------------------


async def choose(tx: Tx, line: Any, missing: int) -> Chosen | None:
    """The next offer for a line by the routing of its SKU; None when none is left that may be bought."""
    rows = await tx.fetch(skus.OF_SKUS, [line["sku_id"]])
    tried = {row["offer_id"]: row for row in await tx.fetch(TRIED, line["id"], list(TRIED_AGAIN))}
    answered = accounts.account_of(line["fields"]).keys()
    for row in rows:
        for offer in skus.linked(row):
            before = tried.get(offer.id)
            if before is not None and (before["said_no"] or before["times"] > 1):
                continue
            chosen = with_cap(row, offer, line, missing)
            if chosen is not None and {field["key"] for field in offer.fields} <= answered:
                return chosen
    return None


def with_cap(row: Any, offer: Linked, line: Any, missing: int) -> Chosen | None:
    """What may be bought by this offer; None when it cannot be, or costs more than the line was sold for allows."""
    quantity = min(missing, offer.most or missing)
    if not offer.can_be_bought or quantity < offer.least or (offer.stock is not None and offer.stock < quantity):
        return None
    rule = skus.rule_of(row)
    sold_for = Money(rule.cap(line["unit_price"]) * quantity, row["currency"])
    rates = next(one["rates"] for one in row["offers"] if one["id"] == offer.id)
    cap = price_rule.in_supplier_currency(sold_for, offer.price.currency, rates)
    if cap is None:
        return None
    known = offer.price.amount * quantity
    if known > MAX_AMOUNT:
        return None
    if row["below_margin"] == "alarm":
        cap = max(cap, known)
    return Chosen(offer, quantity, Money(cap, offer.price.currency)) if known <= cap else None


async def missing_of(tx: Tx, line: Any) -> int:
    """How many of a line are neither held nor bought yet."""
    row: Any = await tx.fetchrow(LINE, line["id"])
    return int(row["quantity"] - max(row["codes"], row["topped_up"]))


# -- its life ---------------------------------------------------------------------------


async def begin(tx: Tx, order: Any, line: Any, chosen: Chosen, actor: str = "system") -> Any:
    """Write the purchase down. Its reference follows from the order, the line and how often it was tried."""
    row = await tx.fetchrow(
        INSERT,
        order["shop_id"],
        order["id"],
        line["id"],
        chosen.offer.id,
        chosen.offer.supplier,
        f"{order['ref']}-{line['number']}-{line['purchases'] + 1}",
        chosen.quantity,
        chosen.cap.amount,
        chosen.cap.currency,
    )
    await note(tx, row, "begun", actor, {"offer": chosen.offer.title, "cap": chosen.cap.plain()})
    await timeline.add(
        tx,
        order["id"],
        "purchase_begun",
        actor,
        {"purchase": row["ref"], "supplier": row["supplier"], "quantity": row["quantity"]},
    )
    return row


async def note(tx: Tx, purchase: Any, kind: str, actor: str, data: dict[str, Any] | None = None) -> None:
    """One row in the purchase's own timeline."""
    await tx.execute(
        "INSERT INTO supply_event (purchase_id, kind, actor, data) VALUES ($1, $2, $3, $4)",
        purchase["id"],
        kind,
        actor,
        data or {},
    )


async def tell_order(tx: Tx, purchase: Any, kind: str, actor: str, data: dict[str, Any] | None = None) -> None:
    """One row in both timelines."""
    facts = {"purchase": purchase["ref"], "supplier": purchase["supplier"], **(data or {})}
    await note(tx, purchase, kind, actor, data)
    await timeline.add(tx, purchase["order_id"], f"purchase_{kind}", actor, facts)


async def mark_sent(tx: Tx, purchase: Any, supplier: Supplier) -> bool:
    """Committed before the supplier hears of it: from here on it may have been sold. False: somebody was faster."""
    ask_at = clock.now() + timedelta(seconds=CALL_SECONDS + first_question(supplier))
    done = await tx.fetchval(
        "UPDATE supply_purchase SET state = 'sent', sent_at = $3, next_query_at = $2, error = ''"
        " WHERE id = $1 AND state = 'created' RETURNING id",
        purchase["id"],
        ask_at,
        clock.now(),
    )
    if done is not None:
        await tell_order(tx, purchase, "sent", "system")
    return done is not None


async def not_sent(tx: Tx, purchase: Any, error: str) -> None:
    """It certainly did not arrive: the same reference may be sent again."""
    await tx.execute(
        "UPDATE supply_purchase SET state = 'created', sent_at = NULL, next_query_at = NULL, error = $2"
        " WHERE id = $1 AND state = 'sent'",
        purchase["id"],
        error[:500],
    )
    await note(tx, purchase, "not_sent", "system", {"reason": error[:300]})


async def in_doubt(tx: Tx, purchase: Any, state: str, error: str, next_at: datetime, supplier_ref: str = "") -> bool:
    """``waiting`` or ``unknown``, and when to ask; False when it has ended meanwhile."""
    row = await tx.fetchrow(
        "UPDATE supply_purchase SET state = $2, error = $3, next_query_at = $4,"
        " supplier_ref = coalesce(nullif($5, ''), supplier_ref) WHERE id = $1 AND state = ANY($6) RETURNING *",
        purchase["id"],
        state,
        error[:500],
        next_at,
        supplier_ref[:200],
        list(IN_DOUBT),
    )
    if row is None:
        return False
    if purchase["state"] != state:
        await tell_order(tx, purchase, state, f"supplier:{purchase['supplier']}", {"reason": error[:300]})
    return True


async def done(tx: Tx, purchase: Any, got: int, cost: Money | None, supplier_ref: str) -> None:
    await tx.execute(
        "UPDATE supply_purchase SET state = 'done', ended_at = clock_timestamp(), next_query_at = NULL, got = $2,"
        " cost = $3, cost_currency = $4, supplier_ref = coalesce(nullif($5, ''), supplier_ref), error = ''"
        " WHERE id = $1",
        purchase["id"],
        got,
        cost.amount if cost else None,
        cost.currency if cost else None,
        supplier_ref[:200],
    )


def lacks_cost(purchase: Any) -> bool:
    """Whether it was delivered and the supplier is still asked what it cost."""
    return purchase["state"] == "done" and purchase["cost"] is None and purchase["next_query_at"] is not None


async def ask_for_cost(tx: Tx, purchase: Any, next_at: datetime) -> None:
    await tx.execute("UPDATE supply_purchase SET next_query_at = $2 WHERE id = $1", purchase["id"], next_at)


async def cost_known(tx: Tx, purchase: Any, cost: Money) -> None:
    await tx.execute(
        "UPDATE supply_purchase SET cost = $2, cost_currency = $3, next_query_at = NULL WHERE id = $1",
        purchase["id"],
        cost.amount,
        cost.currency,
    )


async def failed(tx: Tx, purchase: Any, failure: str, error: str, actor: str) -> None:
    """Certainly nothing was sold. ``failure`` says how that is known."""
    await tx.execute(
        "UPDATE supply_purchase SET state = 'failed', ended_at = clock_timestamp(), next_query_at = NULL,"
        " failure = $2, error = $3 WHERE id = $1",
        purchase["id"],
        failure,
        error[:500],
    )
    await tell_order(tx, purchase, "failed", actor, {"why": failure, "reason": error[:300]})


# -- when to ask ------------------------------------------------------------------------


def first_question(supplier: Supplier) -> int:
    return supplier.query_after[0] if supplier.query_after else 3600


def next_question(supplier: Supplier, purchase: Any, asked: int) -> datetime:
    """When to ask again after ``asked`` questions: as the supplier says, at its last pause for a week, then never."""
    pauses = supplier.query_after or (3600,)
    now = clock.now()
    if purchase["created_at"] + KEEPS_ASKING < now:
        return now + timedelta(days=365)
    return now + timedelta(seconds=pauses[min(asked, len(pauses) - 1)])


async def due() -> list[int]:
    """Purchases whose supplier is to be asked now."""
    rows = await db.fetch(
        "SELECT id FROM supply_purchase WHERE next_query_at <= $1 ORDER BY next_query_at LIMIT $2",
        clock.now(),
        ASKS_AT_ONCE,
    )
    return [row["id"] for row in rows]


# -- reading ----------------------------------------------------------------------------


async def suppliers_of(shop_id: int) -> list[str]:
    """From whom this shop has bought."""
    rows = await db.fetch(
        "SELECT key FROM supply_supplier WHERE EXISTS ("
        " SELECT 1 FROM supply_purchase WHERE supplier = key AND shop_id = $1) ORDER BY key",
        shop_id,
    )
    return [row["key"] for row in rows]


async def events(purchase_id: int) -> list[Any]:
    return await db.fetch("SELECT * FROM supply_event WHERE purchase_id = $1 ORDER BY id", purchase_id)


async def load(purchase_id: int) -> Any:
    return await db.fetchrow(ROW + "WHERE purchase.id = $1", purchase_id)


async def by_ref(supplier: str, ref: str) -> Any:
    return await db.fetchrow(ROW + "WHERE purchase.ref = $1 AND purchase.supplier = $2", ref, supplier)


async def of_order(order_id: int) -> list[Any]:
    return await db.fetch(ROW + "WHERE purchase.order_id = $1 ORDER BY purchase.id", order_id)


async def locked(tx: Tx, purchase_id: int) -> tuple[Any, Any]:
    """The order first, as everywhere, then its purchase; both are held."""
    order = await tx.fetchrow(
        "SELECT * FROM orders_order WHERE id = (SELECT order_id FROM supply_purchase WHERE id = $1) FOR UPDATE",
        purchase_id,
    )
    await tx.execute("SELECT 1 FROM supply_purchase WHERE id = $1 FOR UPDATE", purchase_id)
    return order, await tx.fetchrow(ROW + "WHERE purchase.id = $1", purchase_id)


def view(purchase: Any, base_url: str, keep: Keep) -> Purchase:
    """The purchase as its supplier gets it."""
    answers: Mapping[str, str] = purchase["answers"]
    return Purchase(
        ref=purchase["ref"],
        item=purchase["item"],
        quantity=purchase["quantity"],
        price_cap=Money(purchase["price_cap"], purchase["currency"]),
        account=accounts.account_of(answers),
        callback_url=f"{base_url}/supply/{purchase['supplier']}/notify",
        created_at=purchase["created_at"],
        keep=keep,
        supplier_ref=purchase["supplier_ref"],
    )
