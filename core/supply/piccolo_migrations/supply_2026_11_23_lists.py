from core.db import ddl_migration

ID = "2026-11-23T01:35:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "purchases are found by the supplier's number"

SQL = """
CREATE INDEX supply_purchase_supplier_ref ON supply_purchase (supplier_ref) WHERE supplier_ref <> '';
CREATE INDEX supply_purchase_shop ON supply_purchase (shop_id, supplier, id);
"""

forwards = ddl_migration("supply", ID, DESCRIPTION, SQL)
