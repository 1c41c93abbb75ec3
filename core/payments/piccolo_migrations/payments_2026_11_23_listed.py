from core.db import ddl_migration

ID = "2026-11-23T11:10:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "payments are found by method only by lists"

SQL = """
-- As an expression it serves only those who ask with that expression: an index of the bare method misled sales.
CREATE INDEX IF NOT EXISTS payments_attempt_listed ON payments_attempt ((method || ''), id);
"""

forwards = ddl_migration("payments", ID, DESCRIPTION, SQL)
