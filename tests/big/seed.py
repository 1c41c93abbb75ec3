"""Fills a shop: orders with all that belongs to them, products, and codes that are sealed like imported ones.

Rows are made by the database from their numbers, codes are sealed here and copied in; nothing is random but keys.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from core import db
from core.db import Tx
from core.vault import cipher
from core.vault.import_copy import SealedCodes, copy_in, packed

BATCHES_AT_ONCE = 100


@dataclass(frozen=True)
class Size:
    orders: int = 50_000
    products: int = 5_000
    codes: int = 1_000_000

    @property
    def codes_each(self) -> int:
        return max(1, self.codes // self.products)


# $1 is the number of products, $2 that of orders; each uses what it needs.
PRODUCTS = """
INSERT INTO catalog_category (shop_id, slug, title, position)
SELECT 1, 'c' || n, jsonb_build_object('en', 'Category ' || n, 'zh-CN', '分类 ' || n), n FROM generate_series(1, 20) n;
INSERT INTO catalog_product (shop_id, category_id, slug, title, summary, description, state, position)
SELECT 1, (SELECT min(id) FROM catalog_category) + n % 20, 'big-' || n,
       jsonb_build_object('en', 'Month card ' || n, 'zh-CN', '月卡 ' || n),
       jsonb_build_object('en', 'Thirty days of service ' || n), jsonb_build_object('en', repeat('Words. ', 40)),
       CASE WHEN n % 20 = 0 THEN 'draft' ELSE 'listed' END, n % 50
FROM generate_series(1, {products}) n;
INSERT INTO catalog_sku (shop_id, product_id, code, title, price, currency, low_stock)
SELECT 1, product.id, 'BIG-' || substr(product.slug, 5), jsonb_build_object('en', 'One', 'zh-CN', '一个'),
       500 + product.id % 5000, 'CNY', 5
FROM catalog_product product WHERE slug LIKE 'big-%';
"""
ORDERS = """
CREATE TEMPORARY TABLE big_sku ON COMMIT DROP AS
    SELECT row_number() OVER (ORDER BY sku.id) AS n, sku.id, sku.product_id, sku.code, sku.price, sku.title,
           product.title AS product_title
    FROM catalog_sku sku JOIN catalog_product product ON product.id = sku.product_id WHERE product.slug LIKE 'big-%';
CREATE INDEX ON big_sku (n);
CREATE TEMPORARY TABLE big_order ON COMMIT DROP AS
    SELECT n, CASE WHEN n % 5 = 0 THEN 1 ELSE n * 7919 % {products} + 1 END AS sku,
           CASE WHEN n % 100 < 72 THEN 'paid' WHEN n % 100 < 86 THEN 'expired' WHEN n % 100 < 94 THEN 'cancelled'
                WHEN n % 100 < 97 THEN 'refunded' WHEN n % 100 < 98 THEN 'mismatch' ELSE 'unpaid' END AS state,
           now() - ({orders} - n) * interval '10 minutes' AS at
    FROM generate_series(1, {orders}) n;
INSERT INTO orders_order (shop_id, ref, key, contact, contact_kind, locale, currency, total, paid, refunded,
        payment_state, fulfilment_state, token_hash, token_sealed, ip, agent, created_at, expires_at, paid_at,
        delivered_at)
SELECT 1, 'VBIG' || big_order.n, 'big' || big_order.n, 'b' || big_order.n * 31 % 20000
           || CASE WHEN state = 'unpaid' THEN '-' || big_order.n ELSE '' END || '@example.com',
       'email', 'zh-CN', 'CNY', sku.price,
       CASE WHEN state IN ('paid', 'refunded') THEN sku.price WHEN state = 'mismatch' THEN 1 ELSE 0 END,
       CASE WHEN state = 'refunded' THEN sku.price ELSE 0 END, state,
       CASE state WHEN 'paid' THEN CASE WHEN big_order.n % 100 = 0 THEN 'review' ELSE 'delivered' END
            WHEN 'refunded' THEN 'void' WHEN 'mismatch' THEN 'review' WHEN 'unpaid' THEN 'released' ELSE 'released' END,
       sha256(big_order.n::text::bytea), '', '10.0.0.1', 'Mozilla/5.0 (iPhone) Safari/605', at,
       at + interval '15 minutes',
       CASE WHEN state IN ('paid', 'refunded', 'mismatch') THEN at + interval '1 minute' END,
       CASE WHEN state IN ('paid', 'refunded') THEN at + interval '61 seconds' END
