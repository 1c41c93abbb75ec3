from core.db import ddl_migration

ID = "2026-11-23T09:40:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "payments are found by method only by lists"

SQL = """
-- In a young shop the planner took this for as good as the index by reference, and a sale walked over all attempts of
-- its method. As an expression it serves only those who ask with that expression: lists.
DROP INDEX payments_attempt_method;
CREATE INDEX payments_attempt_listed ON payments_attempt ((method || ''), id);
"""

forwards = ddl_migration("payments", ID, DESCRIPTION, SQL)
