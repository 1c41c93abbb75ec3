from core.db import ddl_migration

ID = "2026-11-23T01:31:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "orders of buyers who were forgotten"

SQL = """
ALTER TABLE orders_order DROP CONSTRAINT orders_order_contact_kind_check,
    ADD CONSTRAINT orders_order_contact_kind_check CHECK (contact_kind IN ('email', 'phone', 'partner', 'erased'));
"""

forwards = ddl_migration("orders", ID, DESCRIPTION, SQL)
