"""What must hold in the database after every step, whatever was done: each check counts what breaks it.

Asked only of one example's own rows: its SKUs ($1), orders after $2, ledger entries after $3, balances after $4.
"""

MINE = "o.id > $2"
BOOKED = """
(SELECT coalesce(sum(posting.amount), 0) FROM ledger_posting posting
 JOIN ledger_account account ON account.id = posting.account_id
 WHERE posting.entry_id IN (SELECT id FROM ledger_entry WHERE order_id = o.id AND id > $3)
   AND account.currency = money.currency AND account.code {})
"""
AT_GATEWAY = BOOKED.format("LIKE 'gateway:%'")
OWED = BOOKED.format("= 'deposits'")
CURRENCIES = "CROSS JOIN (VALUES ('CNY'), ('USD')) AS money (currency)"
OPEN_QUESTION = "EXISTS (SELECT 1 FROM review_item WHERE order_id = o.id AND state = 'open' AND reason <> '')"

CHECKS = {
    "a delivered line has more or fewer codes than were bought": f"""
        SELECT count(*) FROM orders_line line JOIN orders_order o ON o.id = line.order_id WHERE {MINE}
        AND line.state = 'delivered' AND line.quantity <> (SELECT count(*) FROM vault_code
            WHERE line_id = line.id AND state = 'delivered' AND replaced_by IS NULL)""",
    "a code was handed over for an order that nobody paid": f"""
        SELECT count(*) FROM vault_code code JOIN orders_line line ON line.id = code.line_id
        JOIN orders_order o ON o.id = line.order_id WHERE {MINE} AND code.state = 'delivered'
        AND NOT EXISTS (SELECT 1 FROM payments_event WHERE order_id = o.id AND state = 'paid')""",
    "a code is held by an order that does not wait for its payment": f"""
        SELECT count(*) FROM vault_code code LEFT JOIN orders_line line ON line.id = code.line_id
        LEFT JOIN orders_order o ON o.id = line.order_id AND {MINE} WHERE code.sku_id = ANY($1)
        AND code.state = 'reserved'
        AND (o.payment_state, o.fulfilment_state) IS DISTINCT FROM ('unpaid', 'reserved')""",
    "a code is of another SKU than its line": f"""
        SELECT count(*) FROM vault_code code JOIN orders_line line ON line.id = code.line_id
        JOIN orders_order o ON o.id = line.order_id WHERE {MINE} AND code.sku_id <> line.sku_id""",
    "an unpaid order holds fewer codes than it promises": f"""
        SELECT count(*) FROM orders_line line JOIN orders_order o ON o.id = line.order_id WHERE {MINE}
        AND o.payment_state = 'unpaid' AND o.fulfilment_state = 'reserved'
        AND line.quantity <> (SELECT count(*) FROM vault_code WHERE line_id = line.id AND state = 'reserved')""",
    "one buyer holds more unpaid orders than one may": f"""
        SELECT count(*) FROM (SELECT 1 FROM orders_order o WHERE {MINE} AND payment_state = 'unpaid'
            AND fulfilment_state = 'reserved' GROUP BY contact HAVING count(*) > 3) AS greedy""",
    "an order says another sum than its payments": f"""
        SELECT count(*) FROM orders_order o WHERE {MINE} AND paid <>
            (SELECT coalesce(sum(amount), 0) FROM payments_event WHERE order_id = o.id AND state = 'paid')""",
    "an order says another sum than its refunds": f"""
        SELECT count(*) FROM orders_order o WHERE {MINE} AND refunded <>
            (SELECT coalesce(sum(amount), 0) FROM payments_refund WHERE order_id = o.id AND state = 'done')""",
    "more went back than came": f"""
        SELECT count(*) FROM payments_event event JOIN orders_order o ON o.id = event.order_id WHERE {MINE}
        AND event.state = 'paid' AND event.amount < (SELECT coalesce(sum(amount), 0) FROM payments_refund
            WHERE payment_id = event.id AND state NOT IN ('failed', 'declined'))""",
    "the books have another sum at the gateway than came less what went back": f"""
        SELECT count(*) FROM orders_order o {CURRENCIES} WHERE {MINE} AND {AT_GATEWAY} <> (
            SELECT coalesce(sum(CASE state WHEN 'paid' THEN amount WHEN 'charged_back' THEN -amount END), 0)
            FROM payments_event WHERE order_id = o.id AND currency = money.currency AND outcome <> 'same_money')
        - (SELECT coalesce(sum(amount), 0) FROM payments_refund
           WHERE order_id = o.id AND currency = money.currency AND state = 'done' AND way = 'hand')""",
    "the books owe less than nothing": f"""
        SELECT count(*) FROM orders_order o {CURRENCIES} WHERE {MINE} AND {OWED} > 0""",
    "the books owe money that no question asks about": f"""
        SELECT count(*) FROM orders_order o {CURRENCIES} WHERE {MINE} AND {OWED} < 0 AND NOT {OPEN_QUESTION}""",
    "a paid order has neither goods nor a question": f"""
        SELECT count(*) FROM orders_order o WHERE {MINE} AND payment_state IN ('paid', 'mismatch')
        AND fulfilment_state NOT IN ('delivered', 'void') AND NOT {OPEN_QUESTION}""",
    "a balance is below zero or not what its entries sum to": """
        SELECT count(*) FROM ledger_balance balance WHERE id > $4 AND (amount < 0 OR amount <>
            (SELECT coalesce(-sum(amount), 0) FROM ledger_posting WHERE account_id = balance.account_id))""",
    "an entry does not sum to zero": """
        SELECT count(*) FROM (SELECT 1 FROM ledger_posting WHERE entry_id > $3
            GROUP BY entry_id, currency HAVING sum(amount) <> 0) AS torn""",
    "an erased code is still there": """
        SELECT count(*) FROM vault_code WHERE sku_id = ANY($1) AND burned_at IS NOT NULL AND blob IS NOT NULL""",
    "a code in stock was shown to somebody": """
        SELECT count(*) FROM vault_code code WHERE sku_id = ANY($1) AND state <> 'delivered'
        AND EXISTS (SELECT 1 FROM vault_reveal WHERE code_id = code.id)""",
    "a delivery was told twice": f"""
        SELECT count(*) FROM (SELECT 1 FROM messages_message message JOIN orders_order o ON o.id = message.order_id
            WHERE {MINE} AND event = 'order_delivered' GROUP BY o.id HAVING count(*) > 1) AS twice""",
}
ALL_CHECKS = "SELECT " + ", ".join(f'({sql}) AS "{number}"' for number, sql in enumerate(CHECKS.values()))
NAMES = list(CHECKS)

# What the books said up to entry $2, to see that no posted row ever changes.
POSTED = "SELECT md5(string_agg(entry::text, '|' ORDER BY id)) FROM ledger_entry entry WHERE id > $1 AND id <= $2"
STOCK = "SELECT sku_id, state, count(*) AS codes FROM vault_code WHERE sku_id = ANY($1) GROUP BY 1, 2"
TOLD = """
SELECT event_key, array_agg(event.state || ':' || event.amount || ':' || event.currency) AS rows
FROM payments_event event
JOIN orders_order o ON o.id = event.order_id WHERE o.id > $1 AND event.source = 'callback'
  AND event.state IN ('paid', 'confirmed') GROUP BY 1
"""
