from core.db import ddl_migration

ID = "2026-11-23T11:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "codes and holds have their foreign key again"

SQL = """
-- The triggers in its place did not look at a code that comes in with a hold.
DROP TRIGGER vault_code_held ON vault_code;
DROP FUNCTION vault_code_hold_guard();
DROP TRIGGER vault_hold_kept ON vault_hold;
DROP FUNCTION vault_hold_guard();
ALTER TABLE vault_code ADD CONSTRAINT vault_code_hold_id_fkey FOREIGN KEY (hold_id) REFERENCES vault_hold;
"""

forwards = ddl_migration("vault", ID, DESCRIPTION, SQL)