FROM big_order JOIN big_sku sku ON sku.n = big_order.sku ORDER BY big_order.n;
CREATE TEMPORARY TABLE big ON COMMIT DROP AS
    SELECT big_order.*, o.id AS order_id, o.total, o.contact, o.fulfilment_state FROM big_order
    JOIN orders_order o ON o.ref = 'VBIG' || big_order.n;
INSERT INTO orders_line (order_id, sku_id, product_id, product_title, sku_title, sku_code, quantity, unit_price, total,
        state)
SELECT order_id, sku.id, sku.product_id, sku.product_title, sku.title, sku.code, 1, sku.price, sku.price,
       fulfilment_state FROM big JOIN big_sku sku ON sku.n = big.sku ORDER BY big.n;
INSERT INTO payments_attempt (ref, order_id, method, amount, currency, state, gateway_ref, created_at, settled_at)
SELECT 'PBIG' || n, order_id, CASE WHEN n % 3 = 0 THEN 'stripe' ELSE 'epay' END, total, 'CNY',
       CASE WHEN state IN ('paid', 'refunded', 'mismatch') THEN 'paid' WHEN state = 'unpaid' THEN 'waiting'
            ELSE 'expired' END,
       CASE WHEN state IN ('paid', 'refunded', 'mismatch') THEN 'G' || n END, at,
       CASE WHEN state IN ('paid', 'refunded', 'mismatch') THEN at + interval '1 minute' END FROM big ORDER BY n;
INSERT INTO payments_event (method, event_key, attempt_id, order_id, source, state, amount, currency, gateway_ref,
        outcome, received_at)
SELECT attempt.method, 'E' || n, attempt.id, big.order_id, 'callback', 'paid', big.total, 'CNY', 'G' || n, 'paid',
       at + interval '1 minute'
FROM big JOIN payments_attempt attempt ON attempt.ref = 'PBIG' || n WHERE attempt.state = 'paid' ORDER BY n;
INSERT INTO orders_event (order_id, at, kind, actor, data)
SELECT order_id, at + step.after, step.kind, step.actor, '{{}}' FROM big CROSS JOIN (VALUES
    ('placed', interval '0', 'buyer'), ('paid', interval '1 minute', 'gateway:epay'),
    ('delivered', interval '61 seconds', 'system'), ('mail_sent', interval '70 seconds', 'system')
) AS step (kind, after, actor) WHERE step.kind = 'placed' OR state IN ('paid', 'refunded') ORDER BY n, step.after;
INSERT INTO messages_message (shop_id, order_id, event, channel, recipient, locale, key, state, subject, created_at,
        sent_at)
SELECT 1, order_id, 'order_delivered', 'email', contact, 'zh_CN', 'big' || n,
       CASE WHEN n % 200 = 1 THEN 'failed' ELSE 'sent' END, 'Order', at, at + interval '1 minute'
FROM big WHERE state IN ('paid', 'refunded') ORDER BY n;
INSERT INTO ledger_account (shop_id, code, currency)
SELECT 1, code, 'CNY' FROM unnest(ARRAY['gateway:epay', 'deposits', 'revenue']) code ON CONFLICT DO NOTHING;
INSERT INTO ledger_entry (kind, source, order_id, debit_id, credit_id, amount, currency, at)
SELECT part.kind, part.kind || ':big' || n, order_id, debit.id, credit.id, total, 'CNY', at + interval '1 minute'
FROM big CROSS JOIN (VALUES ('payment', 'gateway:epay', 'deposits'), ('sale', 'deposits', 'revenue'))
    AS part (kind, debit, credit)
