from core.db import ddl_migration

ID = "2026-11-22T21:37:03:000000"
VERSION = "1.38.0"
DESCRIPTION = "where the goods of a line come from"

SQL = """
-- As the SKU said when the order was placed; a line that claimed codes then has codes.
ALTER TABLE orders_line
    ADD COLUMN source text NOT NULL DEFAULT 'codes' CHECK (source IN ('codes', 'supplier', 'hand'));
"""

forwards = ddl_migration("orders", ID, DESCRIPTION, SQL)
