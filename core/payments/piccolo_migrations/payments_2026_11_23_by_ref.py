from core.db import ddl_migration

ID = "2026-11-23T09:40:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "payments have no index by method"

SQL = """
-- In a young shop the planner took it for as good as the one by reference, and a sale walked over all attempts of its
-- method. Whoever asks for the payments of one method reads them from the newest on.
DROP INDEX payments_attempt_method;
"""

forwards = ddl_migration("payments", ID, DESCRIPTION, SQL)