JOIN ledger_account debit ON debit.code = part.debit AND debit.shop_id = 1 AND debit.currency = 'CNY'
JOIN ledger_account credit ON credit.code = part.credit AND credit.shop_id = 1 AND credit.currency = 'CNY'
WHERE state IN ('paid', 'refunded') ORDER BY n;
INSERT INTO audit_entry (shop_id, at, actor, act, object, detail)
SELECT 1, at, 'staff:1', 'order.confirm_paid', 'order:VBIG' || n, '{{"note": "by hand"}}' FROM big WHERE n % 2 = 0
ORDER BY n;
INSERT INTO audit_alarm (shop_id, at, kind, subject, reason, seen_at)
SELECT 1, at, 'payment.forged', 'order:VBIG' || n, 'big', CASE WHEN n % 200 > 0 THEN at END FROM big WHERE n % 20 = 0;
INSERT INTO review_item (shop_id, kind, key, order_id, reason, state, resolution, created_at, resolved_at)
SELECT 1, 'out_of_stock', 'big' || n, order_id, 'big', CASE WHEN n % 200 = 0 THEN 'open' ELSE 'done' END, 'delivered',
       at, CASE WHEN n % 200 > 0 THEN at END FROM big WHERE n % 10 = 0;
INSERT INTO jobs_job (name, args, state, created_at, finished_at)
SELECT 'messages.send', '{{}}', CASE WHEN n % 500 = 0 THEN 'failed' ELSE 'done' END, at, at FROM big;
INSERT INTO supply_supplier (key) VALUES ('big') ON CONFLICT DO NOTHING;
INSERT INTO supply_offer (supplier, item, title, category, delivers, cost, currency, stock, listed, seen_at, changed_at)
SELECT 'big', 'I' || n, 'Offer ' || n, 'Category ' || n % 30, 'codes', 100 + n, 'CNY', n % 50, true, now(), now()
FROM generate_series(1, {products} * 2) n;
INSERT INTO supply_purchase (shop_id, order_id, line_id, offer_id, supplier, ref, quantity, price_cap, currency, state,
        supplier_ref, cost, cost_currency, created_at, ended_at)
SELECT 1, big.order_id, line.id, (SELECT min(id) FROM supply_offer WHERE supplier = 'big'), 'big', 'VBIG' || n || '-1',
       1, big.total, 'CNY', 'done', 'S' || n, big.total / 2, 'CNY', at, at
FROM big JOIN orders_line line ON line.order_id = big.order_id WHERE n % 5 = 1 AND big.state = 'paid' ORDER BY n;
INSERT INTO ledger_account (shop_id, code, currency)
SELECT 1, 'customer:big' || n || '@example.com', 'CNY' FROM generate_series(1, {orders} / 10) n;
INSERT INTO ledger_balance (shop_id, contact, currency, account_id, amount, changed_at)
SELECT 1, substr(code, 10), 'CNY', id, id % 10000, now() - id * interval '1 minute'
FROM ledger_account WHERE code LIKE 'customer:big%';
INSERT INTO redemption_try (shop_id, act, caller, outcome, at, place)
SELECT 1, 'verify', 'staff:1', 'ok', at, 'Till ' || n % 9 FROM big WHERE n % 3 = 0 ORDER BY n;
"""
STAFF = "INSERT INTO people_staff (shop_id, email, role) VALUES (1, 'big@example.com', 'owner') ON CONFLICT DO NOTHING"
# The oldest codes of a SKU belong to its oldest delivered lines.
DELIVERED = """
UPDATE vault_code code SET state = 'delivered', line_id = pair.line_id, delivered_at = now()
FROM (SELECT line.id AS line_id, line.sku_id, row_number() OVER (PARTITION BY line.sku_id ORDER BY line.id) AS n
      FROM orders_line line WHERE line.state = 'delivered' AND line.sku_code LIKE 'BIG-%') pair
