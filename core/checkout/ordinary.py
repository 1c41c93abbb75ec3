"""The ordinary sale in one statement: an unpaid order, its exact amount, every code still reserved.

It writes just what the step-by-step road in ``settle.py`` writes, or nothing at all; then that road is taken. So it
goes for an order that somebody holds locked: to wait for one would hold up the others of the run.
The callback waits for this: one round trip to the database instead of seven, shared with those that come meanwhile.
The order's states are looked at after it is found by its id: beside it, they would lead the planner over all open
orders.
"""

from __future__ import annotations

from typing import Any

from core.hooks import telling
from core.ledger import service as ledger
from core.messages import service as messages
from core.messages.events import MAIL, ORDER_DELIVERED
from core.payments.method import Claim
from core.together import Together

SETTLE = f"""
WITH asked AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1) AS asked (
        attempt_ref text, method text, event_key text, amount bigint, currency text, gateway_ref text, source text,
        account text, mail text, news jsonb, place int)
), o AS MATERIALIZED (
    SELECT o.id, o.shop_id, o.ref, o.total, o.test, o.contact, o.contact_kind, o.locale,
           o.payment_state, o.fulfilment_state, o.held, attempt.id AS attempt_id, asked.*
    FROM asked JOIN payments_attempt attempt ON attempt.ref = asked.attempt_ref
    JOIN orders_order o ON o.id = attempt.order_id
    WHERE attempt.method = asked.method AND attempt.state <> 'paid'
      AND attempt.amount = asked.amount AND attempt.currency = asked.currency
    FOR UPDATE OF attempt, o SKIP LOCKED
), fit AS MATERIALIZED (
    SELECT o.*, stock.lines, stock.wanted, account.gateway, account.deposits, account.revenue
    FROM o CROSS JOIN LATERAL (
        SELECT array_agg(id) AS lines, sum(quantity) AS wanted FROM orders_line WHERE order_id = o.id
    ) AS stock CROSS JOIN LATERAL (
        SELECT count(*) AS held FROM vault_code
        WHERE line_id = ANY(stock.lines) AND state = 'reserved' AND hold_id IS NULL
    ) AS code CROSS JOIN LATERAL (
        SELECT max(id) FILTER (WHERE code = o.account) AS gateway,
               max(id) FILTER (WHERE code = '{ledger.DEPOSITS}') AS deposits,
               max(id) FILTER (WHERE code = '{ledger.REVENUE}') AS revenue
        FROM ledger_account WHERE shop_id = o.shop_id AND currency = o.currency
            AND code IN (o.account, '{ledger.DEPOSITS}', '{ledger.REVENUE}')
    ) AS account
    WHERE o.payment_state = 'unpaid' AND o.fulfilment_state = 'reserved' AND NOT o.held
      AND (NOT o.test OR EXISTS (SELECT FROM shops_shop WHERE id = o.shop_id AND test_mode))
      AND stock.wanted = code.held AND (account.gateway + account.deposits + account.revenue) IS NOT NULL
), event AS (
    INSERT INTO payments_event (method, event_key, attempt_id, order_id, source, state, amount, currency,
                                gateway_ref, outcome)
    SELECT method, event_key, attempt_id, id, source, 'paid', amount, currency, gateway_ref, 'paid' FROM fit
), attempt AS (
    UPDATE payments_attempt SET state = 'paid', gateway_ref = fit.gateway_ref, settled_at = clock_timestamp(),
                                next_query_at = NULL
    FROM fit WHERE payments_attempt.id = fit.attempt_id
), placed AS (
    UPDATE orders_order SET payment_state = 'paid', paid = paid + fit.amount, paid_at = clock_timestamp(),
                            fulfilment_state = 'delivered', delivered_at = clock_timestamp()
    FROM fit WHERE orders_order.id = fit.id
), line AS (
    UPDATE orders_line SET state = 'delivered' FROM fit WHERE order_id = fit.id
), code AS (
    UPDATE vault_code SET state = 'delivered', delivered_at = clock_timestamp(), reserved_until = NULL
    FROM fit WHERE line_id = ANY(fit.lines) AND vault_code.state = 'reserved'
), told AS (
    INSERT INTO orders_event (order_id, kind, actor, data)
    SELECT fit.id, told.kind, told.actor, told.data FROM fit CROSS JOIN LATERAL (VALUES
        (1, 'paid', 'gateway:' || fit.method, jsonb_build_object('method', fit.method, 'amount', fit.amount,
            'currency', fit.currency, 'gateway_ref', fit.gateway_ref, 'outcome', 'paid')),
        (2, 'delivered', 'system', jsonb_build_object('codes', fit.wanted))
    ) AS told (place, kind, actor, data) ORDER BY fit.id, told.place
), entry AS (
    INSERT INTO ledger_entry (kind, source, order_id, debit_id, credit_id, amount, currency)
    SELECT booked.kind, booked.source, fit.id, booked.debit_id, booked.credit_id, fit.amount, fit.currency
    FROM fit CROSS JOIN LATERAL (VALUES
        ('payment', 'payment:' || fit.method || ':' || fit.event_key, fit.gateway, fit.deposits),
        ('sale', 'sale:' || fit.ref, fit.deposits, fit.revenue)) AS booked (kind, source, debit_id, credit_id)
    WHERE NOT fit.test AND fit.amount > 0
), message AS (
    INSERT INTO messages_message (shop_id, order_id, event, channel, recipient, locale, key, state)
    SELECT shop_id, id, '{ORDER_DELIVERED.key}', '{MAIL}', contact, locale, '{ORDER_DELIVERED.key}:{MAIL}:' || ref, mail
    FROM fit WHERE contact_kind = 'email' ON CONFLICT (key) DO NOTHING RETURNING id, state
), job AS (
    INSERT INTO jobs_job (name, args)
    SELECT '{messages.SEND}', jsonb_build_object('message', id) FROM message WHERE state = 'queued'
    UNION ALL SELECT '{telling.TELL}', news || jsonb_build_object('subject', ref) FROM fit WHERE news IS NOT NULL
    RETURNING id
)
-- whoever comes first rings for the jobs of all
SELECT place, ref, CASE WHEN row_number() OVER () = 1 THEN ARRAY(SELECT id FROM job) END AS jobs FROM fit
"""  # noqa: S608 - put together from constants

_settling = Together(SETTLE)


async def settle(method: str, claim: Claim, source: str) -> Any:
    """Settle and deliver an ordinary sale: ``ref`` and the ``jobs`` to ring for, its own and maybe those of others;
    None when nothing was done."""
    return await _settling.run(
        {
            "attempt_ref": claim.attempt_ref,
            "method": method,
            "event_key": claim.event_key,
            "amount": claim.amount.amount,
            "currency": claim.amount.currency,
            "gateway_ref": claim.gateway_ref,
            "source": source,
            "account": ledger.GATEWAY.format(method),
            "mail": messages.state_now(MAIL),
            "news": telling.news("order_paid", "order_delivered"),
        },
        claim.attempt_ref.rpartition("-")[0],
    )
