from core.db import ddl_migration

ID = "2026-11-22T18:40:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "sessions that asked for the codes of an order they may not see"

SQL = """
-- One alarm for a session and an order, however often it asks.
CREATE TABLE orders_stranger (
    order_id      bigint NOT NULL REFERENCES orders_order,
    session_hash  bytea NOT NULL REFERENCES people_session ON DELETE CASCADE,
    ip            inet NOT NULL,
    at            timestamptz NOT NULL,
    PRIMARY KEY (session_hash, order_id)
);
CREATE INDEX orders_stranger_ip ON orders_stranger (ip, at);
"""

forwards = ddl_migration("orders", ID, DESCRIPTION, SQL)
