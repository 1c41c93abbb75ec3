from core.db import ddl_migration

ID = "2026-11-23T01:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "what a link to a contact is good for"

SQL = """
ALTER TABLE people_contact_link ADD COLUMN purpose text NOT NULL DEFAULT 'open' CHECK (purpose IN ('open', 'erase'));
"""

forwards = ddl_migration("people", ID, DESCRIPTION, SQL)
