from core.db import ddl_migration

ID = "2026-11-23T01:45:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "the log is searched by person and by act"

SQL = """
CREATE INDEX audit_entry_actor ON audit_entry (actor, id);
CREATE INDEX audit_entry_act ON audit_entry (act, id);
"""

forwards = ddl_migration("audit", ID, DESCRIPTION, SQL)
