from core.db import ddl_migration

ID = "2026-11-22T21:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "what promotions took off an order, and the limits on their uses"

SQL = """
-- The total of an order is the sum of its lines and of these.
CREATE TABLE orders_adjustment (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id   bigint NOT NULL REFERENCES orders_order,
    promotion  text NOT NULL,
    key        text NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    title      jsonb NOT NULL,
    amount     bigint NOT NULL CHECK (amount < 0),
    sku_id     bigint REFERENCES catalog_sku,
    code       text NOT NULL DEFAULT '',
    data       jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX orders_adjustment_order ON orders_adjustment (order_id);
CREATE INDEX orders_adjustment_key ON orders_adjustment (promotion, key);
-- A limit a promotion has set: the database gives no use beyond it.
CREATE TABLE orders_cap (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id    bigint NOT NULL REFERENCES shops_shop,
    promotion  text NOT NULL,
    key        text NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    most       integer NOT NULL CHECK (most > 0),
    used       integer NOT NULL,
    UNIQUE (shop_id, promotion, key),
    CONSTRAINT orders_cap_kept CHECK (used BETWEEN 0 AND most)
) WITH (fillfactor = 70);
-- One use by one order. It is no longer held once the order ended unpaid.
CREATE TABLE orders_use (
    order_id  bigint NOT NULL REFERENCES orders_order,
    cap_id    bigint NOT NULL REFERENCES orders_cap,
    held      boolean NOT NULL DEFAULT true,
    PRIMARY KEY (order_id, cap_id)
);
"""

forwards = ddl_migration("orders", ID, DESCRIPTION, SQL)
