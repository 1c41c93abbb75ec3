from core.db import ddl_migration

ID = "2026-11-24T02:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "what a delivered purchase cost is asked for too"

SQL = """
CREATE INDEX IF NOT EXISTS supply_purchase_asked ON supply_purchase (next_query_at) WHERE next_query_at IS NOT NULL;
DROP INDEX IF EXISTS supply_purchase_query;
"""

forwards = ddl_migration("supply", ID, DESCRIPTION, SQL)
