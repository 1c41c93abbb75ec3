from core.db import ddl_migration

ID = "2026-11-22T18:50:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "how many days a code must still be good for when it is sold"

SQL = """
-- 0: codes that end today are sold today.
ALTER TABLE catalog_sku ADD COLUMN min_days_left integer NOT NULL DEFAULT 1 CHECK (min_days_left BETWEEN 0 AND 3650);
"""

forwards = ddl_migration("catalog", ID, DESCRIPTION, SQL)