JOIN (SELECT id, sku_id, row_number() OVER (PARTITION BY sku_id ORDER BY id) AS n FROM vault_code
      WHERE state = 'free') free
    ON free.sku_id = pair.sku_id AND free.n = pair.n
WHERE code.id = free.id
"""
BATCHES = """
INSERT INTO vault_batch (shop_id, sku_id, name, state, wrapped_key, key_version, counts)
SELECT 1, id, 'Import of ' || code, 'ready', '', {version}, jsonb_build_object('imported', $1::int)
FROM catalog_sku WHERE code LIKE 'BIG-%' RETURNING id, sku_id
"""


async def seed(size: Size, say: Callable[[str], None] = lambda _text: None) -> None:
    began = time.monotonic()
    await db.transaction(_rows, size)
    say(f"{size.orders:,} orders and {size.products:,} products after {time.monotonic() - began:.0f} s")
    await _codes(size)
    say(f"{size.codes:,} codes after {time.monotonic() - began:.0f} s")
    await db.transaction(_deliver)
    for table in ("orders_order", "orders_line", "vault_code", "payments_attempt", "messages_message", "audit_entry"):
        await db.execute(f"VACUUM ANALYZE {table}")
    await db.execute("ANALYZE")
    say(f"all of it after {time.monotonic() - began:.0f} s")


async def _rows(tx: Tx, size: Size) -> None:
    await tx.execute("SET LOCAL statement_timeout = 0")
    await tx.execute(STAFF)
    given = {"orders": size.orders, "products": size.products}
    for statement in (PRODUCTS + ORDERS).format(**given).split(";\n"):
        if statement.strip():
            await tx.execute(statement)
            if "catalog_sku (" in statement or "TABLE big ON" in statement:
                await tx.execute("ANALYZE")


async def _deliver(tx: Tx) -> None:
    await tx.execute("SET LOCAL statement_timeout = 0")
    await tx.execute(DELIVERED)


async def _codes(size: Size) -> None:
    _wrapped, version = cipher.new_batch_key(1, 1, 1)
    batches = await db.fetch(BATCHES.format(version=version), size.codes_each)
    for at in range(0, len(batches), BATCHES_AT_ONCE):
        await db.transaction(_some, [(row["id"], row["sku_id"]) for row in batches[at : at + BATCHES_AT_ONCE]], size)


async def _some(tx: Tx, batches: list[tuple[int, int]], size: Size) -> None:
    await tx.execute("SET LOCAL statement_timeout = 0")
    each = size.codes_each
    rows = await tx.fetch("SELECT nextval('vault_code_id_seq') AS id FROM generate_series(1, $1)", each * len(batches))
    ids = [row["id"] for row in rows]
    keys = []
    for number, (batch_id, sku_id) in enumerate(batches):
        wrapped, version = cipher.new_batch_key(1, sku_id, batch_id)
        keys.append((batch_id, wrapped, version))
        codes = [code(sku_id, one) for one in range(each)]
        own = ids[number * each : (number + 1) * each]
        blobs = cipher.open_batch(wrapped, version, 1, sku_id, batch_id).seal_many(own, codes)
        sealed = SealedCodes(1, sku_id, batch_id, own, blobs, cipher.fingerprints(1, codes), cipher.masks(codes))
        await copy_in(tx, packed(sealed), extras=False)
    await tx.connection.executemany("UPDATE vault_batch SET wrapped_key = $2, key_version = $3 WHERE id = $1", keys)


def code(sku_id: int, number: int) -> str:
    return f"BIG{sku_id:06d}-{number:06d}-{(sku_id * 1_000_003 + number * 7_919) % 10**9:09d}"
