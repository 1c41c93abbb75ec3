from core.db import ddl_migration

ID = "2026-11-23T11:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "codes and holds have their foreign key, whatever stood in its place"

SQL = """
-- Some shops lost it for a while to triggers that did not look at a code that comes in with a hold.
DROP TRIGGER IF EXISTS vault_code_held ON vault_code;
DROP FUNCTION IF EXISTS vault_code_hold_guard();
DROP TRIGGER IF EXISTS vault_hold_kept ON vault_hold;
DROP FUNCTION IF EXISTS vault_hold_guard();
ALTER TABLE vault_code DROP CONSTRAINT IF EXISTS vault_code_hold_id_fkey;
ALTER TABLE vault_code ADD CONSTRAINT vault_code_hold_id_fkey FOREIGN KEY (hold_id) REFERENCES vault_hold;
"""

forwards = ddl_migration("vault", ID, DESCRIPTION, SQL)
