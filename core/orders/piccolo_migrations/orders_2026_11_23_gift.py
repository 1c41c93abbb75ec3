from core.db import ddl_migration

ID = "2026-11-23T01:25:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "orders that are a gift"

SQL = """
-- Who has its link sees the goods and the message, but neither price nor buyer.
CREATE TABLE orders_gift (
    order_id     bigint PRIMARY KEY REFERENCES orders_order,
    recipient    text NOT NULL DEFAULT '' CHECK (length(recipient) <= 254),
    message      text NOT NULL DEFAULT '' CHECK (length(message) <= 500),
    send_at      timestamptz,
    token_hash   bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    token_sealed bytea NOT NULL,
    sent_at      timestamptz,
    CHECK (send_at IS NULL OR recipient <> '')
);
CREATE INDEX orders_gift_to_send ON orders_gift (order_id) WHERE sent_at IS NULL AND recipient <> '';
CREATE TABLE orders_gift_access (
    order_id     bigint NOT NULL REFERENCES orders_gift,
    session_hash bytea NOT NULL REFERENCES people_session ON DELETE CASCADE,
    at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (session_hash, order_id)
);
CREATE INDEX orders_gift_access_order ON orders_gift_access (order_id);
"""

forwards = ddl_migration("orders", ID, DESCRIPTION, SQL)
