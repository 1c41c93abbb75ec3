"""What must hold in the database after every step, whatever was done: each check counts what breaks it.

Asked only of one example's own rows: its SKUs ($1), orders after $2, ledger entries after $3, balances after $4.
"""

from datetime import timedelta

MOST_USES = 2
MOMENT = timedelta(minutes=1)

MINE = "o.id > $2"
BOOKED = """
(SELECT coalesce(sum(posting.amount), 0) FROM ledger_posting posting
 JOIN ledger_account account ON account.id = posting.account_id
 WHERE posting.entry_id IN (SELECT id FROM ledger_entry WHERE order_id = o.id AND id > $3)
   AND account.currency = money.currency AND account.code {})
"""
# What is paid from a balance comes to this account and leaves it in the same breath.
AT_GATEWAY = BOOKED.format("LIKE 'gateway:%' AND account.code <> 'gateway:balance'")
IN_BETWEEN = BOOKED.format("= 'gateway:balance'")
OWED = BOOKED.format("= 'deposits'")
CURRENCIES = "CROSS JOIN (VALUES ('CNY'), ('USD')) AS money (currency)"
OPEN_QUESTION = "EXISTS (SELECT 1 FROM review_item WHERE order_id = o.id AND state = 'open' AND reason <> '')"

CHECKS = {
    "a delivered line has more or fewer codes than were bought": f"""
        SELECT count(*) FROM orders_line line JOIN orders_order o ON o.id = line.order_id WHERE {MINE}
        AND line.state = 'delivered' AND line.quantity <> (SELECT count(*) FROM vault_code
            WHERE line_id = line.id AND state = 'delivered' AND replaced_by IS NULL)""",
    "a code was handed over for an order that nobody paid": """
        SELECT count(*) FROM vault_code code JOIN orders_line line ON line.id = code.line_id
        JOIN orders_order o ON o.id = line.order_id WHERE code.sku_id = ANY($1) AND code.state = 'delivered'
        AND NOT EXISTS (SELECT 1 FROM payments_event WHERE order_id = o.id AND state = 'paid')""",
    "a code is held by an order that waits for neither its payment nor a person": f"""
        SELECT count(*) FROM vault_code code WHERE code.sku_id = ANY($1) AND code.state = 'reserved'
        AND NOT EXISTS (SELECT 1 FROM orders_line line JOIN orders_order o ON o.id = line.order_id
            WHERE line.id = code.line_id AND {MINE}
            AND ((o.payment_state, o.fulfilment_state) = ('unpaid', 'reserved')
                OR (o.payment_state, o.fulfilment_state, o.held) = ('paid', 'review', true)))""",
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
            FROM payments_event WHERE order_id = o.id AND currency = money.currency AND outcome <> 'same_money'
            AND method <> 'balance')
        - (SELECT coalesce(sum(refund.amount), 0) FROM payments_refund refund
           JOIN payments_event event ON event.id = refund.payment_id
           WHERE refund.order_id = o.id AND refund.currency = money.currency AND refund.state = 'done'
           AND refund.way = 'hand' AND event.method <> 'balance')""",
    "what was taken from a balance is not what was settled": f"""
        SELECT count(*) FROM orders_order o {CURRENCIES} WHERE {MINE} AND {IN_BETWEEN} <> 0""",
    "the books owe less than nothing": f"""
        SELECT count(*) FROM orders_order o {CURRENCIES} WHERE {MINE} AND {OWED} > 0""",
    "the books owe money that no question asks about": f"""
        SELECT count(*) FROM orders_order o {CURRENCIES} WHERE {MINE} AND {OWED} < 0 AND NOT {OPEN_QUESTION}""",
    "a paid order has neither goods nor a question": f"""
        SELECT count(*) FROM orders_order o WHERE {MINE} AND payment_state IN ('paid', 'mismatch')
        AND fulfilment_state NOT IN ('delivered', 'void') AND NOT {OPEN_QUESTION}""",
    "a balance is below zero or not what its entries sum to": """
        SELECT count(*) FROM ledger_balance balance WHERE id > $4 AND (amount < 0 OR amount <>
            (SELECT coalesce(-sum(amount), 0) FROM ledger_posting
             WHERE account_id = balance.account_id AND entry_id > $3))""",
    "a balance has moved otherwise than its buyer's orders and staff moved it": """
        SELECT count(*) FROM ledger_balance balance WHERE id > $4 AND amount <> (
            SELECT coalesce(sum(CASE kind WHEN 'balance_in' THEN amount WHEN 'balance_out' THEN -amount END), 0)
            FROM ledger_entry WHERE id > $3 AND balance.account_id IN (debit_id, credit_id))
        - (SELECT coalesce(sum(event.amount), 0) FROM payments_event event JOIN orders_order o ON o.id = event.order_id
           WHERE o.id > $2 AND o.shop_id = balance.shop_id AND o.contact = balance.contact AND event.method = 'balance'
           AND event.state = 'paid' AND event.currency = balance.currency)
        + (SELECT coalesce(sum(refund.amount), 0) FROM payments_refund refund
           JOIN orders_order o ON o.id = refund.order_id WHERE o.id > $2 AND o.shop_id = balance.shop_id
           AND o.contact = balance.contact AND refund.way = 'balance' AND refund.state = 'done'
           AND refund.currency = balance.currency)""",
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
    "a voucher is worth something else than its face value less what was redeemed": """
        SELECT count(*) FROM redemption_voucher voucher JOIN vault_code code ON code.id = voucher.code_id
        JOIN redemption_batch own ON own.batch_id = voucher.batch_id WHERE code.sku_id = ANY($1)
        AND (voucher.balance < 0 OR voucher.balance <> coalesce(own.face_value, 1) -
            (SELECT coalesce(sum(amount), 0) FROM redemption_try WHERE code_id = code.id AND act = 'redeem'
             AND outcome = 'ok'))""",
    "a voucher was redeemed that nobody bought": """
        SELECT count(*) FROM redemption_voucher voucher JOIN vault_code code ON code.id = voucher.code_id
        WHERE code.sku_id = ANY($1) AND voucher.first_used_at IS NOT NULL AND code.delivered_at IS NULL""",
    "one request redeemed twice": """
        SELECT count(*) FROM (SELECT 1 FROM redemption_try asked JOIN vault_code code ON code.id = asked.code_id
            WHERE code.sku_id = ANY($1) AND act <> 'verify' GROUP BY asked.shop_id, caller, request_id
            HAVING count(*) > 1) AS twice""",
    "a discount was used more often than it may be": """
        SELECT count(*) FROM orders_cap cap WHERE EXISTS (
            SELECT 1 FROM orders_use WHERE cap_id = cap.id AND order_id > $2) AND (used > most
        OR used <> (SELECT count(*) FROM orders_use WHERE cap_id = cap.id AND order_id > $2 AND held))""",
    "an order has a discount without a use of it": f"""
        SELECT count(*) FROM orders_order o JOIN orders_adjustment adjustment ON adjustment.order_id = o.id
        WHERE {MINE} AND adjustment.promotion = 'machine'
        AND NOT EXISTS (SELECT 1 FROM orders_event WHERE order_id = o.id AND kind IN ('expired', 'cancelled'))
        AND NOT EXISTS (SELECT 1 FROM orders_use WHERE order_id = o.id AND cap_id IS NOT NULL AND held)""",
    "an order that ended unpaid keeps its use of a discount": f"""
        SELECT count(*) FROM orders_use use JOIN orders_order o ON o.id = use.order_id WHERE {MINE} AND use.held
        AND o.payment_state IN ('expired', 'cancelled')""",
    "a held order was delivered before a person let it go": f"""
        SELECT count(*) FROM orders_order o JOIN review_evidence evidence ON evidence.order_id = o.id WHERE {MINE}
        AND NOT EXISTS (SELECT 1 FROM orders_event WHERE order_id = o.id AND kind = 'risk_approved')
        AND (o.fulfilment_state = 'delivered' OR EXISTS (
            SELECT 1 FROM vault_code code JOIN orders_line line ON line.id = code.line_id
            WHERE line.order_id = o.id AND code.state = 'delivered'))""",
    "a held order was decided about twice": f"""
        SELECT count(*) FROM (SELECT 1 FROM orders_event event JOIN orders_order o ON o.id = event.order_id
            WHERE {MINE} AND kind IN ('risk_approved', 'risk_refused') GROUP BY o.id HAVING count(*) > 1) AS twice""",
    "goods of one shop stand in an order of another": f"""
        SELECT count(*) FROM orders_order o JOIN orders_line line ON line.order_id = o.id
        JOIN catalog_sku sku ON sku.id = line.sku_id LEFT JOIN vault_code code ON code.line_id = line.id
        WHERE {MINE} AND (sku.shop_id <> o.shop_id OR code.shop_id <> o.shop_id)""",
    "the books of two shops are mixed": """
        SELECT count(*) FROM ledger_entry entry JOIN ledger_account debit ON debit.id = entry.debit_id
        JOIN ledger_account credit ON credit.id = entry.credit_id LEFT JOIN orders_order o ON o.id = entry.order_id
        WHERE entry.id > $3 AND (debit.shop_id <> credit.shop_id OR o.shop_id <> debit.shop_id)""",
}
NAMES = list(CHECKS)

# What the books said up to entry $5, to see that no posted row ever changes.
POSTED = "SELECT md5(string_agg(entry::text, '|' ORDER BY id)) FROM ledger_entry entry WHERE id > $3"
FACTS = {
    "stock": """
        SELECT json_object_agg(sku_id, codes) FROM (
            SELECT sku_id, json_object_agg(state, number) AS codes FROM (
                SELECT sku_id, state, count(*) AS number FROM vault_code WHERE sku_id = ANY($1) GROUP BY 1, 2
            ) AS of_state GROUP BY 1) AS of_sku""",
    "posted_before": f"{POSTED} AND id <= $5",
    "posted": POSTED,
    "newest": "SELECT max(id) FROM ledger_entry WHERE id > $3",
    "told": """
        SELECT json_object_agg(event_key, payments) FROM (
            SELECT event_key, json_agg(state || ':' || amount || ':' || currency) AS payments FROM payments_event
            WHERE order_id > $2 AND source = 'callback' AND state IN ('paid', 'confirmed') GROUP BY 1) AS of_key""",
    "put": """
        SELECT json_object_agg(shop_id || ' ' || contact, total) FROM (
            SELECT shop_id, contact,
                   sum(CASE WHEN entry.credit_id = account_id THEN entry.amount ELSE -entry.amount END) AS total
            FROM ledger_balance balance JOIN ledger_entry entry ON account_id IN (entry.debit_id, entry.credit_id)
            WHERE balance.id > $4 AND entry.id > $3 AND entry.kind IN ('balance_in', 'balance_out') GROUP BY 1, 2
        ) AS of_buyer""",
}
ALL_CHECKS = "SELECT " + ", ".join(
    [f'({sql}) AS "{number}"' for number, sql in enumerate(CHECKS.values())]
    + [f'({sql}) AS "{name}"' for name, sql in FACTS.items()]
)

# At rest, when every order has ended or waits for a person.
RESERVED = """
SELECT count(*) FROM vault_code code JOIN orders_line line ON line.id = code.line_id
JOIN orders_order o ON o.id = line.order_id WHERE code.sku_id = ANY($1) AND code.state = 'reserved' AND NOT o.held
"""

PICTURE = """
SELECT (SELECT md5(string_agg(o::text, '|' ORDER BY id)) FROM orders_order o WHERE id > $2),
       (SELECT count(*) FROM ledger_entry WHERE id > $3),
       (SELECT count(*) FROM payments_event WHERE order_id > $2),
       (SELECT count(*) FROM payments_refund WHERE order_id > $2),
       (SELECT md5(string_agg(amount::text, '|' ORDER BY id)) FROM ledger_balance WHERE id > $4),
       (SELECT md5(string_agg(state || resolution, '|' ORDER BY id)) FROM review_item WHERE order_id > $2),
       (SELECT md5(string_agg(state || coalesce(line_id, 0), '|' ORDER BY id)) FROM vault_code
        WHERE sku_id = ANY($1))
"""
