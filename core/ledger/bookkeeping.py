"""What follows from sales and payments and nobody waits for: cost of goods, discounts, fees, the value of stock.

Kept by a job beside the sale. Each thing is booked once, by its source, however often the job looks at it.
"""

from __future__ import annotations

from datetime import datetime

from core import db
from core.db import Tx
from core.ledger import service as ledger

# Everything that began before the oldest open transaction is committed or gone: an entry's time is the beginning
# of its transaction. The seconds are for one that has begun and does not show yet.
SAFE = """
SELECT least(clock_timestamp(), min(xact_start)) - interval '2 seconds' FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend'
"""

# At most the sales of one minute at a time.
NEXT = """
SELECT kept.until AS after, least($1, (
    SELECT min(at) + interval '1 minute' FROM ledger_entry WHERE at > kept.until AND at <= $1)) AS until
FROM ledger_kept kept WHERE kept.until < $1 FOR UPDATE
"""

COST = """
SELECT o.shop_id, 'cost' AS kind, 'cost:' || o.ref AS source, o.id AS order_id, 'cost' AS debit, 'stock' AS credit,
       (SELECT sum(batch.unit_cost) FROM vault_code code JOIN vault_batch batch ON batch.id = code.batch_id
        WHERE code.line_id = ANY(ARRAY(SELECT id FROM orders_line WHERE order_id = o.id)) AND code.state = 'delivered'
          AND NOT EXISTS (SELECT 1 FROM vault_code bad WHERE bad.replaced_by = code.id)
       ) AS amount, shop.currency
FROM ledger_entry sale JOIN orders_order o ON o.id = sale.order_id JOIN shops_shop shop ON shop.id = o.shop_id
WHERE sale.kind = 'sale' AND sale.at > $1 AND sale.at <= $2
"""

# What the gateway took in is revenue at once, net; this shows the price before the discount, and the discount.
# Of an order that promotions made free, the sale itself was booked against the discount.
DISCOUNT = """
SELECT o.shop_id, 'discount' AS kind, 'discount:' || o.ref AS source, o.id AS order_id,
       'discounts' AS debit, 'revenue' AS credit,
       coalesce((SELECT sum(line.list_price * line.quantity - line.total) FROM orders_line line
                 WHERE line.order_id = o.id AND line.list_price IS NOT NULL), 0)
       - CASE WHEN o.total > 0 THEN coalesce((
            SELECT sum(amount) FROM orders_adjustment WHERE order_id = o.id), 0) ELSE 0 END AS amount, o.currency
FROM ledger_entry sale JOIN orders_order o ON o.id = sale.order_id
WHERE sale.kind = 'sale' AND sale.at > $1 AND sale.at <= $2
"""

# round() of a numeric takes halves away from zero, here up. A fee is never more than the payment.
FEE = """
SELECT gateway.shop_id, 'fee' AS kind, 'fee:' || payment.source AS source, payment.order_id,
       'fees' AS debit, gateway.code AS credit,
       least(payment.amount, round(payment.amount::numeric * fee.percent / 10000) + fee.fixed) AS amount,
       payment.currency
FROM ledger_entry payment JOIN ledger_account gateway ON gateway.id = payment.debit_id
JOIN ledger_fee fee ON fee.shop_id = gateway.shop_id AND fee.currency = payment.currency
    AND gateway.code = 'gateway:' || fee.method
WHERE payment.kind = 'payment' AND payment.at > $1 AND payment.at <= $2
"""

STOCK_IN = """
SELECT batch.shop_id, 'stock_in' AS kind, 'batch:' || batch.id AS source, NULL::bigint AS order_id,
       'stock' AS debit, 'supplier:' || batch.source AS credit,
       batch.unit_cost::numeric * (batch.counts ->> 'imported')::bigint AS amount, shop.currency
FROM vault_batch batch JOIN shops_shop shop ON shop.id = batch.shop_id
WHERE batch.state = 'ready' AND batch.unit_cost > 0 AND NOT batch.demo
  AND NOT EXISTS (SELECT 1 FROM ledger_entry WHERE source = 'batch:' || batch.id)
"""

STOCK_OUT = """
SELECT batch.shop_id, 'stock_out' AS kind, 'batch_undone:' || batch.id AS source, NULL::bigint AS order_id,
       'supplier:' || batch.source AS debit, 'stock' AS credit, booked.amount, booked.currency
FROM vault_batch batch JOIN ledger_entry booked ON booked.source = 'batch:' || batch.id
WHERE batch.state = 'undone'
  AND NOT EXISTS (SELECT 1 FROM ledger_entry WHERE source = 'batch_undone:' || batch.id)
"""


async def keep(until: datetime | None = None) -> int:
    """Book what is due, up to now or to ``until``. Gives how many entries that made."""
    written = await db.transaction(_stock)
    if until is None:
        until = await db.fetchval(SAFE)
    while (step := await db.transaction(_step, until)) is not None:
        written += step
    return written


async def _stock(tx: Tx) -> int:
    return await _book(tx, STOCK_IN) + await _book(tx, STOCK_OUT)


async def _step(tx: Tx, until: datetime) -> int | None:
    """Book what follows from the entries of the next minute; None when all is done."""
    period = await tx.fetchrow(NEXT, until)
    if period is None:
        return None
    span = period["after"], period["until"]
    written = 0
    for due in (COST, DISCOUNT, FEE):
        written += await _book(tx, due, *span)
    await tx.execute("UPDATE ledger_kept SET until = $1", period["until"])
    return written


OPENED = "SELECT DISTINCT shop_id, code, currency FROM ({}) AS due, unnest(ARRAY[debit, credit]) AS code"

WRITTEN = """
INSERT INTO ledger_entry (kind, source, order_id, debit_id, credit_id, amount, currency)
SELECT due.kind, due.source, due.order_id, debit.id, credit.id, due.amount, due.currency FROM ({}) AS due
JOIN ledger_account debit ON debit.shop_id = due.shop_id AND debit.code = due.debit AND debit.currency = due.currency
JOIN ledger_account credit ON credit.shop_id = due.shop_id AND credit.code = due.credit
    AND credit.currency = due.currency
ON CONFLICT (source) DO NOTHING
"""

ABOVE_ZERO = "WITH due AS MATERIALIZED ({}) SELECT * FROM due WHERE amount > 0"


async def _book(tx: Tx, due: str, *span: datetime) -> int:
    """Book what the query ``due`` gives, opening its accounts first. What was booked before is passed over."""
    due = ABOVE_ZERO.format(due)
    accounts = await tx.fetch(OPENED.format(due), *span)
    for row in accounts:
        await ledger.account(tx, row["shop_id"], row["code"], row["currency"])
    if not accounts:
        return 0
    done = await tx.execute(WRITTEN.format(due), *span)
    return int(done.rpartition(" ")[2])
