from core.db import ddl_migration

ID = "2026-11-22T21:36:06:000000"
VERSION = "1.38.0"
DESCRIPTION = "orders that a person must let go, and what buyers did lately"

SQL = """
-- Paid or not: nothing of it is delivered before a person said so.
ALTER TABLE orders_order ADD COLUMN held boolean NOT NULL DEFAULT false;
DROP INDEX orders_order_contact;
CREATE INDEX orders_order_contact ON orders_order (shop_id, contact, created_at);
DROP INDEX orders_order_created;
CREATE INDEX orders_order_created ON orders_order (created_at);
CREATE INDEX orders_order_ip ON orders_order (ip, created_at) WHERE ip IS NOT NULL;
"""

forwards = ddl_migration("orders", ID, DESCRIPTION, SQL)
