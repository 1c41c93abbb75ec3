from core.db import ddl_migration

ID = "2026-11-22T18:40:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "after how many hours shown codes of a SKU are erased"

SQL = """
-- NULL: as the shop says. 0: never.
ALTER TABLE catalog_sku ADD COLUMN burn_hours integer CHECK (burn_hours BETWEEN 0 AND 8760);
"""

forwards = ddl_migration("catalog", ID, DESCRIPTION, SQL)
