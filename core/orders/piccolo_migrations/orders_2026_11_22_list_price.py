from core.db import ddl_migration

ID = "2026-11-22T18:46:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "the list price of a line that was sold for less"

SQL = """
-- Empty where the line was sold at its list price.
ALTER TABLE orders_line ADD COLUMN list_price bigint CHECK (list_price > unit_price);
"""

forwards = ddl_migration("orders", ID, DESCRIPTION, SQL)
