from core.db import ddl_migration

ID = "2026-11-23T02:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "finding what was paid in a period"

SQL = """
-- Rows come nearly in the order of time; an index of a few pages costs a sale nothing.
CREATE INDEX orders_order_paid ON orders_order USING brin (paid_at) WITH (pages_per_range = 32, autosummarize = on);
"""

forwards = ddl_migration("orders", ID, DESCRIPTION, SQL)
