"""The ordinary sale in one statement: an unpaid order, its exact amount, every code still reserved.

It writes just what the step-by-step road in ``settle.py`` writes, or nothing at all; then that road is taken.
The callback waits for this: one round trip to the database instead of seven.
Codes are found by an array of lines, never by a join: after an import no code has a line, the planner takes
"codes with a line" for one row and would walk over every code ever sold. The order's states are looked at after
it is found by its id: beside it, they would lead the planner over all open orders. `IS TRUE` keeps the index of a
method's attempts away in the same manner: in a young shop the planner takes it for as good as the one by reference.
"""

from __future__ import annotations

from typing import Any

from core import db
from core.hooks import telling
from core.ledger import service as ledger
from core.messages import service as messages
from core.messages.events import MAIL, ORDER_DELIVERED
from core.payments.method import Claim

SETTLE = """
WITH o AS (
    SELECT o.id, o.shop_id, o.ref, o.currency, o.total, o.test, o.contact, o.contact_kind, o.locale,
           o.payment_state, o.fulfilment_state, o.held, attempt.id AS attempt_id
    FROM orders_order o JOIN payments_attempt attempt ON attempt.order_id = o.id
    WHERE attempt.ref = $1 AND (attempt.method = $2) IS TRUE AND attempt.state <> 'paid'
      AND attempt.amount = $4 AND attempt.currency = $5
    FOR UPDATE
), stock AS (
    SELECT array_agg(line.id) AS lines, sum(line.quantity) AS wanted,
           (SELECT count(*) FROM vault_code WHERE state = 'reserved' AND hold_id IS NULL
            AND line_id = ANY(ARRAY(SELECT id FROM orders_line WHERE order_id = (SELECT id FROM o)))) AS held
    FROM orders_line line WHERE line.order_id = (SELECT id FROM o)
), account AS (
    SELECT max(id) FILTER (WHERE code = $8) AS gateway, max(id) FILTER (WHERE code = $9) AS deposits,
           max(id) FILTER (WHERE code = $10) AS revenue
    FROM ledger_account WHERE shop_id = (SELECT shop_id FROM o) AND currency = $5 AND code IN ($8, $9, $10)
), fit AS (
    SELECT o.*, stock.lines, stock.wanted, account.gateway, account.deposits, account.revenue
    FROM o, stock, account
    WHERE o.payment_state = 'unpaid' AND o.fulfilment_state = 'reserved' AND NOT o.held
      AND stock.wanted = stock.held AND (account.gateway + account.deposits + account.revenue) IS NOT NULL
), event AS (
    INSERT INTO payments_event (method, event_key, attempt_id, order_id, source, state, amount, currency,
                                gateway_ref, outcome)
    SELECT $2, $3, attempt_id, id, $7, 'paid', $4, $5, $6, 'paid' FROM fit
), attempt AS (
    UPDATE payments_attempt SET state = 'paid', gateway_ref = $6, settled_at = clock_timestamp(), next_query_at = NULL
    FROM fit WHERE payments_attempt.id = fit.attempt_id
), placed AS (
    UPDATE orders_order SET payment_state = 'paid', paid = paid + $4, paid_at = clock_timestamp(),
                            fulfilment_state = 'delivered', delivered_at = clock_timestamp()
    FROM fit WHERE orders_order.id = fit.id
), line AS (
    UPDATE orders_line SET state = 'delivered' FROM fit WHERE order_id = fit.id
), code AS (
    UPDATE vault_code SET state = 'delivered', delivered_at = clock_timestamp(), reserved_until = NULL
    WHERE line_id = ANY((SELECT lines FROM fit)::bigint[]) AND state = 'reserved'
), told AS (
    INSERT INTO orders_event (order_id, kind, actor, data)
    SELECT fit.id, told.kind, told.actor, told.data FROM fit CROSS JOIN LATERAL (VALUES
        (1, 'paid', 'gateway:' || $2, jsonb_build_object('method', $2::text, 'amount', $4::bigint,
            'currency', $5::text, 'gateway_ref', $6::text, 'outcome', 'paid')),
        (2, 'delivered', 'system', jsonb_build_object('codes', fit.wanted))
    ) AS told (place, kind, actor, data) ORDER BY told.place
), entry AS (
    INSERT INTO ledger_entry (kind, source, order_id, debit_id, credit_id, amount, currency)
    SELECT booked.kind, booked.source, fit.id, booked.debit_id, booked.credit_id, $4, $5
    FROM fit CROSS JOIN LATERAL (VALUES
        ('payment', 'payment:' || $2 || ':' || $3, fit.gateway, fit.deposits),
        ('sale', 'sale:' || fit.ref, fit.deposits, fit.revenue)) AS booked (kind, source, debit_id, credit_id)
    WHERE NOT fit.test AND $4 > 0
), message AS (
    INSERT INTO messages_message (shop_id, order_id, event, channel, recipient, locale, key, state)
    SELECT shop_id, id, $11, $12, contact, locale, $11 || ':' || $12 || ':' || ref, $13 FROM fit
    WHERE contact_kind = 'email' ON CONFLICT (key) DO NOTHING RETURNING id
), job AS (
    INSERT INTO jobs_job (name, args) SELECT $14, jsonb_build_object('message', id) FROM message WHERE $13 = 'queued'
    RETURNING id
), news AS (
    INSERT INTO jobs_job (name, args) SELECT $15, $16::jsonb || jsonb_build_object('subject', ref) FROM fit
    WHERE $16::jsonb IS NOT NULL RETURNING id
)
SELECT fit.ref, (SELECT array_agg(id) FROM (SELECT id FROM job UNION ALL SELECT id FROM news) AS made) AS jobs FROM fit
"""


async def settle(method: str, claim: Claim, source: str) -> Any:
    """Settle and deliver an ordinary sale: ``ref`` and the ``jobs`` to ring for; None when nothing was done."""
    return await db.statement(
        SETTLE,
        claim.attempt_ref,
        method,
        claim.event_key,
        claim.amount.amount,
        claim.amount.currency,
        claim.gateway_ref,
        source,
        ledger.GATEWAY.format(method),
        ledger.DEPOSITS,
        ledger.REVENUE,
        ORDER_DELIVERED.key,
        MAIL,
        messages.state_now(MAIL),
        messages.SEND,
        telling.TELL,
        telling.news("order_paid", "order_delivered"),
    )
